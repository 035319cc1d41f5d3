"""`flowatlas pipeline` as a process: from segments on disk to /metrics and the history, and a clean end."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.query import scan_flows
from tests.pipeline.shipments import NOW, SECOND, batch, flow, write_segment
from tests.pipeline.small_cluster import OBJECTS, service
from tests.pipeline.state_batches import delete, mark, put, state, synced

START_SECONDS = 90


class PipelineProcess:
    """One run of the command in a folder that holds its bus, state and lake."""

    def __init__(self, folder: Path) -> None:
        self.bus, self.lake, self._log = folder / "bus", folder / "lake", folder / "log"
        self._state = folder / "state.json"
        self.dump(*OBJECTS)
        self.command = [sys.executable, "-m", "pipeline.cli.main", "pipeline", "--listen", "127.0.0.1:0"]
        self.command += ["--bus", f"file://{self.bus}", "--state", str(self._state), "--lake", str(self.lake)]
        self._child: subprocess.Popen[bytes] | None = None

    def dump(self, *objects: dict[str, Any]) -> None:
        """Write the cluster's objects, as `kubectl get` does."""
        self._state.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))

    def start(self, page: str = "readyz") -> str:
        """Start and return the address that it serves on, once it is ready, or once another page is served."""
        with self._log.open("wb") as log:
            self._child = subprocess.Popen(self.command, stdout=log, stderr=log)
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._child.poll() is None:
            served = re.search(r"serving /metrics on (\S+)", self._log.read_text())
            if served and get(f"http://{served[1]}/{page}"):
                return served[1]
            time.sleep(0.05)
        raise AssertionError(f"the pipeline is not ready: {self._log.read_text()}")

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        assert self._child is not None
        self._child.send_signal(how)
        return self._child.wait(START_SECONDS)

    def kill(self) -> None:
        if self._child is not None and self._child.poll() is None:
            self._child.kill()
            self._child.wait()


def get(url: str) -> str | None:
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:  # noqa: S310 - our own http://127.0.0.1 addresses
            return str(answer.read(), "utf-8")
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return None


@pytest.fixture
def process(tmp_path: Path) -> Iterator[PipelineProcess]:
    it = PipelineProcess(tmp_path)
    try:
        yield it
    finally:
        it.kill()


def ship(process: PipelineProcess, seq: int) -> None:
    row = flow("10.0.1.5", "10.96.0.7", 5432, backend="10.0.2.7", flow_id=seq)
    write_segment(process.bus, batch("node-a", seq, [row]))


def test_what_lies_on_the_bus_at_the_end_is_applied_before_the_end(process: PipelineProcess) -> None:
    """SIGTERM drains, flushes and exits with 0; the next run goes on where this one ended."""
    process.start()
    for seq in range(5):
        ship(process, seq)
    assert process.end() == 0
    assert scan_flows(process.lake).collect()["flow_id"].sort().to_list() == [0, 1, 2, 3, 4]
    process.start()
    ship(process, 5)
    assert process.end(signal.SIGINT) == 0
    assert scan_flows(process.lake).collect()["flow_id"].sort().to_list() == [0, 1, 2, 3, 4, 5]


def test_metrics_follow_what_is_shipped_and_what_the_state_file_says(process: PipelineProcess) -> None:
    address = process.start()
    ship(process, 0)
    await_metric(address, 'flowatlas_service_connections_total{service_namespace="shop",service="database",')
    await_metric(address, 'flowatlas_state_objects{kind="Service"} 2')
    process.dump(*OBJECTS, service("cache", "10.96.0.9", 6379))
    await_metric(address, 'flowatlas_state_objects{kind="Service"} 3')
    assert process.end() == 0


def await_metric(address: str, wanted: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while wanted not in (get(f"http://{address}/metrics") or ""):
        assert time.monotonic() < deadline, wanted
        time.sleep(0.05)


def test_a_kill_repeats_work_and_skips_none(process: PipelineProcess) -> None:
    """Rows that were held in memory come again after a restart."""
    address = process.start()
    for seq in range(3):
        ship(process, seq)
    await_metric(address, 'flowatlas_pipeline_rows_total{table="flows",node="node-a"} 3')
    process.kill()
    process.start()
    assert process.end() == 0
    assert scan_flows(process.lake).collect()["flow_id"].unique().sort().to_list() == [0, 1, 2]


def test_a_state_on_the_bus_is_awaited_before_any_flow_is_judged(process: PipelineProcess) -> None:
    """The watcher's epoch lies in segments beside the flows; a restart reads it again, and the pod that left in it."""
    process.command += ["--state", "bus"]
    ship(process, 0)
    address = process.start("healthz")
    time.sleep(1.5)
    assert get(f"http://{address}/readyz") is None
    assert "flowatlas_pipeline_rows_total{" not in (get(f"http://{address}/metrics") or "")
    write_segment(process.bus, state(1, 0, [put(NOW - SECOND, item) for item in OBJECTS]))
    write_segment(
        process.bus, state(1, 1, [synced(NOW), delete(NOW + 60 * SECOND, OBJECTS[3]), mark(NOW + 61 * SECOND)])
    )
    deadline = time.monotonic() + START_SECONDS
    while not get(f"http://{address}/readyz"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert process.end() == 0
    process.start()
    ship(process, 1)
    assert process.end() == 0
    rows = scan_flows(process.lake).select("flow_id", "source_name", "service").collect().sort("flow_id").rows()
    assert rows == [(0, "front-1-x", "database"), (1, "front-1-x", "database")]


@pytest.mark.parametrize(
    ("flag", "value", "key"),
    [
        ("--bus", "ftp://x", "pipeline.bus"),
        ("--listen", "nowhere", "pipeline.listen"),
        ("--state", "/nonexistent", "state"),
    ],
)
def test_wrong_settings_end_with_2_and_the_key(process: PipelineProcess, flag: str, value: str, key: str) -> None:
    done = subprocess.run([*process.command, flag, value], capture_output=True, timeout=START_SECONDS, check=False)
    assert done.returncode == 2
    assert key in done.stderr.decode()
