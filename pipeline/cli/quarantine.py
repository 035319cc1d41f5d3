"""`flowatlas quarantine`: what pipelines have set aside unread, and back to its topic with what can be read by now.

The invariant: nothing is sent that this version could not read, and nothing of the cluster's state, of which an old
batch would take the place of a newer one.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ..errors import ConfigError, TransientError
from . import Subparsers
from .arguments import add_output, add_since, add_until
from .kafka_access import kafka_options
from .terminal import counted

if TYPE_CHECKING:
    from ..bus.aside import Aside, Quarantine

SENT_BYTES: Final = 16 * 1024 * 1024
"""What is sent back before it is waited for, and noted."""
CAN_BE_READ: Final = ""
UNVOUCHED: Final = ("unsigned", "forged")


def add(commands: Subparsers) -> None:
    """Add the sub-command."""
    command = commands.add_parser(
        "quarantine",
        help="list batches that were set aside unread, and send back those that can be read by now",
        description="Pipelines set aside what they cannot read: a batch of a version that they do not know yet is "
        "whole there. `list` shows what lies there by reason, node, table and version; `replay` sends to its topic "
        "again what this version can read, each batch once, and says why it leaves the others.",
        epilog="example: flowatlas quarantine replay --bus kafka://kafka:9092 --reason schema_version",
    )
    command.add_argument("action", choices=("list", "replay"))
    command.add_argument(
        "--bus",
        metavar="URL",
        help="kafka://HOST:PORT[,HOST:PORT] or file://DIR (default: $FLOWATLAS_PIPELINE_BUS)",
    )
    command.add_argument("--config", type=Path, metavar="FILE", help="YAML file with a `kafka:` section")
    command.add_argument("--reason", metavar="WORD", help="only what was set aside for this reason")
    command.add_argument("--node", metavar="NAME", help="only what this node has shipped")
    add_since(command, of="only what was set aside since then: ")
    add_until(command, "only what was set aside before then")
    add_output(command)
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """List or send back. Exit 0 where the bus answers."""
    from ..bus.aside import open_quarantine

    bus = arguments.bus or os.environ.get("FLOWATLAS_PIPELINE_BUS", "")
    quarantine = open_quarantine(bus, kafka_options(bus, arguments.config))
    try:
        if arguments.action == "list":
            _list(quarantine, arguments)
        else:
            _replay(quarantine, arguments)
    except TransientError as error:
        raise ConfigError(str(error)) from error
    finally:
        quarantine.close()
    return 0


def _wanted(quarantine: Quarantine, arguments: argparse.Namespace) -> Iterator[Aside]:
    since, until = ((at.timestamp() * 1e9 if at else None) for at in (arguments.since, arguments.until))
    for aside in quarantine.read():
        if (
            (arguments.reason is None or aside.reason == arguments.reason)
            and (arguments.node is None or _node(aside) == arguments.node)
            and (since is None or aside.at_ns >= since)
            and (until is None or aside.at_ns < until)
        ):
            yield aside


def _node(aside: Aside) -> str:
    """Whose batch it claims to be."""
    return aside.message.key.partition(b"/")[0].decode("ascii", "replace")


def _list(quarantine: Quarantine, arguments: argparse.Namespace) -> None:
    import polars as pl

    from .output import write

    schema = {
        "reason": pl.String,
        "node": pl.String,
        "topic": pl.String,
        "version": pl.String,
        "bytes": pl.Int64,
        "at": pl.Int64,
        "can_be_sent": pl.Boolean,
    }
    rows = [
        (
            aside.reason,
            _node(aside),
            aside.message.topic,
            aside.message.headers.get("schema", b"").decode("ascii", "replace"),
            len(aside.message.value),
            aside.at_ns,
            why_not(aside, arguments.reason) == CAN_BE_READ,
        )
        for aside in _wanted(quarantine, arguments)
    ]
    time = pl.col("at").cast(pl.Datetime("ns", "UTC"))
    found = (
        pl.DataFrame(rows, schema, orient="row")
        .group_by("reason", "node", "topic", "version")
        .agg(
            pl.len().cast(pl.Int64).alias("batches"),
            pl.col("bytes").sum(),
            time.min().alias("first"),
            time.max().alias("last"),
            pl.col("can_be_sent").sum().cast(pl.Int64),
        )
        .sort("reason", "node", "topic", "version")
    )
    if found.is_empty():
        print("flowatlas quarantine: nothing that was asked for lies there", file=sys.stderr)
    write(found, arguments.output)


def _replay(quarantine: Quarantine, arguments: argparse.Namespace) -> None:
    left: Counter[str] = Counter()
    waiting: list[Aside] = []
    sent = size = 0
    for aside in _wanted(quarantine, arguments):
        if why := why_not(aside, arguments.reason):
            left[why] += 1
            continue
        waiting.append(aside)
        size += len(aside.message.value)
        if size >= SENT_BYTES:
            quarantine.send_back(waiting)
            sent, waiting, size = sent + len(waiting), [], 0
    if waiting:
        quarantine.send_back(waiting)
    print(f"in their topics again: {counted(sent + len(waiting), 'batch', 'batches')}")
    for why, count in sorted(left.items()):
        print(f"left: {counted(count, 'batch', 'batches')}, {why}")


def why_not(aside: Aside, asked_for: str | None = None) -> str:
    """Why a batch cannot be sent back; CAN_BE_READ where it can. One of a node that is not known to be it is sent where
    that was asked for alone."""
    from collector.schema import STATE, TABLES, BatchError

    from ..decode import decode

    if not aside.is_whole:
        return "not all of it was kept"
    if aside.message.topic == STATE.topic:
        return "the cluster's state is told anew by the watcher"
    if aside.reason in UNVOUCHED and aside.reason != asked_for:
        return f"{aside.reason}: sent with --reason {aside.reason} alone"
    try:
        decode(aside.message, TABLES)
    except BatchError as error:
        return error.reason
    return CAN_BE_READ
