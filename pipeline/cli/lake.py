"""`flowatlas lake`: the care of the history's tables, and what they hold."""

from __future__ import annotations

import argparse
import logging
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from . import Subparsers
from .arguments import add_lake, add_output
from .terminal import counted

if TYPE_CHECKING:
    from ..lake.maintenance import Care
    from ..lake.store import Store

log = logging.getLogger(__name__)

_DAY_S: Final = 86_400.0


def add(commands: Subparsers) -> None:
    """Add the sub-command."""
    lake = commands.add_parser(
        "lake",
        help="care for the history's tables, and tell what they hold",
        description="The history is Delta tables below one root, a folder or a place in an object store.",
        epilog="examples: flowatlas lake info --lake /var/lib/flowatlas/lake; flowatlas lake maintain --help",
    )
    tasks = lake.add_subparsers(dest="task", metavar="TASK", required=True)
    maintain = tasks.add_parser(
        "maintain",
        help="roll up, merge small files, forget what is old, delete what no reader needs",
        description="Bring roll-ups and policy events up to date, merge small files into large sorted ones, take out "
        "rows that are older than is kept, and delete files that no reader can need any more. A pipeline does this by "
        "itself (pipeline.lake_maintain_s). It may be killed at any time, and done by several at once.",
        epilog="example: flowatlas lake maintain --lake /var/lib/flowatlas/lake --keep flows=7 --keep flows_1h=730",
    )
    add_lake(maintain, required=True)
    maintain.add_argument("--every", type=float, metavar="SECONDS", help="again and again (default: once)")
    maintain.add_argument(
        "--keep", action="append", default=[], metavar="TABLE=DAYS", help="how long rows of a table are kept"
    )
    maintain.add_argument(
        "--readers", type=int, metavar="HOURS", help="how long files stay for readers that have begun (default: 24)"
    )
    _add_options(maintain)
    maintain.set_defaults(run=run_maintain)
    info = tasks.add_parser(
        "info",
        help="rows, files, bytes and times by table, and files that are missing",
        description="What each table holds, as its log tells: no row is read. missing_files are those that the log "
        "names and that are not there, or not of the size that it says; where there are any, the exit code is 1.",
        epilog="example: flowatlas lake info --lake /var/lib/flowatlas/lake",
    )
    add_lake(info, required=True)
    _add_options(info)
    add_output(info)
    info.set_defaults(run=run_info)


def _add_options(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="of the object store, or KEY=@FILE; the environment (AWS_REGION, ...) counts too",
    )


def run_maintain(arguments: argparse.Namespace) -> int:
    """Care for the tables, once or until it is stopped."""
    from ..errors import ConfigError, TransientError
    from ..lake.maintenance import maintain
    from ..lake.settings import parse_keep
    from ..lake.store import MAX_READERS_HOURS, READERS_HOURS

    store, keep = _store(arguments), parse_keep(arguments.keep)
    hours = READERS_HOURS if arguments.readers is None else arguments.readers
    if not 1 <= hours <= MAX_READERS_HOURS:
        raise ConfigError(f"--readers: {hours} is not within 1 and {MAX_READERS_HOURS} hours")
    if arguments.every is not None and not 1.0 <= arguments.every <= _DAY_S:
        raise ConfigError(f"--every: {arguments.every:g} is not within 1 and {_DAY_S:g} seconds")
    while True:
        try:
            care = maintain(store, datetime.now(UTC), keep_days=keep, readers_hours=hours)
        except TransientError as error:
            log.warning("%s", error)
            if arguments.every is None:
                return 1
        else:
            log.info("lake: %s", _words(care))
            for problem in care.unreadable:
                log.warning("lake: %s", problem)
            if arguments.every is None:
                return 1 if care.unreadable else 0
        threading.Event().wait(arguments.every)


def _words(care: Care) -> str:
    """What a round did, in one line."""
    done = (("merged", care.merged_files), ("forgotten", care.forgotten_files), ("deleted", care.deleted_files))
    parts = [f"folded into roll-ups: {counted(care.folded_files, 'file')}"]
    for what, files in done:
        told = ", ".join(f"{count} of {table}" for table, count in files.items() if count)
        parts.append(f"{what}: {told or 'none'}")
    return "; ".join(parts)


def run_info(arguments: argparse.Namespace) -> int:
    """Tell what there is."""
    import sys

    from ..lake.summary import settles_of, summary_of
    from . import output

    store = _store(arguments)
    store.refuse_if_none()
    summary = summary_of(store)
    output.write(summary, arguments.output)
    for app, version in settles_of(store).items():
        print(f"{app} has written up to its settle {version}", file=sys.stderr)
    return 1 if summary["missing_files"].sum() else 0


def _store(arguments: argparse.Namespace) -> Store:
    from pathlib import Path

    from ..errors import ConfigError
    from ..lake.settings import parse_options
    from ..lake.store import Store, is_url

    root = str(arguments.lake)
    if not is_url(root) and not Path(root).is_dir():
        raise ConfigError(f"lake: {root} is no folder")
    return Store(root, parse_options(arguments.option))
