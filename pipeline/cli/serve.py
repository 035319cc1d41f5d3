"""`flowatlas pipeline`: run the aggregation stage."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import OustedError, PermanentError
from . import Subparsers, settings
from .allocators import GivingBack, give_back
from .cluster_state import DUMP
from .kafka_access import kafka_options

if TYPE_CHECKING:
    from ..config import PipelineConfig

log = logging.getLogger(__name__)


def add(commands: Subparsers) -> None:
    """Add the sub-command."""
    command = commands.add_parser(
        "pipeline",
        help="attribute and aggregate what the collectors ship, and serve /metrics",
        description="Read the bus, attribute every flow to workloads and Services, count each connection once, and "
        "serve Prometheus metrics until stopped (SIGTERM applies what the bus holds first).",
        epilog=f"example: {DUMP} && flowatlas pipeline --bus file:///var/lib/flowatlas/bus --state state.yaml",
    )
    command.add_argument("--config", type=Path, metavar="FILE", help="YAML file with a `pipeline:` section")
    command.add_argument("--bus", metavar="URL", help="kafka://HOST:PORT[,HOST:PORT] or file://DIR")
    command.add_argument(
        "--state",
        metavar="PATH",
        help="the cluster's objects: a folder of manifests or a `kubectl get -o yaml` file, which are read again when "
        "they change, or `bus`: what `flowatlas watch` tells there",
    )
    command.add_argument("--listen", metavar="HOST:PORT", help="where to serve (default: 127.0.0.1:9464)")
    command.add_argument("--web-config", metavar="FILE", help="TLS and passwords of --listen (default: neither)")
    command.add_argument("--lake", metavar="PLACE", help="write the history there, as Delta tables (default: off)")
    command.add_argument(
        "--snapshot", metavar="DIR", help="keep metrics there, so that a restart goes on exactly (default: off)"
    )
    command.add_argument("--geo", metavar="FILE[,FILE]", help="MaxMind databases of the outside (default: none)")
    command.add_argument("--group", metavar="NAME", help="consumer group (default: flowatlas)")
    command.add_argument("--workers", metavar="N", help="kafka://: processes that share the work (default: 1)")
    command.set_defaults(run=run)


def configuration(arguments: argparse.Namespace) -> PipelineConfig:
    """The pipeline's settings from all layers."""
    from ..config import PipelineConfig

    names = ("bus", "state", "listen", "web_config", "lake", "snapshot", "geo", "group", "workers")
    return settings.load(
        "pipeline",
        PipelineConfig,
        file=arguments.config,
        environ=os.environ,
        flags={name: getattr(arguments, name) for name in names},
    )


def run(arguments: argparse.Namespace) -> int:
    """Put the pipeline together and run it until it is told to stop. Raises ConfigError where it cannot start."""
    give_back(os.environ)
    config = configuration(arguments)
    if config.workers > 1:
        from .workers import run_workers

        return run_workers(config, arguments.config)
    return serve(config, arguments.config, threading.Event())


def serve(
    config: PipelineConfig, file: Path | None, stop: threading.Event, tell: Callable[[int], None] | None = None
) -> int:
    """Run one pipeline until `stop` is set or a signal comes; `tell` is told the port that it serves on.

    `file` has the `kafka:` settings. Raises ConfigError where it cannot start.
    """
    import polars as pl

    from collector.progress import Progress
    from collector.webguard import WebGuard

    from ..bus import GroupReader, open_reader
    from ..bus.share import parse_share
    from ..engine import TOPICS, Engine
    from ..geo import load_geo
    from ..lake.settings import parse_keep, parse_options
    from ..lake.upkeep import Turn, Upkeep
    from ..outputs.lake import Lake
    from ..outputs.live import PATH, LiveTail
    from ..outputs.prometheus import PrometheusServer
    from ..outputs.publication import Publication
    from ..prices import load_prices
    from ..snapshots.folder import SnapshotFolder, member_of
    from ..state import open_state

    pl.Config.set_engine_affinity("in-memory")  # a poll's rows are at hand: to pass them on in pieces costs a fifth
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    options = kafka_options(config.bus, file)
    share = parse_share(config.partitions, os.environ)
    publication = Publication()
    ordinal = share.ordinal if share is not None else 0
    care: AbstractContextManager[object] = nullcontext()
    if config.lake is not None:
        parse_keep(config.lake_keep)
        if config.lake_maintain_s:
            command = Upkeep.command_of(config.lake, config.lake_options, config.lake_keep, config.lake_readers_h)
            is_ours = Turn(config.lake, lambda: ordinal == 0 and engine.is_first)
            care = Upkeep(command, config.lake_maintain_s, is_ours)
    state = open_state(config, options)
    geo = load_geo(config.geo) if config.geo else None
    prices = load_prices(config.prices) if config.prices is not None else None
    live = LiveTail(to_all=config.live == "on") if config.is_live else None
    progress = Progress()

    def engine_of() -> Engine:
        """One that goes on from the last snapshot."""
        reader = open_reader(config.bus, config.group, TOPICS, options, share)
        folder, member = None, str(ordinal)
        if config.snapshot is not None:
            folder = SnapshotFolder(config.snapshot, config.group, ordinal)
            if isinstance(reader, GroupReader):
                member = member_of(config.snapshot, config.group)
        lake = None
        if config.lake is not None:
            app = f"{config.group}/{member}" if folder is not None else None
            lake = Lake(config.lake, app=app, options=parse_options(config.lake_options))
        turn = progress.turn
        return Engine(config, reader, state, publication, lake, prices, live, geo, folder, turn, member, share)

    engine = engine_of()
    more = {PATH: live.answer} if live is not None else {}
    guard = WebGuard(config.web_config) if config.web_config else None
    server = PrometheusServer(
        config.listen_address,
        publication,
        lambda: engine.ready.is_set(),
        more=more,
        guard=guard,
        is_alive=progress.is_going,
    )
    with server, care, GivingBack(lambda: engine.ready.is_set()):
        log.info("serving /metrics on %s:%d", *server.address)
        if tell is not None:
            tell(server.address[1])
        try:
            while True:
                try:
                    return engine.run(stop)
                except OustedError as error:
                    log.warning("%s; going on from the last snapshot", error)
                    engine = engine_of()
        except PermanentError as error:
            log.error("%s", error)  # noqa: TRY400 - what the bus said is enough, a traceback tells nothing more
            return 1
        finally:
            state.stop()
