"""Flows that a person hands in: a capture, Parquet or JSON Lines, told apart by what the file begins with.

A capture holds both ways of a connection as flows of their own. The invariant: of two flows between the same ends the
one that began first is the connection's, and the other its reply.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, slots=True)
class FlowInput:
    """What a file held."""

    rows: pl.DataFrame
    """The flows, by the keys of `attribution.flowfile`."""
    is_reply: pl.Series
    """By row, whether it is the way back of another row. Only a capture's can be told."""
    problems: tuple[str, ...]
    """What could not be read: somebody should look at it."""
    remarks: tuple[str, ...]
    """What a reader of the flows should know."""


def read(path: Path) -> FlowInput:
    """Read the flows of a file. Raises ConfigError where it cannot be read."""
    import polars as pl

    from ..attribution import flowfile

    if is_capture(path):
        return _read_capture(path)
    flows = flowfile.read(path)
    return FlowInput(flows.rows, pl.repeat(value=False, n=flows.rows.height, eager=True), flows.problems, ())


def is_capture(path: Path) -> bool:
    """Whether a file begins as a pcap or pcapng file does; False where it cannot be read."""
    from collector.packets import pcap, pcapng

    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError:
        return False
    return magic == pcapng.MAGIC or magic in pcap.MAGICS


def _read_capture(path: Path) -> FlowInput:
    from collector.sources import pcap

    from . import flows

    contents = pcap.read(path)
    rows = flows.rows(contents.inner)
    remarks = flows.remarks(contents, unsized=int(contents.inner.unsized.sum()))
    return FlowInput(
        rows,
        replies(rows),
        () if contents.damage is None else (contents.damage,),
        tuple(f"{path}: {line}" for line in remarks),
    )


def replies(rows: pl.DataFrame) -> pl.Series:
    """By row, whether an earlier row has the same ends and protocol the other way round."""
    import polars as pl

    there = ["src_ip", "dst_ip", "src_port", "dst_port", "protocol"]
    back = ["dst_ip", "src_ip", "dst_port", "src_port", "protocol"]
    numbered = rows.select(there).with_row_index("row")
    first = numbered.group_by(there).agg(earlier=pl.col("row").min())
    met = numbered.join(first, left_on=back, right_on=there, how="left", maintain_order="left")
    return met.select((pl.col("earlier") < pl.col("row")).fill_null(value=False)).to_series()
