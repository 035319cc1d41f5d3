"""What the sub-commands on recorded flows read: the cluster's objects, and a lake or a file of flows."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ConfigError
from .arguments import add_lake, add_since, add_until
from .cluster_state import objects_in
from .progress import progress
from .terminal import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl

    from ..inventory.models import Resource
    from ..inventory.snapshot import Snapshot
    from ..policy.ends import Judged
    from ..policy.record import Record
    from .flow_input import FlowInput


@dataclass(frozen=True, slots=True)
class Recorded:
    """The cluster, what was recorded, and the part of it that can be judged today."""

    objects: Sequence[Resource]
    snapshot: Snapshot
    record: Record
    judged: Judged


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Where the objects and the record are."""
    command.add_argument(
        "--state",
        type=Path,
        required=True,
        metavar="PATH",
        help="the cluster's objects: a folder of manifests or a `kubectl get -o yaml` file",
    )
    source = command.add_mutually_exclusive_group(required=True)
    add_lake(source)
    source.add_argument(
        "--flows",
        type=Path,
        metavar="FILE",
        help="JSON Lines as `attribute` reads them, .parquet of such rows or of the history, or a capture",
    )
    add_since(command, "all of it")
    add_until(command)


def load(arguments: argparse.Namespace) -> Recorded:
    """Read the objects and the record; refused objects and lines are named on standard error."""
    from ..inventory import snapshot
    from ..policy.ends import judged
    from ..policy.record import record_of

    with progress("reading the objects and the record"):
        objects, refusals = objects_in(arguments.state)
        cluster = snapshot.build(objects)
        flows, problems = _flows(arguments, cluster)
        record = record_of(flows)
        recorded = Recorded(objects, cluster, record, judged(record.pairs, cluster))
    for problem in (*refusals, *problems):
        print(f"flowatlas {arguments.command}: {problem}", file=sys.stderr)
    return recorded


def about(recorded: Recorded) -> list[str]:
    """What a reader must know of the record: how long, how much, and what of it could not be judged."""
    import polars as pl

    from ..policy.record import is_rare

    record, judged = recorded.record, recorded.judged
    if record.pairs.is_empty():
        return ["the record is empty: it says nothing of any connection"]
    span = "without times"
    if record.since is not None and record.until is not None:
        span = f"{record.since:%Y-%m-%d %H:%M:%S} to {record.until:%Y-%m-%d %H:%M:%S} UTC ({_long(record)})"
    total = int(record.pairs["connections"].sum())
    rare = record.pairs.filter(is_rare(record))
    stand_ins = judged.pairs.filter((pl.col("source_by") == "workload") | (pl.col("destination_by") == "workload"))
    lines = [
        f"record: {span}; {counted(total, 'connection')} of {counted(record.pairs.height, 'distinct pair')}",
        f"rare: {counted(rare.height, 'pair')} seen at most 3 times or on one day; a longer record would hold others",
    ]
    if stand_ins.height:
        count = int(stand_ins["connections"].sum())
        lines.append(
            f"by workload: {counted(count, 'connection')} of pods that are gone, judged as pods of their workload now"
        )
    lines += [
        f"not judged: {counted(row['connections'], 'connection')} of {counted(row['pairs'], 'pair')}, "
        f"{row['side']}: {row['reason']}"
        for row in judged.left_out.iter_rows(named=True)
    ]
    return lines


def _long(record: Record) -> str:
    seconds = (record.until - record.since).total_seconds() if record.since and record.until else 0.0
    unit, size = next(
        (pair for pair in (("days", 86400), ("hours", 3600), ("minutes", 60)) if seconds >= pair[1]), ("seconds", 1)
    )
    days = f" on {record.days} different days" if record.days > 1 else ""
    return f"{seconds / size:.1f} {unit}{days}"


def _flows(arguments: argparse.Namespace, cluster: Snapshot) -> tuple[pl.LazyFrame, Sequence[str]]:
    from ..attribution import offline
    from ..policy.files import history_like
    from ..query import scan_flows

    if arguments.lake is not None:
        return scan_flows(arguments.lake, since=arguments.since, until=arguments.until), ()
    if arguments.since is not None or arguments.until is not None:
        raise ConfigError("--since, --until: of a lake only; a file is read as a whole")
    if (whole := history_file(arguments.flows)) is not None:
        return whole, ()
    rows, problems = connections(arguments.flows)
    return history_like(offline.attribute_rows(rows, cluster)), problems


def history_file(path: Path) -> pl.LazyFrame | None:
    """The rows of a Parquet file of the history; None where it is another file. Raises ConfigError."""
    import polars as pl

    from ..lake.tables import FLOWS, told
    from ..outputs.history import HISTORY, filled

    if path.suffix != ".parquet":
        return None
    try:
        whole = pl.scan_parquet(path)
        schema = whole.collect_schema()
        if not {"role", "source_kind", "backend_ip"} <= set(schema.names()):
            return None
    except (OSError, pl.exceptions.PolarsError) as error:
        raise ConfigError(f"flows: {path}: {error}") from None
    if schema.get("time") == FLOWS.stored["time"]:
        return told(whole.match_to_schema(FLOWS.stored, extra_columns="ignore", missing_columns="insert"), FLOWS)
    return filled(whole.match_to_schema(HISTORY, extra_columns="ignore", missing_columns="insert"))


def connections(path: Path) -> tuple[pl.DataFrame, Sequence[str]]:
    """The flows of any other file, those of a capture paired, and what a reader must be told. Raises ConfigError."""
    from . import flow_input

    found = flow_input.read(path)
    rows = _paired(found) if flow_input.is_capture(path) else found.rows
    return rows, (*found.problems, *found.remarks)


def _paired(found: FlowInput) -> pl.DataFrame:
    """A capture's connections: the two ways of one as one row, and one way alone without a reply."""
    import polars as pl

    there = ["src_ip", "dst_ip", "src_port", "dst_port", "protocol"]
    back = ["dst_ip", "src_ip", "dst_port", "src_port", "protocol"]
    answered = found.rows.filter(found.is_reply).select(*there, pl.col("bytes").alias("reply_bytes"))
    opened = found.rows.filter(~found.is_reply)
    both = opened.join(answered, left_on=there, right_on=back, how="left", maintain_order="left")
    return both.with_columns(
        outcome=pl.when(pl.col("reply_bytes").is_null()).then(pl.lit("no_reply")).otherwise(pl.lit("open")),
        bytes=pl.col("bytes") + pl.col("reply_bytes").fill_null(0),
    ).drop("reply_bytes")
