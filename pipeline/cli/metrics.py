"""`flowatlas metrics`: how many series there would be."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Final

from . import Subparsers
from .arguments import add_lake, add_output, add_since, add_until
from .progress import progress

_LIMITS: Final = ("series_max", "series_max_per_family", "series_idle_s", "series_namespace_share")


def add(commands: Subparsers) -> None:
    """Add the sub-command."""
    command = commands.add_parser(
        "metrics",
        help="how many series recorded flows would make",
        description="What the metrics cost Prometheus: the series that the flows of a history would make, by metric, "
        "family or namespace, and what a pipeline with these settings would fold of them into `other`.",
        epilog="example: flowatlas metrics forecast --lake lake --since 24h --series-max-per-family 20000",
    )
    command.add_argument("action", choices=("forecast",))
    add_lake(command, required=True)
    add_since(command)
    add_until(command)
    command.add_argument(
        "--by",
        choices=("metric", "family", "namespace"),
        default="metric",
        help="a row for each (default: %(default)s)",
    )
    command.add_argument(
        "--config", type=Path, metavar="FILE", help="YAML file with the `pipeline:` section whose limits count"
    )
    command.add_argument("--series-max", metavar="N", help="as the pipeline's setting of this name")
    command.add_argument("--series-max-per-family", metavar="N", help="the same")
    command.add_argument(
        "--series-idle-s",
        metavar="SECONDS",
        help="the same, by the record's own clock: series are taken to grow from their first flow to their last; 0: "
        "none goes for being idle",
    )
    command.add_argument("--series-namespace-share", metavar="SHARE", help="the same; 1: there are no quotas")
    add_output(command)
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Exit 0 with the forecast, all series together on standard error."""
    from ..aggregate.budget import limit_of
    from ..aggregate.series import SeriesBudget
    from ..config import PipelineConfig
    from ..forecast import forecast
    from ..query import scan_flows
    from . import output, settings

    flags = {name: getattr(arguments, name) for name in _LIMITS}
    unused = {"bus": "file:///unused", "state": "unused"}  # what a pipeline cannot do without
    config = settings.load(
        "pipeline", PipelineConfig, file=arguments.config, environ=os.environ, flags={**unused, **flags}
    )
    limit = limit_of(config.series_max_per_family, config.series_fold)
    budget = SeriesBudget(config.series_max, limit, config.series_idle_s, config.series_namespace_share)
    with progress("counting series"):
        found = forecast(scan_flows(arguments.lake, since=arguments.since, until=arguments.until), budget)
    tables = {"metric": found.by_metric, "family": found.by_family, "namespace": found.by_namespace}
    output.write(tables[arguments.by], arguments.output)
    series, folded = found.by_metric["series"].sum(), found.by_family["beyond"].sum()
    told = f"; {folded:,} label sets would be folded" if folded else ""
    print(f"flowatlas: {series:,} series of metrics that flows tell of{told}", file=sys.stderr)
    return 0
