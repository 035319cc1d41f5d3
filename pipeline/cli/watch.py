"""`flowatlas watch`: run the watcher of the cluster, or write down once what there is."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from . import Subparsers, settings
from .kafka_access import kafka_options

if TYPE_CHECKING:
    from httpx2 import AsyncClient

    from collector.metrics import Metrics
    from collector.progress import Progress
    from collector.schema import Batch
    from collector.sinks import Sink

    from ..inventory.watch.api import Api
    from ..inventory.watch.config import WatcherConfig

log = logging.getLogger(__name__)

DUMP_NAME: Final = "state.jsonl"
_PREFIX: Final = "flowatlas_watcher_"
_TURN_S: Final = 1.0


def add(commands: Subparsers) -> None:
    """Add the sub-command."""
    command = commands.add_parser(
        "watch",
        help="watch the cluster's objects and ship their changes",
        description="List and watch the API server's objects that attribution reads, and ship every change to the bus "
        "until stopped. One watcher a cluster is enough, for any number of pipelines. With --once, write the objects "
        "as JSON Lines instead, fit for --state, and end.",
        epilog="example: flowatlas watch --once -o state.jsonl",
    )
    command.add_argument("--config", type=Path, metavar="FILE", help="YAML file with a `watcher:` section")
    command.add_argument("--bus", metavar="URL", help="kafka://HOST:PORT[,HOST:PORT] or file://DIR")
    command.add_argument("--node", metavar="NAME", help="the watcher's name on the bus (default: cluster-watcher)")
    command.add_argument(
        "--kubeconfig",
        metavar="FILE",
        help="how to reach the cluster (default: the pod's own account, else $KUBECONFIG or ~/.kube/config)",
    )
    command.add_argument("--context", metavar="NAME", help="the kubeconfig's context (default: its current one)")
    command.add_argument("--metrics", metavar="HOST:PORT", help="serve the watcher's metrics there (default: off)")
    command.add_argument("--web-config", metavar="FILE", help="TLS and passwords of --metrics (default: neither)")
    command.add_argument("--once", action="store_true", help="write what there is and end")
    command.add_argument(
        "-o", "--output", metavar="PATH", help=f"of --once: a file, a folder for {DUMP_NAME}, or - (default: -)"
    )
    command.set_defaults(run=run)


def configuration(arguments: argparse.Namespace) -> WatcherConfig:
    """The watcher's settings from all layers."""
    from ..inventory.watch.config import WatcherConfig

    return settings.load(
        "watcher",
        WatcherConfig,
        file=arguments.config,
        environ=os.environ,
        flags={
            "bus": "file://nowhere" if arguments.once else arguments.bus,  # a dump ships nothing
            "node": arguments.node,
            "kubeconfig": arguments.kubeconfig,
            "context": arguments.context,
            "metrics_address": arguments.metrics,
            "web_config": arguments.web_config,
        },
    )


def run(arguments: argparse.Namespace) -> int:
    """Watch until told to stop, or once."""
    config = configuration(arguments)
    if arguments.once:
        return asyncio.run(_dump(config, arguments.output or "-"))
    return asyncio.run(_watch(config, kafka_options(config.bus, arguments.config)))


async def _watch(config: WatcherConfig, options: Mapping[str, Any]) -> int:
    from collector.metrics import Family, Metrics, MetricsServer

    from ..catalog import METRICS
    from ..inventory.watch.watcher import Watcher

    families = [
        Family(metric.name.removeprefix(_PREFIX), metric.kind, metric.labels, metric.help)
        for metric in METRICS
        if metric.exposer == "watcher"
    ]
    metrics = Metrics(families, _PREFIX)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    logging.getLogger("httpx2").setLevel(logging.WARNING)  # it tells every request
    sink = open_sink(config, metrics, options)
    with contextlib.ExitStack() as stack:
        if config.metrics_address is not None:
            server = stack.enter_context(MetricsServer(metrics, config.metrics_address, config.web_config))
            log.info("metrics on port %d", server.port)
        stack.callback(sink.stop)
        turning = asyncio.create_task(_turn(metrics.progress))
        stack.callback(turning.cancel)
        if await _connected(sink, stop):
            metrics.progress.ready()
            outlet = Outlet(sink, metrics)
            await Watcher(config, _api(config), outlet, metrics, newest_epoch=newest_epoch(sink)).run(stop)
    return 0


async def _turn(progress: Progress) -> None:
    """Tell that the event loop turns: what stops it stops everything here."""
    while True:
        progress.turn()
        await asyncio.sleep(_TURN_S)


async def _dump(config: WatcherConfig, output: str) -> int:
    from ..inventory.watch.dump import dump

    logging.getLogger("httpx2").setLevel(logging.WARNING)
    text = await dump(_api(config))
    if output == "-":
        sys.stdout.buffer.write(text)
        return 0
    path = Path(output)
    if output.endswith("/") or path.is_dir():
        path.mkdir(parents=True, exist_ok=True)
        path /= DUMP_NAME
    path.write_bytes(text)
    return 0


class Outlet:
    """A sink of the collector's, and its count of what was lost."""

    def __init__(self, sink: Sink, metrics: Metrics) -> None:
        self._sink = sink
        self._metrics = metrics

    def send(self, batch: Batch) -> None:
        """Hand one batch over."""
        self._sink.send(batch)

    def flush(self, timeout_s: float) -> bool:
        """Wait until everything handed over has arrived or is lost."""
        return self._sink.flush(timeout_s)

    def lost(self) -> int:
        """How many rows were lost so far."""
        reasons = ("bus_full", "bus_error", "too_large")
        return int(sum(self._metrics.value("lost_rows_total", table="state", reason=reason) for reason in reasons))


def open_sink(config: WatcherConfig, metrics: Metrics, options: Mapping[str, Any] | None = None) -> Sink:
    """The sink of the state table that the bus's address asks for, inert."""
    from collector.schema import STATE

    if config.bus.startswith("file://"):
        from collector.sinks.files import FileSink

        return FileSink(config.bus, config.node, metrics, 0, [STATE])
    from collector.sinks.kafka import KafkaSink

    return KafkaSink(config.bus, metrics, config.in_flight_bytes, options=options)


def newest_epoch(sink: Sink) -> int:
    """The newest epoch that a started sink's folder holds; 0 of Kafka, which keeps the order itself."""
    from collector.schema import STATE
    from collector.sinks.files import FileSink

    return sink.newest_epoch(STATE) if isinstance(sink, FileSink) else 0


async def _connected(sink: Sink, stop: asyncio.Event) -> bool:
    """Start the sink, however long the bus takes to answer; False where `stop` came first."""
    from collector.errors import TransientError

    from ..inventory.watch.backoff import Backoff

    backoff = Backoff(longest_s=5.0)
    while not stop.is_set():
        try:
            await asyncio.to_thread(sink.start)
        except TransientError as error:
            wait_s = backoff.wait_s()
            log.warning("%s; trying again in %.1f s", error, wait_s)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), wait_s)
        else:
            return True
    return False


def _api(config: WatcherConfig) -> Api:
    """The cluster's API server; kubeconfig and certificates are read anew for each connection."""
    from ..inventory.watch import connection
    from ..inventory.watch.api import Api

    place = connection.Place(config.kubeconfig, config.context)
    connection.find(place, os.environ)

    async def connect() -> AsyncClient:
        return await connection.connect(connection.find(place, os.environ))

    return Api(connect)
