"""One worker of `flowatlas pipeline --workers`: a pipeline in a process of its own, as its parent sees it.

The parent starts it, asks it over HTTP on loopback, and starts it again when it has ended or no longer does what it is
for. The invariant: the process ends with its parent, however that ends.
"""

from __future__ import annotations

import contextlib
import http.client
import logging
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from ..errors import ConfigError
from .allocators import give_back

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess

    from ..config import PipelineConfig
    from ..outputs.exposition import Format

log = logging.getLogger(__name__)

BACK_OFF_SECONDS: Final = (0.5, 30.0)
"""First and longest wait before a worker that ended is started again."""
WELL_SECONDS: Final = 60.0
"""A worker that lived for so long begins with the first wait again."""
SCRAPE_SECONDS: Final = 9.0
"""So long a page of metrics may take: Prometheus gives up after 10 s."""
READY_SECONDS: Final = 1.0
LOOK_SECONDS: Final = 5.0
"""How often a worker's /healthz is asked, and how long an answer may take."""
STUCK_SECONDS: Final = 60.0
"""A worker that has not said for so long that it is well is replaced: as the chart's probe has it, which fails three
times in 20 s each."""
START_SECONDS: Final = 120.0
"""So long it may take until it serves: twice what the chart's probe gives a pipeline."""
_ACCEPT: Final = {"text": "text/plain", "openmetrics": "application/openmetrics-text; version=1.0.0"}

End = Literal["exited", "stuck"]
"""Why a worker had to be started again: it ended by itself or by a signal of others; it was killed by us."""


class Worker:
    """One pipeline in a process of its own. Not thread-safe but for `look`, `page` and `is_ready`."""

    def __init__(self, name: str, config: PipelineConfig, file: Path | None) -> None:
        self.name = name
        self._config = config
        self._file = file
        self._delay_s = BACK_OFF_SECONDS[0]
        self._start_at = 0.0
        self._started_at = 0.0
        self._pipe: Connection | None = None
        self._port: int | None = None
        self._unwell_since: float | None = None
        """When /healthz first failed of the times that it has failed in a row."""
        self._end: End = "exited"
        self._ends: dict[End, int] = {"exited": 0, "stuck": 0}
        self.process: SpawnProcess | None = None

    @property
    def ends(self) -> Mapping[End, int]:
        """How often it ended while it was wanted, by why."""
        return dict(self._ends)

    @property
    def is_killed(self) -> bool:
        """Whether it was found stuck, and its end is awaited."""
        return self._end == "stuck"

    def tend(self, now: float) -> int | None:
        """Start it where it is time to, kill it where it is stuck, and see whether it has ended; its exit code where it
        has just done so."""
        if self.process is None:
            if now >= self._start_at:
                self._start(now)
            return None
        if self._pipe is not None and self._port is None and self._pipe.poll():
            with contextlib.suppress(EOFError, OSError):
                self._port = self._pipe.recv()
        code = self.process.exitcode
        if code is not None:
            self._ends[self._end] += 1
            self._forget()
            if now - self._started_at > WELL_SECONDS:
                self._delay_s = BACK_OFF_SECONDS[0]
            self._start_at = now + self._delay_s
            log.warning("worker %s ended with %d; it starts again in %.1f s", self.name, code, self._delay_s)
            self._delay_s = min(2 * self._delay_s, BACK_OFF_SECONDS[1])
        elif not self.is_killed and self._is_stuck(now):
            log.warning("worker %s is stuck, by its /healthz, and is killed", self.name)
            self._end = "stuck"
            self.process.kill()
        return code

    def look(self) -> None:
        """Ask whether it is well, and remember since when it is not."""
        if self._port is None or self._ask("/healthz", "text", LOOK_SECONDS) is not None:
            self._unwell_since = None
        elif self._unwell_since is None:
            self._unwell_since = time.monotonic()

    def stop(self, deadline: float) -> int:
        """Wait for its end, which SIGTERM has asked for, and kill it at the deadline. Its exit code."""
        if self.process is None:
            return 0
        self.process.join(max(0.0, deadline - time.monotonic()))
        if self.process.exitcode is None:
            log.warning("worker %s does not end and is killed", self.name)
            self.process.kill()
            self.process.join()
        code = self.process.exitcode
        self._forget()
        return 0 if code is None else code

    def is_ready(self) -> bool:
        """Whether it says so, and soon."""
        return self._ask("/readyz", "text", READY_SECONDS) is not None

    def page(self, form: Format) -> bytes | None:
        """What it exposes, compressed by gzip; None where it does not answer."""
        return self._ask("/metrics", form, SCRAPE_SECONDS)

    def _is_stuck(self, now: float) -> bool:
        since = self._unwell_since
        if self._port is None:
            return now - self._started_at > START_SECONDS
        return since is not None and now - since > STUCK_SECONDS

    def _ask(self, path: str, form: Format, timeout_s: float) -> bytes | None:
        port = self._port
        if port is None:
            return None
        asked = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
        try:
            asked.request("GET", path, headers={"Accept": _ACCEPT[form], "Accept-Encoding": "gzip"})
            answer = asked.getresponse()
            body = answer.read()
        except (OSError, http.client.HTTPException):
            return None
        finally:
            asked.close()
        return body if answer.status == http.HTTPStatus.OK else None

    def _start(self, now: float) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        level = logging.getLogger().level
        self.process = context.Process(
            target=_work, args=(self._config, self._file, level, theirs), name=f"worker-{self.name}"
        )
        self.process.start()
        theirs.close()
        self._started_at = now

    def _forget(self) -> None:
        if self.process is not None:
            self.process.close()
        if self._pipe is not None:
            self._pipe.close()
        self.process = self._pipe = self._port = self._unwell_since = None
        self._end = "exited"


def _work(config: PipelineConfig, file: Path | None, level: int, pipe: Connection) -> None:
    """A worker's process: a pipeline that tells its port, and ends with its parent."""
    give_back(os.environ)
    from .logs import start_log
    from .serve import serve

    start_log(logging.getLevelName(level).lower(), is_service=True)
    stop = threading.Event()

    def watch() -> None:
        with contextlib.suppress(EOFError, OSError):
            pipe.recv()  # nothing ever comes but the end
        stop.set()

    threading.Thread(target=watch, name="parent", daemon=True).start()
    try:
        code = serve(config, file, stop, pipe.send)
    except ConfigError as error:
        log.error("%s", error)  # noqa: TRY400 - what is wrong is said, a traceback tells nothing more
        code = 2
    sys.exit(code)
