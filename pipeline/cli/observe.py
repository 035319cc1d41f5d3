"""`flowatlas observe`: single flows, live, from the history, or from a file, picked by the words that people use."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ..errors import ConfigError
from . import Subparsers, flow_conditions, record
from .absence import tell_absence
from .arguments import add_lake, add_output, add_server, add_since, add_until, count
from .cluster_state import objects_in
from .following import follow
from .progress import progress

if TYPE_CHECKING:
    import polars as pl

LAST: Final = 20
"""Flows shown of a record, where nothing says how many."""


def add(commands: Subparsers) -> None:
    """Add the sub-command."""
    command = commands.add_parser(
        "observe",
        help="show single flows: live, from the history, or from a file",
        description="Show flows with both ends, the Service, the verdict of policies and how each went. Without --lake "
        "or --flows it asks a running pipeline and shows flows as they come. A flow is one observation of a "
        f"connection; one that lives long is told again as it goes on. Of a record the last {LAST} are shown, or all "
        "from --since on.",
        epilog="examples: flowatlas observe -f --to-service shop/backend --verdict denied; "
        "flowatlas observe --lake lake --since 10m --from-pod shop/frontend --not --protocol udp -o jsonl; "
        "flowatlas observe --flows capture.pcap --state state.yaml --port 443",
    )
    where = command.add_argument_group("where from").add_mutually_exclusive_group()
    add_server(where)
    add_lake(where)
    where.add_argument(
        "--flows", type=Path, metavar="FILE", help="JSON Lines, .parquet of flows or of the history, or a capture"
    )
    command.add_argument("--state", type=Path, metavar="PATH", help="the cluster's objects, for --flows")
    command.add_argument("-f", "--follow", action="store_true", help="go on as flows come; without it until --last")
    how_many = command.add_mutually_exclusive_group()
    how_many.add_argument("--last", type=count, metavar="N", help="the newest N")
    how_many.add_argument("--first", type=count, metavar="N", help="the oldest N")
    add_since(command)
    add_until(command)
    command.add_argument(
        "--all", action="store_true", help="what other nodes and tunnels saw of the same connections too"
    )
    add_output(command)
    flow_conditions.add_arguments(command)
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Show the flows."""
    flow_conditions.check(arguments)
    if arguments.lake is None and arguments.flows is None:
        return _live(arguments)
    if arguments.follow:
        raise ConfigError("--follow: a record does not go on; leave --lake and --flows out to ask a pipeline")
    from .flow_lines import write

    rows, is_sound = _recorded(arguments)
    write(rows, arguments.output)
    if rows.is_empty() and arguments.lake is not None:
        tell_absence("observe", arguments.lake, arguments.since, arguments.until, arguments.conditions)
    return 0 if is_sound else 1


def _live(arguments: argparse.Namespace) -> int:
    """As they come: until the user stops, or, without --follow, until there are as many as were asked for."""
    from .flow_lines import FlowLines

    if any(getattr(arguments, name) is not None for name in ("since", "until", "first", "state")):
        raise ConfigError("--since, --until, --first, --state: of --lake or --flows only; a pipeline tells what comes")
    if arguments.output == "json":
        raise ConfigError("--output: flows that go on are no JSON document; use jsonl")
    wanted = None if arguments.follow else arguments.last or LAST
    lines = FlowLines(sys.stdout, arguments.output)
    for rows in _counted(follow(arguments.server, arguments.conditions), all_roles=arguments.all):
        part = rows if wanted is None else rows.head(wanted)
        lines.write(part)
        if wanted is not None and (wanted := wanted - part.height) <= 0:
            break
    return 0


def _counted(frames: Iterator[pl.DataFrame], *, all_roles: bool) -> Iterator[pl.DataFrame]:
    for rows in frames:
        yield rows if all_roles else rows.filter(role="canonical")


def _recorded(arguments: argparse.Namespace) -> tuple[pl.DataFrame, bool]:
    """The rows asked for, oldest first, and whether everything could be read."""
    import polars as pl

    from ..flowfilter import matching
    from ..query import first_flows, last_flows, scan_flows

    wanted = matching(arguments.conditions)
    if not arguments.all:
        wanted &= pl.col("role") == "canonical"
    last = arguments.last
    if last is None and arguments.first is None and arguments.since is None and arguments.until is None:
        last = LAST
    if arguments.lake is not None:
        span = (arguments.since, arguments.until)
        if arguments.first is not None:
            with progress("reading the history"):
                return first_flows(arguments.lake, arguments.first, wanted, *span), True
        if last is not None:
            with progress("reading the history"):
                return last_flows(arguments.lake, last, wanted, *span), True
        found, is_sound = scan_flows(arguments.lake, *span), True
    else:
        if arguments.since is not None or arguments.until is not None:
            raise ConfigError("--since, --until: of a lake only; a file is read as a whole")
        found, is_sound = _of_file(arguments)
    with progress("reading flows"):
        rows = found.filter(wanted).collect().sort("time", maintain_order=True)
    if arguments.first is not None:
        rows = rows.head(arguments.first)
    return (rows if last is None else rows.tail(last)), is_sound


def _of_file(arguments: argparse.Namespace) -> tuple[pl.LazyFrame, bool]:
    """The rows of a file, judged under the objects that go with it."""
    from ..attribution import offline
    from ..attribution.policies import compile_policies
    from ..inventory import snapshot
    from ..outputs.history import HISTORY, filled
    from ..policy.files import history_like

    if (whole := record.history_file(arguments.flows)) is not None:
        return whole, True
    if arguments.state is None:
        raise ConfigError("--state: the cluster's objects are wanted with a file that is not of the history")
    objects, refusals = objects_in(arguments.state)
    rows, problems = record.connections(arguments.flows)
    for problem in (*refusals, *problems):
        print(f"flowatlas observe: {problem}", file=sys.stderr)
    cluster = snapshot.build(objects)
    judged = offline.attribute_rows(rows, cluster, compile_policies(objects, cluster))
    return filled(history_like(judged).match_to_schema(HISTORY, missing_columns="insert")), not refusals
