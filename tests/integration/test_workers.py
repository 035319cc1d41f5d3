"""`flowatlas pipeline --workers`: processes that share the partitions, one page of metrics, one end."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaProducer
from prometheus_client.parser import text_string_to_metric_families

from pipeline.cli.main import main
from pipeline.query import scan_flows
from tests.integration.test_pipeline_process import get
from tests.kafka_broker import KafkaBroker
from tests.pipeline.shipments import batch, flow
from tests.pipeline.small_cluster import OBJECTS

pytestmark = pytest.mark.kafka

NODES = 12
SECONDS = 90.0
RESTARTS = "flowatlas_pipeline_worker_restarts_total"
STUCK_SECONDS = 8.0
"""A minute otherwise; one that works and is killed for being slow would be missed by nothing either."""
_RUN = (
    f"import sys; from pipeline.cli import worker; worker.STUCK_SECONDS = {STUCK_SECONDS}; worker.LOOK_SECONDS = 2.0; "
    "from pipeline.cli.main import main; sys.exit(main())"
)


class Workers:
    """Two workers, or so many, over a broker of their own."""

    def __init__(self, folder: Path, broker: KafkaBroker, count: int = 2) -> None:
        self.lake, self._log = folder / "lake", folder / "log"
        state = folder / "state.json"
        state.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": list(OBJECTS)}))
        self._producer: Any = KafkaProducer(bootstrap_servers=broker.bootstrap)
        command = [sys.executable, "-c", _RUN, "pipeline", "--listen", "127.0.0.1:0", "--workers", str(count)]
        command += ["--bus", f"kafka://{broker.bootstrap}", "--state", str(state), "--lake", str(self.lake)]
        command += ["--snapshot", str(folder / "snapshots")]
        with self._log.open("wb") as log:
            self.parent = subprocess.Popen(command, stdout=log, stderr=log)

    def log(self) -> str:
        return self._log.read_text()

    def url(self, page: str) -> str:
        served = until(lambda: re.search(r"serving /metrics of \d workers on (\S+)", self.log()))
        return f"http://{served[1]}/{page}"

    def ship(self, seq: int) -> None:
        """One flow from each node, whose flow_id is its number in all."""
        for node in range(NODES):
            row = flow("10.0.1.5", "10.96.0.7", 5432, backend="10.0.2.7", flow_id=seq * NODES + node)
            one = batch(f"node-{node}", seq, [row])
            self._producer.send(one.topic, key=one.key, value=one.value, headers=list(one.headers().items()))
        self._producer.flush(30)

    def rows(self) -> dict[str, float]:
        """Rows of flows applied, by worker."""
        return self.values("flowatlas_pipeline_rows_total", "worker", table="flows")

    def values(self, name: str, label: str, **where: str) -> dict[str, float]:
        """Sums of a metric by a label."""
        values: dict[str, float] = {}
        parse: Any = text_string_to_metric_families
        for family in parse(get(self.url("metrics")) or ""):
            for sample in family.samples:
                if sample.name == name and where.items() <= sample.labels.items():
                    values[sample.labels[label]] = values.get(sample.labels[label], 0) + sample.value
        return values

    def children(self) -> list[int]:
        """The workers' process ids."""
        found = []
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = path.read_text().rpartition(")")[2].split()
                is_worker = b"spawn_main" in (path.parent / "cmdline").read_bytes()
            except OSError:
                continue
            if int(fields[1]) == self.parent.pid and is_worker and fields[0] != "Z":
                found.append(int(path.parent.name))
        return sorted(found)

    def close(self) -> None:
        self._producer.close()
        if self.parent.poll() is None:
            self.parent.kill()
        self.parent.wait()


def until(told: Callable[[], Any]) -> Any:
    """What is told once it is something."""
    deadline = time.monotonic() + SECONDS
    while not (answer := told()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return answer


@pytest.fixture(scope="module")
def broker() -> Iterator[KafkaBroker]:
    with KafkaBroker() as broker:
        assert main(["topics", "create", "--bus", f"kafka://{broker.bootstrap}", "--partitions", "6"]) == 0
        yield broker


@pytest.fixture
def workers(tmp_path: Path, broker: KafkaBroker) -> Iterator[Workers]:
    it = Workers(tmp_path, broker)
    yield it
    it.close()


def test_workers_share_the_work_are_replaced_when_killed_or_stuck_and_end_together(workers: Workers) -> None:
    until(lambda: get(workers.url("readyz")))
    workers.ship(0)
    until(lambda: sum(workers.rows().values()) >= NODES)
    rows = workers.rows()
    assert sum(rows.values()) == NODES
    assert workers.values("flowatlas_pipeline_shares", "share") == {"0": 2, "1": 2}
    assert set(rows) == {"0", "1"}, "both have work"
    page = get(workers.url("metrics")) or ""
    assert page.count('flowatlas_state_objects{kind="Pod"}') == 1
    assert page.count("# TYPE flowatlas_pipeline_rows_total") == 1

    victim = workers.children()[0]
    os.kill(victim, signal.SIGKILL)
    until(lambda: "ended with -9" in workers.log())
    workers.ship(1)
    until(lambda: len(workers.children()) == 2 and victim not in workers.children())
    until(lambda: get(workers.url("readyz")))
    workers.ship(2)
    until(lambda: sum(workers.rows().values()) >= 3 * NODES)
    assert sum(workers.rows().values()) == 3 * NODES, "what was counted before the kill is counted once"
    assert workers.values(RESTARTS, "reason")["exited"] == 1

    hung = workers.children()[0]
    os.kill(hung, signal.SIGSTOP)
    assert sum(workers.rows().values()) == 3 * NODES, "who hangs is shown as it was"
    workers.ship(3)
    until(lambda: hung not in workers.children() and len(workers.children()) == 2)
    until(lambda: sum(workers.rows().values()) >= 4 * NODES)
    assert sum(workers.rows().values()) == 4 * NODES, "what waited while one hung is counted by its successor"
    assert workers.values(RESTARTS, "reason")["stuck"] >= 1

    assert workers.parent.poll() is None
    workers.parent.terminate()
    assert workers.parent.wait(SECONDS) == 0
    assert workers.children() == []
    assert scan_flows(workers.lake).collect()["flow_id"].sort().to_list() == list(range(4 * NODES))


def count_one_more_of_each(workers: Workers, seq: int) -> float:
    """Let workers count a batch of each node, and end; how many rows they had counted before."""
    until(lambda: get(workers.url("readyz")))
    before = sum(workers.rows().values())
    workers.ship(seq)
    until(lambda: sum(workers.rows().values()) >= before + NODES)
    time.sleep(1)
    assert sum(workers.rows().values()) == before + NODES
    assert sum(workers.values("flowatlas_pipeline_missing_batches_total", "worker").values()) == 0
    workers.parent.terminate()
    assert workers.parent.wait(SECONDS) == 0
    return before


def test_workers_may_be_fewer_and_as_many_again(tmp_path: Path) -> None:
    """The third one's folder comes back after the others have read its partitions on."""
    with KafkaBroker() as broker:
        assert main(["topics", "create", "--bus", f"kafka://{broker.bootstrap}", "--partitions", "6"]) == 0
        for seq, count in enumerate((3, 2, 3)):
            workers = Workers(tmp_path, broker, count)
            try:
                before = count_one_more_of_each(workers, seq)
            finally:
                workers.close()
    assert before == 2 * NODES, "each counts on from what it had counted"
    assert scan_flows(workers.lake).collect()["flow_id"].sort().to_list() == list(range(3 * NODES))


def test_no_worker_outlives_its_parent(workers: Workers) -> None:
    until(lambda: get(workers.url("readyz")))
    children = workers.children()
    assert len(children) == 2
    workers.parent.kill()
    workers.parent.wait()
    until(lambda: not any(Path(f"/proc/{pid}/cmdline").exists() for pid in children))


def test_a_folder_has_nothing_to_share(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["pipeline", "--bus", f"file://{tmp_path}", "--state", str(tmp_path), "--workers", "2"]
    assert main(arguments) == 2
    assert "pipeline.workers: 2 of them cannot share file://" in capsys.readouterr().err
