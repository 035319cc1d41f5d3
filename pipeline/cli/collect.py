"""`flowatlas collect`: run the node collector."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from . import Subparsers, settings
from .kafka_access import kafka_options

if TYPE_CHECKING:
    from collector.config import CollectorConfig


def add(commands: Subparsers) -> None:
    """Add the sub-command."""
    command = commands.add_parser(
        "collect",
        help="run the collector on a node",
        description="Count this node's flows and read its interface counters, and ship both to the bus until stopped "
        "(SIGTERM ships what is left). Needs CAP_NET_ADMIN, for eBPF CAP_BPF and CAP_PERFMON too; any CNI.",
        epilog="example: flowatlas collect --node $(hostname) --bus file:///var/lib/flowatlas/bus",
    )
    command.add_argument("--config", type=Path, metavar="FILE", help="YAML file with a `collector:` section")
    command.add_argument("--node", metavar="NAME", help="the node's name in the cluster")
    command.add_argument("--bus", metavar="URL", help="kafka://HOST:PORT[,HOST:PORT] or file://DIR")
    sources = command.add_mutually_exclusive_group()
    sources.add_argument(
        "--source",
        choices=("auto", "ebpf", "conntrack", "packets"),
        help="where flows come from, with counters, drops and DNS too (default: auto, the best that works here)",
    )
    sources.add_argument("--sources", metavar="LIST", help="comma-separated: one of these, counters, drops, dns")
    command.add_argument(
        "--spool", metavar="DIR", help="kafka://: keep batches there until the broker has them (default: in memory)"
    )
    command.add_argument("--interval", metavar="SECONDS", help="time between two reads (default: 1)")
    command.add_argument("--metrics", metavar="HOST:PORT", help="serve the collector's metrics there (default: off)")
    command.add_argument("--web-config", metavar="FILE", help="TLS and passwords of --metrics (default: neither)")
    command.add_argument("--netns", metavar="PATH", help="read this network namespace instead of the process's own")
    command.add_argument("--proc", metavar="DIR", help="the /proc of the node (default: /proc)")
    command.set_defaults(run=run)


def configuration(arguments: argparse.Namespace) -> CollectorConfig:
    """The collector's settings from all layers."""
    from collector.config import CollectorConfig

    return settings.load(
        "collector",
        CollectorConfig,
        file=arguments.config,
        environ=os.environ,
        flags={
            "node": arguments.node,
            "bus": arguments.bus,
            "sources": f"{arguments.source},counters,drops,dns" if arguments.source else arguments.sources,
            "spool": arguments.spool,
            "interval_s": arguments.interval,
            "metrics_address": arguments.metrics,
            "web_config": arguments.web_config,
            "netns": arguments.netns,
            "proc": arguments.proc,
        },
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the collector until it is told to stop."""
    from collector import agent

    config = configuration(arguments)
    return agent.run(config, kafka_options(config.bus, arguments.config))
