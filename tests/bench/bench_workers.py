"""Two workers against one, over a real Kafka: `flowatlas pipeline --workers` over one backlog, to metrics that have it.

`python -m tests.bench.bench_workers [FLOWS] [TURNS]`. Broker, parent and workers share the machine, so on two cores the
second worker has what Kafka's broker leaves, and the clock does not show what workers on cores of their own would do.
Seconds of processor can: what flows cost all processes of the pipeline together, from when they are ready, and held
while topics are filled, until the group has committed all. What a start costs is told apart: imports, Polars and the
cluster's state, once a worker however much there is to do.

Turns of one worker and of two take each other's place, and medians are shown. Each worker has as many threads of Polars
as it is given cores, which is what `--workers` does; one worker has one core here, so that the two do the same.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from collector.schema import FLOWS, Batch
from pipeline.bus.kafka_topics import KafkaTopics
from pipeline.bus.topics import wanted_topics
from tests.bench import history
from tests.bench.figures import show
from tests.kafka_broker import KafkaBroker

PARTITIONS = 12
POLL_SECONDS = 0.1
GIVE_UP_SECONDS = 600.0
ROWS = re.compile(rb'^flowatlas_pipeline_rows_total\{[^}]*table="flows"[^}]*\} (\S+)$', re.MULTILINE)
SERVING = re.compile(r"serving /metrics of \d+ workers on (\S+)|serving /metrics on (\S+)")


@dataclass(frozen=True, slots=True)
class Run:
    """What one run took, in seconds: of the clock, of the processor for all processes, for the busiest, for a start."""

    clock: float
    processor: float
    busiest: float
    start: float
    broker: float
    peak_mb: float
    """The most memory that the processes had, each at its own time."""


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 6_000_000
    turns = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    batches = list(history.batches(rows))
    runs: dict[int, list[Run]] = {1: [], 2: []}
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder, "state.jsonl")
        described = history.described(lambda version, kind, body: {"apiVersion": version, "kind": kind, **body})
        state.write_text("".join(json.dumps(item) + "\n" for item in described))
        for _ in range(turns):
            for workers, told in runs.items():
                told.append(measured(state, workers, batches, Path(folder, "log")))
                print(workers, told[-1], file=sys.stderr)
    of_processor = {workers: median(rows / run.processor for run in told) for workers, told in runs.items()}
    by_clock = {workers: median(rows / run.clock for run in told) for workers, told in runs.items()}
    for workers, told in runs.items():
        against = {
            "cores": os.cpu_count(),
            "start_seconds_of_processor": round(median(run.start for run in told), 2),
            "busiest_worker": round(median(run.busiest / run.processor for run in told), 2),
            "peak_mb": round(median(run.peak_mb for run in told)),
            "kafka_of_a_core": round(median(run.broker / run.clock for run in told), 2),
        }
        show(f"workers_{workers}_flows_per_processor_second", of_processor[workers], "flows/s", against)
        show(f"workers_{workers}_flows_per_second", by_clock[workers], "flows/s", {"kafka": "here too"})
    show("workers_2_over_1_per_processor_second", of_processor[2] / of_processor[1], "times", {"target": 0.9})
    show("workers_2_over_1", by_clock[2] / by_clock[1], "times", {"target": "near 2, with a core for each"})


def measured(state: Path, workers: int, batches: Sequence[Batch], log: Path) -> Run:
    """What it took to count all batches."""
    rows = sum(batch.rows for batch in batches)
    with KafkaBroker() as broker:
        with KafkaTopics(f"kafka://{broker.bootstrap}") as topics:
            topics.create(wanted_topics(partitions=PARTITIONS, replication=1))
        command = [sys.executable, "-m", "pipeline.cli.main", "pipeline", "--bus", f"kafka://{broker.bootstrap}"]
        command += ["--state", str(state), "--listen", "127.0.0.1:0", "--workers", str(workers), "--group", "bench"]
        environ = {"FLOWATLAS_PIPELINE_LIVE": "off", "FLOWATLAS_PIPELINE_PARTITIONS": "0/1", "POLARS_MAX_THREADS": "1"}
        with log.open("wb") as to:
            child = subprocess.Popen(command, stdout=to, stderr=to, env={**os.environ, **environ})
        try:
            deadline = time.monotonic() + GIVE_UP_SECONDS
            while (served := SERVING.search(log.read_text())) is None:
                _wait(deadline, child, log)
            address = served[1] or served[2]
            while _get(f"http://{address}/readyz") is None:
                _wait(deadline, child, log)
            held = sorted(_processor_seconds(child.pid))
            with _held(held):
                end = fill(broker.bootstrap, batches)
                started, served_s = _processor_seconds(child.pid), _served_seconds(broker)
            began = time.monotonic()
            with Committed(broker.bootstrap) as committed:
                while committed.messages() < end:
                    _wait(deadline, child, log)
                clock = time.monotonic() - began
            ended = _processor_seconds(child.pid)
            kafka = _served_seconds(broker) - served_s
            while _rows(address) < rows:  # what is committed is shown with the next publication
                _wait(deadline, child, log)
            peak_mb = sum(map(_peak_mb, held))
        finally:
            child.terminate()
            child.wait(60)
    spent = {pid: ended[pid] - started[pid] for pid in held}
    return Run(clock, sum(spent.values()), max(spent.values()), sum(started.values()), kafka, peak_mb)


@contextmanager
def _held(processes: Sequence[int]) -> Iterator[None]:
    """None of the processes does anything meanwhile."""
    try:
        for pid in processes:
            os.kill(pid, signal.SIGSTOP)
        yield
    finally:
        for pid in processes:
            os.kill(pid, signal.SIGCONT)


def fill(servers: str, batches: Sequence[Batch]) -> int:
    """Put batches on the bus; how many there are."""
    producer: Any = KafkaProducer(bootstrap_servers=servers, max_request_size=2_000_000)
    for batch in batches:
        producer.send(batch.topic, key=batch.key, value=batch.value, headers=list(batch.headers().items()))
    producer.flush(GIVE_UP_SECONDS)
    producer.close()
    return len(batches)


class Committed:
    """How many messages of flows the group has committed."""

    def __init__(self, servers: str) -> None:
        self._consumer: Any = KafkaConsumer(bootstrap_servers=servers, group_id="bench", enable_auto_commit=False)
        self._partitions = [TopicPartition(FLOWS.topic, number) for number in range(PARTITIONS)]

    def __enter__(self) -> Committed:
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    def messages(self) -> int:
        return sum(self._consumer.committed(partition) or 0 for partition in self._partitions)


def _processor_seconds(pid: int) -> dict[int, float]:
    """Of a process and its children, by process."""
    ticks = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if pid in (int(path.parent.name), int(fields[1])):
            ticks[int(path.parent.name)] = int(fields[11]) + int(fields[12])
    return {process: spent / os.sysconf("SC_CLK_TCK") for process, spent in ticks.items()}


def _served_seconds(broker: KafkaBroker) -> float:
    assert broker.pid is not None
    return sum(_processor_seconds(broker.pid).values())


def _peak_mb(pid: int) -> float:
    """The most memory that a process has had."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def _rows(address: str) -> float:
    return sum(float(number) for number in ROWS.findall(_get(f"http://{address}/metrics") or b""))


def _wait(deadline: float, child: subprocess.Popen[bytes], log: Path) -> None:
    if child.poll() is not None or time.monotonic() > deadline:
        raise RuntimeError(f"the pipeline does not do it: {log.read_text()[-2000:]}")
    time.sleep(POLL_SECONDS)


def _get(url: str) -> bytes | None:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - our own http://127.0.0.1 addresses
            content: bytes = answer.read()
            return content
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return None


if __name__ == "__main__":
    main()
