"""`flowatlas pipeline`: run the aggregation stage."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from . import Subparsers, settings

if TYPE_CHECKING:
    from ..config import PipelineConfig


def add(commands: Subparsers) -> None:
    """Add the sub-command."""
    command = commands.add_parser(
        "pipeline",
        help="attribute and aggregate what the collectors ship, and serve /metrics",
        description="Read the bus, attribute every flow to workloads and Services, count each connection once, and "
        "serve Prometheus metrics until stopped (SIGTERM applies what the bus holds first).",
        epilog="example: kubectl get ns,nodes,pods,svc,endpointslices,rs,deploy,jobs -A -o yaml > state.yaml && "
        "flowatlas pipeline --bus file:///var/lib/flowatlas/bus --state state.yaml",
    )
    command.add_argument("--config", type=Path, metavar="FILE", help="YAML file with a `pipeline:` section")
    command.add_argument("--bus", metavar="URL", help="kafka://HOST:PORT[,HOST:PORT] or file://DIR")
    command.add_argument(
        "--state",
        metavar="PATH",
        help="the cluster's objects: a folder of manifests, a `kubectl get -o yaml` file, or `bus`: what "
        "`flowatlas watch` tells there",
    )
    command.add_argument("--listen", metavar="HOST:PORT", help="where to serve (default: 127.0.0.1:9464)")
    command.add_argument("--lake", metavar="DIR", help="write the attributed flows there as Parquet (default: off)")
    command.add_argument("--geo", metavar="FILE[,FILE]", help="MaxMind databases of the outside (default: none)")
    command.add_argument("--group", metavar="NAME", help="consumer group (default: flowatlas)")
    command.set_defaults(run=run)


def configuration(arguments: argparse.Namespace) -> PipelineConfig:
    """The pipeline's settings from all layers."""
    from ..config import PipelineConfig

    names = ("bus", "state", "listen", "lake", "geo", "group")
    return settings.load(
        "pipeline",
        PipelineConfig,
        file=arguments.config,
        environ=os.environ,
        flags={name: getattr(arguments, name) for name in names},
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the pipeline until it is told to stop."""
    config = configuration(arguments)
    from .. import engine

    return engine.run(config)
