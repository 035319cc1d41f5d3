"""`flowatlas top`: who moves the most right now, or in a part of the history."""

from __future__ import annotations

import argparse
import sys
import time
from collections import deque
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from ..errors import ConfigError
from ..talker_keys import KEYS, SORTS
from . import Subparsers, flow_conditions
from .absence import tell_absence
from .arguments import add_lake, add_server, add_since, add_until, count
from .following import follow
from .progress import progress

if TYPE_CHECKING:
    import polars as pl

_LAKE_SPAN: Final = timedelta(hours=1)


def add(commands: Subparsers) -> None:
    """Add the sub-command."""
    command = commands.add_parser(
        "top",
        help="who moves the most, right now or in the history",
        description="Talkers by bytes, packets, connections or failures, over the last seconds of a running pipeline, "
        "drawn anew as flows come; or, with --lake, over a part of the history, once. On a terminal: q quits, k "
        "changes what is compared, s what it is sorted by, r turns the order of k and s round.",
        epilog="examples: flowatlas top --by service; "
        "flowatlas top --lake lake --since 1h --by pair --sort failed -n shop",
    )
    where = command.add_argument_group("where from").add_mutually_exclusive_group()
    add_server(where)
    add_lake(where)
    add_since(command, "its last hour, or the one before --until")
    add_until(command)
    command.add_argument(
        "--by", choices=tuple(KEYS), default="pair", metavar="KEY", help=f"{', '.join(KEYS)} (default: %(default)s)"
    )
    command.add_argument(
        "--sort", choices=SORTS, default="bytes", metavar="COLUMN", help=f"{', '.join(SORTS)} (default: %(default)s)"
    )
    command.add_argument("--window", type=float, default=10.0, metavar="SECONDS", help="default: %(default)g")
    command.add_argument("--rows", type=count, default=20, metavar="N", help="default: %(default)d, or what fits")
    command.add_argument(
        "-o",
        "--output",
        choices=("table", "json", "jsonl", "csv"),
        metavar="FORMAT",
        help="once, after one window: table, json, jsonl or csv (default when piped: jsonl)",
    )
    flow_conditions.add_arguments(command)
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Show the talkers."""
    flow_conditions.check(arguments)
    if not 1.0 <= arguments.window <= 3600.0:
        raise ConfigError(f"--window: {arguments.window:g} is not within 1 and 3600 seconds")
    if arguments.lake is not None:
        return _of_history(arguments)
    if arguments.since is not None or arguments.until is not None:
        raise ConfigError("--since, --until: of --lake only; a pipeline tells what comes")
    if arguments.output is None and sys.stdout.isatty() and sys.stdin.isatty():
        from .top_screen import show

        show(arguments)
        return 0
    _once(arguments, _heard(arguments))
    return 0


def _once(arguments: argparse.Namespace, rows: pl.LazyFrame) -> pl.DataFrame:
    from ..talkers import talkers
    from . import output

    with progress("adding up flows"):
        found = talkers(rows, arguments.by, arguments.sort).head(arguments.rows)
    output.write(found, arguments.output)
    return found


def _of_history(arguments: argparse.Namespace) -> int:
    from ..flowfilter import matching
    from ..query import newest_time, scan_flows

    since, until = arguments.since, arguments.until
    with progress("reading the history"):
        if since is None:
            now = datetime.now(UTC)
            since = (newest_time(arguments.lake, now, until=until) or until or now) - _LAKE_SPAN
        rows = scan_flows(arguments.lake, since, until).filter(matching(arguments.conditions))
    if _once(arguments, rows).is_empty():
        tell_absence("top", arguments.lake, since, until, arguments.conditions)
    return 0


def _heard(arguments: argparse.Namespace) -> pl.LazyFrame:
    """What a pipeline tells within one window."""
    import polars as pl

    window = Window(arguments.window)
    deadline = time.monotonic() + arguments.window
    for rows in follow(arguments.server, arguments.conditions):
        window.add(rows, time.monotonic())
        if time.monotonic() >= deadline:
            break
    return pl.concat(window.frames).lazy()


class Window:
    """The rows that came within the last `seconds`."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._parts: deque[tuple[float, pl.DataFrame]] = deque()

    def add(self, rows: pl.DataFrame, now_s: float) -> None:
        """Take rows in, and let go of what is too old by now."""
        self._parts.append((now_s, rows))
        while self._parts and self._parts[0][0] < now_s - self.seconds:
            self._parts.popleft()

    @property
    def frames(self) -> list[pl.DataFrame]:
        """What is within the window; never empty once something was added."""
        return [rows for _, rows in self._parts]
