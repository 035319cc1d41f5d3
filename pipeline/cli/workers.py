"""`flowatlas pipeline --workers N`: as many pipelines as processes, each with its own share of Kafka's partitions.

The parent reads no bus. It starts the workers, replaces those that end by themselves or are stuck, and serves one
/metrics of them all. The invariant: no worker outlives its parent, and the parent ends when all workers have.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import signal
import threading
import time
from multiprocessing import connection as pipes
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ..bus.share import Share, parse_share
from ..errors import ConfigError
from .worker import LOOK_SECONDS, Worker
from .workers_page import WorkersPublication

if TYPE_CHECKING:
    from ..config import PipelineConfig

log = logging.getLogger(__name__)

STOP_SECONDS: Final = 28.0
"""How long workers may take to end; they drain for 20 s, and Kubernetes kills after 30."""


def run_workers(config: PipelineConfig, file: Path | None) -> int:
    """Run `config.workers` pipelines until told to stop. 0, 1 where a worker did not end well, 2 where one finds its
    settings wrong. Raises ConfigError where there is nothing to share."""
    import polars as pl

    from collector.webguard import WebGuard

    from ..outputs.prometheus import PrometheusServer

    if not config.bus.startswith("kafka://"):
        raise ConfigError(f"pipeline.workers: {config.workers} of them cannot share {config.bus}; kafka:// is wanted")
    cores = pl.thread_pool_size()  # that this process may use, by its affinity and its control group
    os.environ.setdefault("POLARS_MAX_THREADS", str(max(1, cores // config.workers)))
    workers = [Worker(str(i), of, file) for i, of in enumerate(shares_of(config))]
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    guard = WebGuard(config.web_config) if config.web_config else None

    def watch(worker: Worker) -> None:
        while not stop.wait(LOOK_SECONDS):
            worker.look()

    for worker in workers:
        threading.Thread(target=watch, args=(worker,), name=f"health-{worker.name}", daemon=True).start()

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
        stop.set()
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
