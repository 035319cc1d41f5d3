"""One `flowatlas pipeline` that lives through a whole soak, and a collector's spool and sink, a process each.

Between them is a real Kafka behind a proxy that breaks and stalls connections at random; batches come twice, late and
damaged; scrapers hang up, or stop reading. The pipeline has snapshots, the history and its care. The invariant: in the
end what the collector counted is in the metrics and in the history, to row and byte, and what came twice is in neither.
"""

from __future__ import annotations

import json
import random
import socket
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import polars as pl

from pipeline.bus.kafka_topics import KafkaTopics
from pipeline.bus.topics import wanted_topics
from pipeline.query import scan_flows
from tests.bench import bench_live
from tests.bench.live_run import Running
from tests.faults.proxy import Proxy
from tests.kafka_broker import KafkaBroker

STALL_SECONDS: Final = 2.0
QUIET_SECONDS: Final = (1.0, 20.0)
"""Between two troubles."""
HANGING: Final = 8
"""Scrapers that do not read on, at a time."""
END_SECONDS: Final = 300.0
COUNTED: Final = (
    "flowatlas_pipeline_batches_total",
    "flowatlas_pipeline_rows_total",
    "flowatlas_pipeline_duplicate_batches_total",
    "flowatlas_pipeline_quarantined_batches_total",
)


class Pipeline(Running):
    """The pipeline with snapshots and the history."""

    def __init__(self, bus: str, folder: Path) -> None:
        state = folder / "state.jsonl"
        state.write_text("".join(json.dumps(item) + "\n" for item in bench_live.cluster()))
        super().__init__(bus, state, folder, "soak", folder / "snapshot")
        self.lake = folder / "lake"
        self._command += ["--lake", str(self.lake)]
        # cared for in every minute, so that none is unlike another; and commits five times as often as by default
        self._environment |= {
            "POLARS_MAX_THREADS": "1",
            "FLOWATLAS_PIPELINE_LAKE_MAINTAIN_S": "30",
            "FLOWATLAS_PIPELINE_LAKE_FLUSH_S": "2",
        }

    @property
    def pid(self) -> int:
        return self._pid

    def end(self) -> int:
        """End it in order: its exit code."""
        assert self._child is not None
        self._child.terminate()
        return self._child.wait(END_SECONDS)

    def hang(self) -> socket.socket:
        """Ask for a page and read no more than its beginning."""
        host, _, port = self._address.rpartition(":")
        asking = socket.create_connection((host, int(port)), timeout=30)
        asking.sendall(b"GET /metrics HTTP/1.1\r\nHost: soak\r\n\r\n")
        asking.recv(1_000)
        return asking


class Steady:
    """Both processes and what is between them, for so long; `pids` are theirs by name, once `running` has begun."""

    def __init__(self, folder: Path, rate: int, seconds: int, seed: int, say: Callable[[str], None]) -> None:
        self.made: Counter[str] = Counter()
        self.fallen: set[str] = set()
        self._folder = folder
        self._numbers = rate, seconds, seed
        self._chance = random.Random(seed)
        self._say = say
        self._seen: Counter[str] = Counter()
        self._hanging: deque[socket.socket] = deque()

    @contextmanager
    def running(self) -> Iterator[dict[str, int]]:
        """From the broker to the collector; who is left at the end is killed."""
        with ExitStack() as stack:
            self._proxy = stack.enter_context(Proxy())
            broker = KafkaBroker({"advertised.listeners": f"PLAINTEXT://{self._proxy.address}"})
            broker.prepare()
            stack.push(broker)
            self._proxy.target = broker.bootstrap
            broker.start()
            bus = f"kafka://{self._proxy.address}"
            with KafkaTopics(bus) as topics:
                topics.create(wanted_topics(partitions=4, replication=1))
            self._pipeline = Pipeline(bus, self._folder)
            stack.callback(self._pipeline.kill)
            self._pipeline.start()
            command = [sys.executable, "-m", "tests.faults.steady_collector", self._proxy.address]
            command += [str(self._folder / "spool"), *map(str, self._numbers)]
            with (self._folder / "collector.log").open("wb") as log:
                self._collector = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log)
            stack.callback(self._collector.wait)
            stack.callback(self._collector.kill)
            stack.callback(self._hang_up)
            yield {"pipeline": self._pipeline.pid, "collector": self._collector.pid}

    def go_through(self) -> None:
        """Troubles at random until the collector has shipped all."""
        troubles = (self.reset, self.stall, self.scrape, self.hang)
        while self._collector.poll() is None:
            trouble = self._chance.choice(troubles)
            trouble()
            self.made[trouble.__name__] += 1
            until = time.monotonic() + self._chance.uniform(*QUIET_SECONDS)
            while self._collector.poll() is None and time.monotonic() < until:
                time.sleep(1.0)
                self.look()

    def reset(self) -> None:
        self._proxy.reset()

    def stall(self) -> None:
        self._proxy.stall()
        time.sleep(self._chance.uniform(0, STALL_SECONDS))
        self._proxy.resume()

    def scrape(self) -> None:
        """One that hangs up in the middle."""
        with suppress(OSError):
            self._pipeline.hang().close()

    def hang(self) -> None:
        with suppress(OSError):
            self._hanging.append(self._pipeline.hang())
        if len(self._hanging) > HANGING:
            self._hanging.popleft().close()

    def _hang_up(self) -> None:
        while self._hanging:
            self._hanging.popleft().close()

    def look(self) -> None:
        """Scrape as Prometheus does, and note what has fallen."""
        page = self._pipeline.scrape()
        for name in COUNTED:
            total = int(page.total(name))
            if total < self._seen[name]:
                self.fallen.add(name)
            self._seen[name] = total

    def unexplained(self) -> dict[str, int]:
        """What the collector counted, held against metrics and history once all has come and the pipeline has ended."""
        said = self._collector.communicate()[0]
        if not said:
            raise AssertionError((self._folder / "collector.log").read_text()[-2000:])
        told: dict[str, Any] = json.loads(said)
        until = time.monotonic() + END_SECONDS
        while not self._has_all(told) and time.monotonic() < until:
            time.sleep(1.0)
            self.look()
        code = self._pipeline.end()
        history = scan_flows(self._pipeline.lake).select(pl.len(), pl.sum("bytes") + pl.sum("reply_bytes")).collect()
        batches, rows, again, poison = (self._seen[name] for name in COUNTED)
        lines = {
            "batches": told["batches"] - batches,
            "rows": told["rows"] - told["lost"] - rows,
            "rows of the history": told["rows"] - told["lost"] - history.row(0)[0],
            "bytes of the history": told["bytes"] - int(history.row(0)[1]),
            "lost": told["lost"],
            "duplicates": max(told["again"] - again, 0),  # a sink that was not answered sends again, too
            "poison": told["poison"] - poison,
            "fallen counters": len(self.fallen),
            "exit": code + self._collector.returncode,
        }
        self._say(f"steady: {json.dumps(told)}; duplicates {again}, poison {poison}; {dict(self.made)}")
        return {what: count for what, count in lines.items() if count}

    def _has_all(self, told: dict[str, Any]) -> bool:
        batches, _, again, poison = (self._seen[name] for name in COUNTED)
        return bool(batches >= told["batches"] and again >= told["again"] and poison >= told["poison"])
