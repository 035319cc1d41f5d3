"""Two workers against one, over a real Kafka: `flowatlas pipeline --workers` from a topic that is full to metrics that
have it all.

`python tests/bench/bench_workers.py [FLOWS]`. Broker, parent and workers share the machine, so on two cores the second
worker has what Kafka's broker leaves. Time is the clock's, from when the workers are ready, and is read off /metrics
every POLL_SECONDS. Seconds of processor beside it, starts and scrapes too, tell what sharing costs. Each worker has one
thread of Polars where POLARS_MAX_THREADS=1 says so, as `make bench` does.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from kafka import KafkaProducer

from pipeline.bus.kafka_topics import KafkaTopics
from pipeline.bus.topics import wanted_topics
from tests.bench import history
from tests.bench.figures import show
from tests.kafka_broker import KafkaBroker

POLL_SECONDS = 0.25
GIVE_UP_SECONDS = 300.0
ROWS = re.compile(rb'^flowatlas_pipeline_rows_total\{[^}]*table="flows"[^}]*\} (\S+)$', re.MULTILINE)


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 6_000_000
    with tempfile.TemporaryDirectory() as folder, KafkaBroker() as broker:
        state = Path(folder, "state.jsonl")
        described = history.described(lambda version, kind, body: {"apiVersion": version, "kind": kind, **body})
        state.write_text("".join(json.dumps(item) + "\n" for item in described))
        with KafkaTopics(f"kafka://{broker.bootstrap}") as topics:
            topics.create(wanted_topics(partitions=12, replication=1))
        fill(broker.bootstrap, rows)
        rates = {workers: measured(broker.bootstrap, state, workers, rows, Path(folder)) for workers in (1, 2)}
    for workers, (rate, of_processor) in rates.items():
        against = {"cores": os.cpu_count(), "kafka": "here too", "flows_per_processor_second": round(of_processor)}
        show(f"workers_{workers}_flows_per_second", rate, "flows/s", against)
    show("workers_2_over_1", rates[2][0] / rates[1][0], "times", {"target": "near 2, with a core for each"})
    show("workers_2_over_1_per_processor_second", rates[2][1] / rates[1][1], "times", {"target": "1: sharing is free"})


def fill(servers: str, rows: int) -> None:
    """Put generated flows on the bus."""
    producer: Any = KafkaProducer(bootstrap_servers=servers, max_request_size=2_000_000)
    for batch in history.batches(rows):
        headers = list(batch.headers().items())
        producer.send(batch.topic, key=batch.key, value=batch.value, headers=headers)
    producer.flush(60)
    producer.close()


def measured(servers: str, state: Path, workers: int, rows: int, folder: Path) -> tuple[float, float]:
    """Flows a second, from ready to all counted, and flows a second of processor, from the start."""
    log = folder / "log"
    command = [sys.executable, "-m", "pipeline.cli.main", "pipeline", "--bus", f"kafka://{servers}"]
    command += ["--state", str(state), "--listen", "127.0.0.1:0", "--workers", str(workers)]
    command += ["--group", f"bench-{workers}-{time.time_ns()}"]
    with log.open("wb") as to:
        child = subprocess.Popen(command, stdout=to, stderr=to, env={**os.environ, "FLOWATLAS_PIPELINE_LIVE": "off"})
    try:
        deadline = time.monotonic() + GIVE_UP_SECONDS
        while not (
            served := re.search(r"serving /metrics of \d+ workers on (\S+)|serving /metrics on (\S+)", log.read_text())
        ):
            _wait(deadline, child, log)
        address = served[1] or served[2]
        while _get(f"http://{address}/readyz") is None:
            _wait(deadline, child, log)
        began = time.monotonic()
        before = _rows(address)
        while _rows(address) < rows:
            _wait(deadline, child, log)
        return (rows - before) / (time.monotonic() - began), rows / _processor_seconds(child.pid)
    finally:
        child.terminate()
        child.wait(60)


def _processor_seconds(pid: int) -> float:
    """Of a process and its children, imports and the state's loading too."""
    ticks = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if pid in (int(path.parent.name), int(fields[1])):
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


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
