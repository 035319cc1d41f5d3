"""`flowatlas pipeline --workers N`: as many pipelines as processes, each with its own share of Kafka's partitions.

The parent reads no bus. It starts the workers, starts those again that end by themselves, and serves one /metrics of
them all. The invariant: no worker outlives its parent, and the parent ends when all workers have.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import http.client
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import connection as pipes
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ..bus.share import Share, parse_share
from ..errors import ConfigError
from ..outputs.merged import merged
from ..outputs.publication import Publication

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess

    from ..config import PipelineConfig
    from ..outputs.exposition import Format

log = logging.getLogger(__name__)

BACK_OFF_SECONDS: Final = (0.5, 30.0)
"""First and longest wait before a worker that ended is started again."""
WELL_SECONDS: Final = 60.0
"""A worker that lived for so long begins with the first wait again."""
STOP_SECONDS: Final = 28.0
"""How long workers may take to end; they drain for 20 s, and Kubernetes kills after 30."""
SCRAPE_SECONDS: Final = 9.0
_ACCEPT: Final = {"text": "text/plain", "openmetrics": "application/openmetrics-text; version=1.0.0"}


class Worker:
    """One pipeline in a process of its own. Not thread-safe but for `text` and `is_ready`."""

    def __init__(self, name: str, config: PipelineConfig, file: Path | None) -> None:
        self.name = name
        self._config = config
        self._file = file
        self._delay_s = BACK_OFF_SECONDS[0]
        self._start_at = 0.0
        self._started_at = 0.0
        self._pipe: Connection | None = None
        self._port: int | None = None
        self.process: SpawnProcess | None = None

    def tend(self, now: float) -> int | None:
        """Start it where it is time to, and see whether it has ended; its exit code where it has just done so."""
        if self.process is None:
            if now >= self._start_at:
                self._start(now)
            return None
        if self._pipe is not None and self._port is None and self._pipe.poll():
            with contextlib.suppress(EOFError, OSError):
                self._port = self._pipe.recv()
        code = self.process.exitcode
        if code is not None:
            self._forget()
            if now - self._started_at > WELL_SECONDS:
                self._delay_s = BACK_OFF_SECONDS[0]
            self._start_at = now + self._delay_s
            log.warning("worker %s ended with %d; it starts again in %.1f s", self.name, code, self._delay_s)
            self._delay_s = min(2 * self._delay_s, BACK_OFF_SECONDS[1])
        return code

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
        """Whether it says so."""
        return self._ask("/readyz", "text") is not None

    def text(self, form: Format) -> bytes | None:
        """What it exposes; None where it does not answer."""
        return self._ask("/metrics", form)

    def _ask(self, path: str, form: Format) -> bytes | None:
        port = self._port
        if port is None:
            return None
        asked = http.client.HTTPConnection("127.0.0.1", port, timeout=SCRAPE_SECONDS)
        try:
            asked.request("GET", path, headers={"Accept": _ACCEPT[form]})
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
        self.process = self._pipe = self._port = None


class WorkersPublication(Publication):
    """What all workers expose, asked for at each scrape; those that do not answer are left out."""

    def __init__(self, workers: Sequence[Worker]) -> None:
        super().__init__()
        self._workers = workers
        self._pool = ThreadPoolExecutor(len(workers), "scrape")

    def text(self, form: Format = "text", by: str = "") -> bytes:
        """The exposition text."""
        texts = zip(self._workers, self._pool.map(lambda worker: worker.text(form), self._workers), strict=True)
        return merged({worker.name: text for worker, text in texts if text is not None})

    def gzipped(self, form: Format = "text", by: str = "") -> bytes:
        """The exposition text, compressed."""
        return gzip.compress(self.text(form), 1, mtime=0)


def run_workers(config: PipelineConfig, file: Path | None) -> int:
    """Run `config.workers` pipelines until told to stop. 0, 1 where a worker did not end well, 2 where one finds its
    settings wrong. Raises ConfigError where there is nothing to share."""
    from collector.webguard import WebGuard

    from ..outputs.prometheus import PrometheusServer

    if not config.bus.startswith("kafka://"):
        raise ConfigError(f"pipeline.workers: {config.workers} of them cannot share {config.bus}; kafka:// is wanted")
    cores = os.cpu_count() or 1
    os.environ.setdefault("POLARS_MAX_THREADS", str(max(1, cores // config.workers)))
    workers = [Worker(str(i), of, file) for i, of in enumerate(shares_of(config))]
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    guard = WebGuard(config.web_config) if config.web_config else None

    def are_ready() -> bool:
        return all(worker.is_ready() for worker in workers)

    with PrometheusServer(config.listen_address, WorkersPublication(workers), are_ready, guard=guard) as server:
        log.info("serving /metrics of %d workers on %s:%d", len(workers), *server.address)
        wrong = False
        while not stop.is_set() and not wrong:
            codes = [worker.tend(time.monotonic()) for worker in workers]
            wrong = 2 in codes  # settings, which no start mends
            running = [worker.process.sentinel for worker in workers if worker.process is not None]
            pipes.wait(running, 0.2)
        for worker in workers:
            if worker.process is not None:
                worker.process.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        ended = [worker.stop(deadline) for worker in workers]
    return 2 if wrong else int(any(ended))


def shares_of(config: PipelineConfig) -> list[PipelineConfig]:
    """The settings of each worker: its own share of what is this pipeline's, and an address for its parent alone."""
    share = parse_share(config.partitions, os.environ) or Share(0, 1)
    return [
        dataclasses.replace(
            config,
            partitions=str(share.divided(worker, config.workers)),
            workers=1,
            listen="127.0.0.1:0",
            web_config=None,
            live="off",
        )
        for worker in range(config.workers)
    ]


def _work(config: PipelineConfig, file: Path | None, level: int, pipe: Connection) -> None:
    """A worker's process: a pipeline that tells its port, and ends with its parent."""
    from .logs import start_log
    from .serve import serve

    start_log(logging.getLevelName(level).lower())
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
