"""The demo's child processes: started with a log file, ended by pid, with their last words when one fails."""

from __future__ import annotations

import ctypes
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

_PR_SET_PDEATHSIG = 1  # include/uapi/linux/prctl.h

LAST_LINES = 12
"""Of the log of a process that has failed: the end of a traceback."""

CHECKOUT = Path(__file__).resolve().parents[2]


class DemoError(Exception):
    """The demo cannot go on; the message says which part and where its log is."""


class Process:
    """One child process. `with` starts and stops it; its output goes to `log`."""

    def __init__(self, name: str, command: Sequence[str], log: Path) -> None:
        self.name = name
        self.log = log
        self.command = tuple(command)
        self._child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("wb") as output:
            self._child = subprocess.Popen(
                self.command,
                cwd=CHECKOUT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is the demo's alone: it stops its children in order
                preexec_fn=_end_with_parent,
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._child is not None and self._child.poll() is None:
            self._child.terminate()
            try:
                self._child.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self._child.kill()
                self._child.wait()

    def check(self) -> None:
        """Raise DemoError where the process has ended by itself."""
        if self._child is not None and self._child.poll() is not None:
            raise DemoError(f"{self.name} ended with {self._child.returncode}: {self._last_words()}")

    def pause(self) -> None:
        """Hold the process where it is, as one that hangs."""
        if self._child is not None:
            self._child.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        if self._child is not None:
            self._child.send_signal(signal.SIGCONT)

    def stop(self, timeout_s: float = 60.0) -> None:
        """Ask the process to finish its work (SIGTERM) and wait. Raises DemoError where it fails or takes longer."""
        if self._child is None:
            return
        self._child.terminate()
        try:
            code = self._child.wait(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            raise DemoError(f"{self.name} did not stop within {timeout_s:.0f} s; its log: {self.log}") from None
        if code != 0:
            raise DemoError(f"{self.name} ended with {code}: {self._last_words()}")

    def _last_words(self) -> str:
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return "\n  ".join([f"its log: {self.log}", *lines[-LAST_LINES:]])


def _end_with_parent() -> None:
    """Have the kernel end this process when the demo dies, even by kill -9. Linux; elsewhere nothing."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def flowatlas(name: str, log: Path, *arguments: str) -> Process:
    """A `flowatlas` sub-command as a child process of this same interpreter."""
    return Process(name, [sys.executable, "-m", "pipeline.cli.main", *arguments], log)


def free_port() -> int:
    """A TCP port of the loopback address that nobody listens on now.

    Of those that the kernel lends to no client: else one could have it before the server that it is meant for.
    """
    for port in random.sample(range(15_000, 30_000), 1000):
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise DemoError("no free port between 15000 and 30000")


def fetch(url: str, timeout_s: float = 5.0) -> str | None:
    """The body of a loopback URL, or None where it does not answer with 200."""
    try:
        with urllib.request.urlopen(url, timeout=timeout_s) as answer:  # noqa: S310 - our own http://127.0.0.1 addresses
            body: bytes = answer.read()
            return body.decode()
    except (urllib.error.URLError, TimeoutError, ConnectionError):
        return None


def wait_for(url: str, process: Process, timeout_s: float = 90.0) -> None:
    """Wait until `url` answers with 200. Raises DemoError where the process ends or the time runs out."""
    deadline = time.monotonic() + timeout_s
    while fetch(url) is None:
        process.check()
        if time.monotonic() > deadline:
            raise DemoError(f"{process.name} did not answer at {url} within {timeout_s:.0f} s; its log: {process.log}")
        time.sleep(0.05)


def wait_for_scrapes(url: str, server: Process, targets: Sequence[Process], timeout_s: float = 90.0) -> None:
    """Wait until Prometheus has scraped all its targets once: it takes them up some seconds after it is ready.

    Raises DemoError as `wait_for` does, of the target where that has ended.
    """
    from dashboards.prometheus import Prometheus, PrometheusError

    def scraped() -> int:
        try:
            return len(Prometheus(url).instant("up == 1", time.time()))
        except PrometheusError:
            return 0

    deadline = time.monotonic() + timeout_s
    while scraped() < len(targets):
        for process in (*targets, server):
            process.check()
        if time.monotonic() > deadline:
            raise DemoError(f"{server.name} did not scrape all targets within {timeout_s:.0f} s: {server.log}")
        time.sleep(0.1)


def prometheus(
    directory: Path,
    port: int,
    targets: Mapping[str, str],
    rules: str | None = None,
    aside: Mapping[str, str] | None = None,
    kept: str = "",
) -> Process | None:
    """A Prometheus on loopback that scrapes `targets` (job to host:port) each second; None where none is installed.

    `rules` is the text of a rule file, evaluated each second. Of what is `aside` only metrics are kept whose names
    match `kept`.
    """
    binary = shutil.which("prometheus")
    if binary is None:
        return None
    directory.mkdir(parents=True, exist_ok=True)
    keep = f"    metric_relabel_configs:\n      - {{source_labels: [__name__], regex: '{kept}', action: keep}}\n"
    jobs = "".join(
        f"  - job_name: {job}\n    static_configs:\n      - targets: ['{target}']\n{more}"
        for asked, more in ((targets, ""), (aside or {}, keep))
        for job, target in asked.items()
    )
    config = directory / "prometheus.yml"
    loaded = ""
    if rules is not None:
        (directory / "rules.yaml").write_text(rules)
        loaded = "rule_files: [rules.yaml]\n"
    intervals = "global:\n  scrape_interval: 1s\n  scrape_timeout: 1s\n  evaluation_interval: 1s\n"
    config.write_text(f"{intervals}{loaded}scrape_configs:\n{jobs}")
    return Process(
        "prometheus",
        [
            binary,
            f"--config.file={config}",
            f"--storage.tsdb.path={directory / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--log.level=warn",
        ],
        directory / "prometheus.log",
    )
