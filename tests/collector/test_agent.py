"""The loop: names of batches, splitting, failures that pass, an orderly end, a lean process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from collector.agent import Agent
from collector.config import CollectorConfig
from collector.errors import TransientError
from collector.metrics import Metrics
from collector.schema import COUNTERS, FLOWS, MAX_MESSAGE_BYTES, MAX_ROWS, UTF8, Batch, frame_of, unpack_records
from collector.sources import Columns

ROOT = Path(__file__).resolve().parents[2]


def flows(rows: int, seed: int | None = None) -> Columns:
    """Rows of zeros, or of noise that does not compress."""
    noise = np.random.default_rng(seed)
    return {
        name: np.zeros(rows, kind) if seed is None else noise.integers(0, np.iinfo(kind).max, rows, kind)
        for name, kind in FLOWS.columns_of(1).items()
    }


class Script:
    """A source that answers each read as it is told, and stops the agent when it has no more to say."""

    table = "flows"

    def __init__(self, stop: threading.Event, answers: list[Columns | Exception], last: Columns) -> None:
        self.calls: list[str] = []
        self._stop, self._answers, self._last = stop, answers, last

    def start(self) -> None:
        self.calls.append("start")

    def read(self, now_ns: int) -> Columns:
        self.calls.append("read")
        answer = self._answers.pop(0)
        if not self._answers:
            self._stop.set()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def finish(self, now_ns: int) -> Columns:
        self.calls.append("finish")
        return self._last

    def stop(self) -> None:
        self.calls.append("stop")


class Memory:
    """A sink that keeps what it gets, after refusing to start a number of times."""

    def __init__(self, refusals: int = 0) -> None:
        self.batches: list[Batch] = []
        self.flushed = self.stopped = False
        self._refusals = refusals

    def start(self) -> None:
        self._refusals -= 1
        if self._refusals >= 0:
            raise TransientError("bus: nobody there")

    def send(self, batch: Batch) -> None:
        self.batches.append(batch)

    def flush(self, timeout_s: float) -> bool:
        self.flushed = True
        return True

    def stop(self) -> None:
        self.stopped = True


def play(
    answers: list[Columns | Exception],
    last: Columns,
    sink: Memory,
    table: str = "flows",
    metrics: Metrics | None = None,
) -> Script:
    stop = threading.Event()
    source = Script(stop, answers, last)
    source.table = table
    Agent(CollectorConfig("n1", "file:///unused", interval_s=0.05), metrics or Metrics(), [source], sink).run(stop)
    return source


def test_batches_are_numbered_without_a_gap_and_the_last_rows_are_shipped() -> None:
    sink = Memory()
    source = play([flows(3), flows(0), flows(MAX_ROWS + 1)], flows(2), sink)
    assert [(batch.seq, batch.rows) for batch in sink.batches] == [(0, 3), (1, MAX_ROWS), (2, 1), (3, 2)]
    assert len({batch.epoch for batch in sink.batches}) == 1
    assert source.calls == ["start", "read", "read", "read", "finish", "stop"]
    assert sink.flushed
    assert sink.stopped


def test_rows_that_do_not_compress_are_split_into_messages_that_fit() -> None:
    sink = Memory()
    play([flows(MAX_ROWS, seed=1)], flows(0), sink)
    assert sum(batch.rows for batch in sink.batches) == MAX_ROWS
    assert len(sink.batches) > 1
    assert all(len(batch.value) <= MAX_MESSAGE_BYTES for batch in sink.batches)
    assert [batch.seq for batch in sink.batches] == list(range(len(sink.batches)))


def test_the_byte_sum_is_that_of_both_directions() -> None:
    columns = dict(flows(2))
    columns["bytes"] = np.array([2**40, 5], np.uint64)
    columns["reply_bytes"] = np.array([7, 0], np.uint64)
    sink = Memory()
    play([columns], flows(0), sink)
    assert sink.batches[0].byte_sum == 2**40 + 12


def test_a_read_that_fails_for_a_while_does_not_stop_the_loop() -> None:
    sink = Memory()
    source = play([TransientError("no answer"), flows(1)], flows(0), sink)
    assert source.calls.count("read") == 2
    assert [batch.rows for batch in sink.batches] == [1]


def test_what_nobody_foresaw_costs_a_source_beside_flows_one_read(caplog: pytest.LogCaptureFixture) -> None:
    sink, metrics = Memory(), Metrics()
    kinds = COUNTERS.columns_of(1)
    whole: Columns = {name: [""] if kind == UTF8 else np.zeros(1, kind) for name, kind in kinds.items()}
    answers: list[Columns | Exception] = [ZeroDivisionError("odd"), ZeroDivisionError("odd"), whole]
    play(answers, {name: column[:0] for name, column in whole.items()}, sink, "counters", metrics)
    assert [batch.rows for batch in sink.batches] == [1]
    assert metrics.value("failed_reads_total", table="counters") == 2
    told = [record for record in caplog.records if "odd" in record.getMessage()]
    assert [bool(record.exc_info) for record in told] == [True, False]


def test_what_nobody_foresaw_in_the_source_of_flows_ends_the_process_whose_journal_is_exact() -> None:
    with pytest.raises(ZeroDivisionError):
        play([ZeroDivisionError("odd"), flows(1)], flows(0), Memory())


def test_a_bus_that_does_not_answer_is_tried_again() -> None:
    sink = Memory(refusals=1)
    play([flows(1)], flows(0), sink)
    assert len(sink.batches) == 1


def test_stopping_while_the_bus_is_away_ends_at_once() -> None:
    stop = threading.Event()
    stop.set()
    source = Script(stop, [], flows(0))
    Agent(CollectorConfig("n1", "file:///unused"), Metrics(), [source], Memory(refusals=9)).run(stop)
    assert source.calls == ["start", "stop"]


RUN = """
import sys
from pathlib import Path
from collector.agent import run
from collector.config import CollectorConfig
code = run(CollectorConfig("n1", "file://" + sys.argv[1], ("counters",), 0.05))
print(sorted({name.partition(".")[0] for name in sys.modules}))
sys.exit(code)
"""


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 90
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_lean_process_in_order(tmp_path: Path, number: signal.Signals) -> None:
    """It exits with 0, its last segment is whole, and it has loaded nothing heavy."""
    folder = tmp_path / "flowatlas.counters.v1" / "n1"
    with subprocess.Popen(
        [sys.executable, "-c", RUN, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as agent:
        wait_for(lambda: folder.is_dir() and len(list(folder.glob("*.seg"))) > 2)
        os.kill(agent.pid, number)
        loaded, _ = agent.communicate(timeout=90)
        assert agent.returncode == 0
    for path in folder.iterdir():
        ((_, value),) = unpack_records(path.read_bytes())
        frame_of(value)
    heavy = {"polars", "pyarrow", "scapy", "pyroute2", "kafka", "prometheus_client", "pandas"}
    assert "numpy" in loaded
    assert not [name for name in heavy if f"'{name}'" in loaded]
