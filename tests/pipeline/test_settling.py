"""When what was applied counts for good: what is committed, what is on disk by then, and who goes on from where."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from pipeline import engine as engine_module
from pipeline import settling as settling_module
from pipeline.bus import Holder, Message, Partition, Places
from pipeline.config import PipelineConfig
from pipeline.errors import TransientError
from pipeline.intake import Intake
from pipeline.lake.store import Store
from pipeline.outputs.lake import Lake
from pipeline.outputs.meters import Meters
from pipeline.query import scan_flows
from pipeline.settling import Settling
from pipeline.snapshots.folder import SnapshotFolder
from pipeline.stages import Stages
from pipeline.state import ClusterState
from tests.pipeline.engine_bench import Bench, ScriptedReader, through_service
from tests.pipeline.shipments import batch, message
from tests.pipeline.small_cluster import small_cluster


@pytest.fixture(autouse=True)
def _impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "BACK_OFF_SECONDS", (0.001, 0.01))


def test_a_commit_that_is_refused_does_not_stop_the_polling(tmp_path: Path) -> None:
    """Kafka refuses commits of a member that its group has moved on without, until that member polls again."""

    class CastOut(ScriptedReader):
        polls_made = 0

        def poll(self, timeout_s: float) -> list[Message]:
            self.polls_made += 1
            return super().poll(timeout_s)

        def commit(self, mark: object = None) -> None:
            if self.polls_made < 2:
                raise TransientError("the group has moved on")
            super().commit(mark)

    again = [through_service(0), through_service(1)]
    bench = Bench([through_service(0)], again, lake=Lake(tmp_path), flush_rows=1, kind=CastOut)
    with pytest.raises(TransientError, match="moved on"):
        bench.engine.step(0)
    bench.engine.step(0)
    bench.drain()
    assert bench.reader.committed == bench.reader.polled
    assert bench.values("flowatlas_connections_total") == {(): 2}
    assert scan_flows(tmp_path).collect().height == 2


def test_without_a_lake_every_step_commits() -> None:
    bench = Bench([through_service(0)], [through_service(1)], [])
    for commits in (1, 2, 2):
        bench.engine.step(0)
        assert bench.reader.commits == commits


def test_with_a_lake_nothing_is_committed_that_is_not_on_disk(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    bench = Bench([through_service(0)], [through_service(1)], [through_service(2)], lake=lake, flush_rows=2)
    bench.engine.step(0)
    assert (bench.reader.committed, scan_flows(tmp_path).collect().height) == ([], 0)
    bench.engine.step(0)
    assert (len(bench.reader.committed), scan_flows(tmp_path).collect().height) == (2, 2)
    bench.drain()
    assert (len(bench.reader.committed), scan_flows(tmp_path).collect().height) == (3, 3)


def test_a_full_disk_stops_the_polling_and_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lake = Lake(tmp_path)
    bench = Bench([through_service(0)], [through_service(1)], lake=lake, flush_rows=1)

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(Store, "write", refuse)
        for _ in range(3):
            with pytest.raises(TransientError, match="No space"):
                bench.engine.step(0)
    assert (len(bench.reader.polled), bench.reader.commits) == (1, 0)
    bench.drain()
    assert scan_flows(tmp_path).collect().height == 2
    assert bench.values("flowatlas_connections_total") == {(): 2}


class Member(ScriptedReader):
    """A scripted bus whose partitions may go to others, who go on from what was agreed."""

    is_shared, is_leaving, is_recalling = True, False, False
    held: frozenset[Partition] | None = None

    def __init__(self, events: list[str]) -> None:
        super().__init__()
        self._events = events

    def places(self) -> Places:
        return {"log": {"0": len(self.polled)}}

    def attend(self, holder: Holder) -> None: ...

    def notes(self) -> dict[Partition, str]:
        return {}

    def recall(self, spans: Mapping[Partition, tuple[int, int]]) -> None: ...

    def settle(self, version: int) -> None:
        self._events.append("agreed")


class Alone(Member):
    """The same, whom nobody shares with."""

    is_shared = False


class Fixed(Alone):
    """A share whose partitions may be others' after a stop."""

    gone: frozenset[Partition] = frozenset()


class Noted(Lake):
    """A history that notes when it is committed, and cannot be as long as it is `full`."""

    def __init__(self, root: Path, events: list[str]) -> None:
        super().__init__(root, app="group/m")
        self.is_full = False
        self._events = events

    def commit(self, version: int, offsets: Mapping[str, object] | None = None) -> None:
        if self.is_full:
            raise TransientError("No space left on device")
        super().commit(version, offsets)
        self._events.append("history")


class Settled:
    """What settles for a member that has applied some flows."""

    def __init__(self, root: Path, kind: type[Member] = Member) -> None:
        self.events: list[str] = []
        self.reader = kind(self.events)
        self.lake = Noted(root / "lake", self.events)
        self.lake.start()
        config = PipelineConfig(bus="file:///unused", state=Path("unused"), snapshot=root, lake_flush_s=3600)
        meters = Meters()
        self._intake = Intake(meters)
        state = ClusterState(small_cluster(), {"Pod": 2})
        self._stages = Stages(config, lambda _: state, meters, self.lake)
        folder = SnapshotFolder(root / "snapshots", "group")
        self.settling = Settling(
            config, self.reader, self._stages, self._intake, meters, self.lake, folder=folder, member="m"
        )
        assert not self.settling.take_up()

    def apply(self, *messages: Message) -> None:
        self.reader.polled += messages
        self.settling.has_unsettled = True
        for chunk in self._intake.take(messages):
            self._stages.apply(chunk)


@pytest.fixture
def settled(tmp_path: Path) -> Iterator[Settled]:
    it = Settled(tmp_path)
    yield it
    it.settling.close()


def test_the_group_agrees_before_the_history_is_written(settled: Settled, tmp_path: Path) -> None:
    """Else rows would be in the tables that another member, who goes on from before them, writes again."""
    settled.settling.start_reading()
    settled.apply(through_service(0))
    settled.settling.snapshot()
    assert (settled.events, settled.settling.has_unsettled) == (["agreed"], False)
    settled.apply(through_service(1))
    settled.settling.hurry()
    settled.settling.snapshot()
    assert settled.events == ["agreed", "agreed", "history"]
    assert scan_flows(tmp_path / "lake").collect().height == 2


def test_a_history_that_was_torn_is_written_before_the_group_is_asked_again(settled: Settled, tmp_path: Path) -> None:
    """The rows that the group has agreed to, and each once."""
    settled.settling.start_reading()
    settled.apply(through_service(0))
    settled.lake.is_full = True
    settled.settling.hurry()
    with pytest.raises(TransientError, match="No space"):
        settled.settling.snapshot()
    assert (settled.events, settled.settling.is_torn) == (["agreed"], True)
    assert settled.settling.has_unsettled
    settled.lake.is_full = False
    settled.settling.snapshot()
    assert (settled.events, settled.settling.is_torn) == (["agreed", "history"], False)
    assert scan_flows(tmp_path / "lake").collect().height == 1


def test_nothing_is_settled_before_reading_began(settled: Settled) -> None:
    """What is known by then is what the last snapshot has, or nothing."""
    settled.settling.hurry()
    settled.settling.snapshot()
    assert settled.events == []


def test_the_bus_is_told_now_and_then_and_after_what_was_put_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With snapshots its own commit is a hint: that it is refused stops nothing."""
    monkeypatch.setattr(settling_module, "HINT_SECONDS", 3600.0)
    it = Settled(tmp_path, Alone)
    it.settling.start_reading()
    it.apply(through_service(0))
    it.settling.snapshot()
    assert it.reader.commits == 0, "so soon nobody needs to know"
    it.apply(message(batch("node-a", 1, []), value=b""))
    it.settling.snapshot()
    assert [reason for _, reason in it.reader.quarantined] == ["truncated"]
    assert it.reader.commits == 1, "what was put aside has to arrive"
    it.settling.hurry()
    it.reader.refusals["commit"].append(TransientError("nobody answers"))
    it.settling.snapshot()
    assert (it.reader.commits, it.reader.refusals["commit"]) == (1, deque())
    it.settling.close()
    assert it.reader.stopped


def test_of_a_fixed_share_the_bus_is_told_with_each_snapshot_that_has_more(tmp_path: Path) -> None:
    """Where it is killed and shares are cut anew, whoever has its partitions goes on behind that."""
    it = Settled(tmp_path, Fixed)
    it.settling.start_reading()
    for number in range(3):
        it.apply(through_service(number))
        it.settling.snapshot()
        assert it.reader.committed == it.reader.polled
    it.settling.snapshot()
    assert it.reader.commits == 3, "nothing has come"
    it.settling.close()


def test_what_could_not_be_put_aside_is_tried_again(settled: Settled) -> None:
    settled.reader.refusals["quarantine"].append(TransientError("nobody answers"))
    settled.apply(message(batch("node-a", 0, []), value=b""), message(batch("node-a", 1, []), value=b"x"))
    with pytest.raises(TransientError):
        settled.settling.put_aside()
    for _ in range(2):
        settled.settling.put_aside()
    assert len(settled.reader.quarantined) == 2
