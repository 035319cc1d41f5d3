"""Members of a consumer group as processes that come, go, sleep and die, and what all of them have counted together."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from prometheus_client.parser import text_string_to_metric_families

from tests.pipeline.small_cluster import OBJECTS

WAIT_SECONDS: Final = 120.0
SESSION_SECONDS: Final = 2.0
_RUN: Final = (
    "import faulthandler, signal; faulthandler.register(signal.SIGUSR1); "
    f"import sys; from pipeline.bus import kafka; kafka.SESSION_SECONDS = {SESSION_SECONDS}; "
    "from pipeline.cli.main import main; sys.exit(main())"
)

Series = tuple[str, tuple[tuple[str, str], ...]]


class Member:
    """One member with a folder of snapshots of its own, and the processes that were it, one after the other."""

    def __init__(self, folder: Path, bus: str, lake: Path) -> None:
        folder.mkdir()
        state = folder / "state.json"
        state.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": list(OBJECTS)}))
        self._command = [sys.executable, "-c", _RUN, "pipeline", "--listen", "127.0.0.1:0", "--bus", bus]
        self._command += ["--state", str(state), "--snapshot", str(folder / "snapshots"), "--lake", str(lake)]
        self._log = folder / "log"
        self._lives = 0
        self._process: subprocess.Popen[bytes] | None = None
        self.is_asleep = self.is_ending = False
        self.seen: dict[Series, float] = {}
        """What was seen last of each counter."""
        self.fallen: list[tuple[Series, float, float]] = []
        self.read_nodes: set[str] = set()
        """The nodes of whose interfaces it told last."""

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def log(self) -> str:
        return self._log.read_text() if self._log.exists() else ""

    def stuck(self) -> str:
        """Its log, and at the end of it where each of its threads is, for the message of a failure."""
        if self.is_running and not self.is_asleep:
            before = len(self.log())
            self.send(signal.SIGUSR1)
            deadline = time.monotonic() + 10
            while "most recent call first" not in self.log()[before:] and time.monotonic() < deadline:
                time.sleep(0.1)
        return self.log()

    def start(self) -> None:
        environment = {**os.environ, "FLOWATLAS_PIPELINE_WINDOW_S": "0.2", "FLOWATLAS_PIPELINE_LAKE_FLUSH_S": "0.5"}
        environment |= {"POLARS_MAX_THREADS": "1", "FLOWATLAS_PIPELINE_LAKE_MAINTAIN_S": "0"}
        self._lives = len(self.log())
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log, env=environment)
        self.is_ending = False

    def send(self, number: int) -> None:
        """Sleep, wake or die by a signal."""
        assert self._process is not None
        self._process.send_signal(number)
        if number in {signal.SIGKILL}:
            self._process.wait()
        self.is_asleep = number == signal.SIGSTOP
        self.is_ending |= number == signal.SIGTERM

    def ended(self) -> int:
        """Its exit code, once it has gone in order."""
        assert self._process is not None
        return self._process.wait(WAIT_SECONDS)

    def served(self) -> list[str]:
        """Where this life of it serves; nothing yet while it starts."""
        return re.findall(r"serving /metrics on (\S+)", self.log()[self._lives :])

    @property
    def is_reading(self) -> bool:
        """Whether it is awake, and was given partitions once in this life."""
        return self.is_running and not self.is_asleep and "newly assigned partitions {" in self.log()[self._lives :]

    def snapshots(self) -> list[Path]:
        """Those that count."""
        return list((self._log.parent / "snapshots").rglob("*.snapshot"))

    def look(self) -> None:
        """Scrape, and note the counters that have fallen."""
        self.read_nodes = set()
        served = self.served()
        if not served or not self.is_running or self.is_asleep:
            return
        try:
            with urllib.request.urlopen(f"http://{served[-1]}/metrics", timeout=10) as answer:
                page = answer.read().decode()
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return
        parse: Any = text_string_to_metric_families
        for family in parse(page):
            for sample in family.samples:
                if sample.name == "container_network_receive_bytes_total":
                    self.read_nodes.add(sample.labels["node"])
                if family.type == "counter":
                    key = sample.name, tuple(sorted(sample.labels.items()))
                    if sample.value < self.seen.get(key, 0.0):
                        self.fallen.append((key, self.seen[key], sample.value))
                    self.seen[key] = sample.value

    def rows(self) -> int:
        """Scrape: the rows of flows that it has counted."""
        self.look()
        return counted([self])["flowatlas_pipeline_rows_total"]

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()


def counted(members: list[Member]) -> Counter[str]:
    """The sum over all members of each counter, of those of flows where they tell of a table."""
    sums: Counter[str] = Counter()
    for member in members:
        for (name, labels), value in member.seen.items():
            if dict(labels).get("table", "flows") == "flows":
                sums[name] += int(value)
    return sums


def until(is_so: Callable[[], bool], what: Callable[[], object]) -> None:
    """Wait for a fact."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not is_so():
        assert time.monotonic() < deadline, what()
        time.sleep(0.2)
