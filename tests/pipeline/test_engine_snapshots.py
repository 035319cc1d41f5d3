"""The engine with snapshots: what is shown, what a successor has, and what is done where a disk or another refuses."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from pipeline import engine as engine_module
from pipeline.aggregate.samples import Samples
from pipeline.bus import Message, Places
from pipeline.config import PipelineConfig
from pipeline.engine import Engine
from pipeline.errors import PermanentError, TransientError
from pipeline.inventory.spans import END
from pipeline.outputs.lake import Lake
from pipeline.outputs.publication import Publication
from pipeline.query import scan_flows
from pipeline.snapshots.folder import SnapshotFolder
from pipeline.snapshots.layout import Content
from pipeline.state import ClusterState
from tests.pipeline.shipments import NOW, SECOND, batch, flow, message
from tests.pipeline.small_cluster import small_cluster

WAIT_SECONDS = 90.0
CONNECTIONS = "flowatlas_connections_total"
FAILING = "flowatlas_pipeline_snapshot_failing"


class Log:
    """A bus of one partition: it keeps all messages, and reads on at a place."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.at = 0
        self.commits: list[int] = []

    def start(self, places: Places | None = None) -> None:
        self.at = int(places["log"]["0"]) if places else 0

    def places(self) -> Places:
        return {"log": {"0": self.at}}

    def poll(self, timeout_s: float) -> list[Message]:
        new = self.messages[self.at :]
        self.at += len(new)
        if not new:
            time.sleep(min(timeout_s, 0.01))
        return new

    def mark(self) -> object:
        return self.at

    def commit(self, mark: object = None) -> None:
        self.commits.append(self.at)

    def caught_up(self) -> bool:
        return self.at == len(self.messages)

    def lag(self) -> dict[str, int]:
        return {}

    def lost(self) -> dict[str, int]:
        return {}

    def quarantine(self, message: Message, reason: str) -> None:
        raise AssertionError(reason)

    def stop(self) -> None:
        pass


class Watched(Publication):
    """Remembers how many connections each publication showed."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: list[int] = []

    def publish(self, metrics: Sequence[Samples]) -> None:
        self.shown.append(sum(int(one.values.sum()) for one in metrics if one.metric.name == CONNECTIONS))
        super().publish(metrics)


class Running:
    """An engine that runs in a thread until it is told to stop, or is left for dead."""

    def __init__(self, log: Log, root: Path, *, known_until: int = END, lake: Lake | None = None) -> None:
        self.folder = SnapshotFolder(root, "group")
        self.publication = Watched()
        self.error: BaseException | None = None
        self._stop = threading.Event()
        config = PipelineConfig(
            bus="file:///unused",
            state=Path("unused"),
            window_s=0.05,
            snapshot=root,
            state_wait_s=30.0,
            state_settle_s=0.0,
            lake_flush_s=0.05,
        )
        state = ClusterState(small_cluster(), {}, known_until)
        self.engine = Engine(config, log, lambda _: state, self.publication, lake, folder=self.folder)
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Running:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(WAIT_SECONDS)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self.engine.run(self._stop)
        except PermanentError as error:
            self.error = error

    def value(self, name: str) -> float:
        families = text_string_to_metric_families(self.publication.text().decode())
        return sum(sample.value for family in families for sample in family.samples if sample.name == name)


def wait(is_true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def shipped(seq: int, start: int = NOW) -> Message:
    return message(batch("node-a", seq, [flow("10.0.1.5", "10.0.2.7", 5432, flow_id=seq, start=start)]))


@pytest.fixture(autouse=True)
def _impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "BACK_OFF_SECONDS", (0.001, 0.01))


def test_a_successor_shows_and_counts_on(tmp_path: Path) -> None:
    log = Log()
    log.messages = [shipped(0), shipped(1)]
    with Running(log, tmp_path) as first:
        wait(lambda: first.value(CONNECTIONS) == 2)
    log.messages += [shipped(1), shipped(2)]
    with Running(log, tmp_path) as second:
        wait(lambda: second.value(CONNECTIONS) == 3)
        assert second.value("flowatlas_pipeline_duplicate_batches_total") == 1


def test_nothing_is_shown_that_is_in_no_snapshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk refuses; what was shown stays, and that it does is shown; then everything comes."""
    log = Log()
    log.messages = [shipped(0)]
    with Running(log, tmp_path) as running:
        wait(lambda: running.value(CONNECTIONS) == 1)
        assert running.value(FAILING) == 0

        def refuse(content: Content, **_: bool) -> int:
            raise TransientError("No space left on device")

        with monkeypatch.context() as patched:
            patched.setattr(running.folder, "prepare", refuse)
            log.messages.append(shipped(1))
            wait(lambda: running.value(FAILING) == 1)
            assert max(running.publication.shown) == 1
        wait(lambda: running.value(CONNECTIONS) == 2)
        assert running.value(FAILING) == 0


def test_rows_that_wait_stop_no_commit_and_are_not_lost(tmp_path: Path) -> None:
    """They are in the snapshot, so that the next process has them though the bus does not bring them again."""
    log = Log()
    log.messages = [shipped(0, start=NOW + 50 * SECOND), shipped(1)]
    with Running(log, tmp_path, known_until=NOW + 20 * SECOND) as first:
        wait(lambda: first.value(CONNECTIONS) == 1)
        assert first.value("flowatlas_state_held_rows") == 1
    assert log.commits[-1] == 2
    with Running(log, tmp_path, known_until=NOW + 60 * SECOND) as second:
        wait(lambda: second.value(CONNECTIONS) == 2)
        assert second.value("flowatlas_state_held_rows") == 0


def test_who_was_taken_for_dead_stops(tmp_path: Path) -> None:
    log = Log()
    log.messages = [shipped(0)]
    with Running(log, tmp_path) as zombie:
        wait(lambda: zombie.value(CONNECTIONS) == 1)
        (tmp_path / "group" / "0" / "lock").unlink()  # as where locks do not hold
        successor = SnapshotFolder(tmp_path, "group")
        successor.open()
        log.messages.append(shipped(1))
        wait(lambda: zombie.error is not None)
        assert zombie.value(CONNECTIONS) == 1
    assert "taken over" in str(zombie.error)
    successor.close()


def test_the_history_has_what_the_metrics_have(tmp_path: Path) -> None:
    log, where = Log(), tmp_path / "lake"
    log.messages = [shipped(seq) for seq in range(5)]
    with Running(log, tmp_path / "snapshots", lake=Lake(where, app="group/0")) as first:
        wait(lambda: first.value(CONNECTIONS) == 5)
    log.messages += [shipped(5)]
    with Running(log, tmp_path / "snapshots", lake=Lake(where, app="group/0")) as second:
        wait(lambda: second.value(CONNECTIONS) == 6)
    assert scan_flows(where).collect()["flow_id"].sort().to_list() == [0, 1, 2, 3, 4, 5]
