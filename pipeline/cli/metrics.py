"""`flowatlas metrics`: how many series there would be."""

from __future__ import annotations

import argparse
import sys

from . import Subparsers
from .arguments import add_lake, add_output, add_since, add_until
from .progress import progress


def add(commands: Subparsers) -> None:
    """Add the sub-command."""
    command = commands.add_parser(
        "metrics",
        help="how many series recorded flows would make",
        description="What the metrics cost Prometheus: the series that the flows of a history would make, by metric, "
        "and what a limit would fold into `other`.",
        epilog="example: flowatlas metrics forecast --lake lake --since 24h --series-max-per-family 20000",
    )
    command.add_argument("action", choices=("forecast",))
    add_lake(command, required=True)
    add_since(command)
    add_until(command)
    command.add_argument(
        "--series-max-per-family", type=int, metavar="N", help="what such a limit would fold (pipeline's setting)"
    )
    add_output(command)
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Exit 0 with the forecast, all series together on standard error."""
    from ..aggregate.budget import Limit
    from ..errors import ConfigError
    from ..forecast import forecast
    from ..query import scan_flows
    from . import output

    most = arguments.series_max_per_family
    if most is not None and most < 1:
        raise ConfigError("--series-max-per-family: a number above 0 is wanted")
    limit = Limit(most) if most is not None else None
    with progress("counting series"):
        rows = forecast(scan_flows(arguments.lake, since=arguments.since, until=arguments.until), limit)
    output.write(rows, arguments.output)
    print(f"flowatlas: {rows['series'].sum():,} series of metrics that flows tell of", file=sys.stderr)
    return 0
