"""`flowatlas pipeline` as a process of its own, and what is seen of it from outside: /metrics, /readyz and /proc.

It is a benchmark's, and starts one process at a time. The invariant: a page is parsed for what a figure needs and no
more, so that who measures takes little of the machine that is measured.
"""

from __future__ import annotations

import gzip
import http.client
import math
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

GIVE_UP_SECONDS: Final = 600.0
HEADERS: Final = {
    "Accept": "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
    "Accept-Encoding": "gzip",
    "User-Agent": "Prometheus/2.42.0",
}
"""What Prometheus 2.42 asks with."""
_LINE: Final = re.compile(rb"[a-z_]+(?:\{([^}]*)\})? (\S+)")
_LABEL: Final = re.compile(rb'(\w+)="([^"]*)"')


@dataclass(frozen=True, slots=True)
class Page:
    """One scrape: what came, when all of it was here (ns since the epoch), and how long that took."""

    text: bytes
    size: int
    at_ns: int
    took_s: float

    def values(self, name: str, label: str = "") -> dict[str, float]:
        """A metric of flows, or of no table, by one label's value; without a label, its sum, under ""."""
        found: dict[str, float] = {}
        wanted = label.encode()
        for line in self._lines(name.encode()):
            match = _LINE.match(line)
            if match is None:
                continue
            told = dict(_LABEL.findall(match[1] or b""))
            if told.get(b"table", b"flows") == b"flows":
                key = told[wanted].decode() if label else ""
                found[key] = found.get(key, 0.0) + float(match[2])
        return found

    def _lines(self, name: bytes) -> Iterator[bytes]:
        """A metric's lines, which are together: a search of the whole page by a pattern takes as long as a scrape."""
        places = (self.text.find(b"\n" + name + end) + 1 for end in (b"{", b" "))
        start = next((place for place in places if place), len(self.text))
        while self.text.startswith(name, start):
            end = self.text.find(b"\n", start)
            yield self.text[start:end]
            start = end + 1

    def total(self, name: str) -> float:
        """The sum of a metric's series."""
        return self.values(name).get("", 0.0)


class Running:
    """The pipeline over one bus and cluster; `start` and `kill` make and end its process."""

    def __init__(self, bus: str, state: Path, folder: Path, group: str, snapshot: Path | None) -> None:
        self._command = [sys.executable, "-m", "pipeline.cli.main", "pipeline", "--listen", "127.0.0.1:0"]
        self._command += ["--bus", bus, "--state", str(state), "--group", group]
        self._command += ["--snapshot", str(snapshot)] if snapshot is not None else []
        # a fixed share, as in a StatefulSet: nobody waits for a dead member of a group
        self._environment = {**os.environ, "FLOWATLAS_PIPELINE_LIVE": "off", "FLOWATLAS_PIPELINE_PARTITIONS": "0/1"}
        self._log = folder / f"{group}.log"
        self._child: subprocess.Popen[bytes] | None = None
        self._address = ""

    def start(self) -> float:
        """Start it and wait until /readyz says so: after how many seconds that was."""
        began = time.monotonic()
        with self._log.open("wb") as log:
            self._child = subprocess.Popen(self._command, stdout=log, stderr=log, env=self._environment)
        while not (served := re.search(r"serving /metrics on (\S+)", self._log.read_text())):
            self._wait(began)
        self._address = served[1]
        while self._get("/readyz", {})[0] != 200:
            self._wait(began)
        return time.monotonic() - began

    def kill(self) -> None:
        """End it as kill -9 does; safe to call twice."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()

    def scrape(self) -> Page:
        """Ask for /metrics as Prometheus does."""
        began = time.perf_counter()
        _, content = self._get("/metrics", HEADERS)
        took_s, at_ns = time.perf_counter() - began, time.time_ns()
        return Page(gzip.decompress(content), len(content), at_ns, took_s)

    def await_rows(self, rows: float, every_s: float = 1.0) -> float:
        """Wait until it shows so many rows of flows: after how many seconds that was."""
        began = time.monotonic()
        while self.scrape().total("flowatlas_pipeline_rows_total") < rows:
            self._wait(began, every_s)
        return time.monotonic() - began

    @property
    def processor_s(self) -> float:
        """Seconds of processor until now, the kernel's for it too."""
        fields = self._proc("stat").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def peak_mb(self) -> float:
        """The most memory it has had since it began or since `forget_peak` (10^6 bytes, resident)."""
        found = re.search(r"VmHWM:\s+(\d+) kB", self._proc("status"))
        return int(found[1]) * 1024 / 1e6 if found else math.nan

    def forget_peak(self) -> None:
        """Let the peak begin anew (proc_pid_clear_refs(5))."""
        Path(f"/proc/{self._pid}/clear_refs").write_text("5")

    @property
    def _pid(self) -> int:
        if self._child is None:
            raise RuntimeError("it has not been started")
        return self._child.pid

    def _proc(self, name: str) -> str:
        return Path(f"/proc/{self._pid}/{name}").read_text()

    def _wait(self, began: float, seconds: float = 0.02) -> None:
        is_gone = self._child is None or self._child.poll() is not None
        if is_gone or time.monotonic() - began > GIVE_UP_SECONDS:
            raise RuntimeError(f"the pipeline does not do it: {self._log.read_text()[-2000:]}")
        time.sleep(seconds)

    def _get(self, path: str, headers: Mapping[str, str]) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(self._address, timeout=30)
        try:
            connection.request("GET", path, headers=dict(headers))
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()


def quantile(share: float, before: Mapping[str, float], after: Mapping[str, float]) -> float:
    """Of what came between two looks at a histogram's buckets, by `le`, as PromQL's `histogram_quantile` has it."""
    counts = sorted((float(bound), count - before.get(bound, 0.0)) for bound, count in after.items())
    wanted = share * counts[-1][1]
    low, below = 0.0, 0.0
    for bound, count in counts:
        if count >= wanted and count > below:
            return low if math.isinf(bound) else low + (bound - low) * (wanted - below) / (count - below)
        low, below = bound, count
    return math.nan
