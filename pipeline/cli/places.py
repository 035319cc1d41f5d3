"""The option `--geo` of sub-commands, and what the databases tell of one connection, as a person reads it."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

    from ..inventory.snapshot import Snapshot


def add_geo(command: argparse.ArgumentParser) -> None:
    """Add the option."""
    command.add_argument(
        "--geo",
        type=lambda text: [Path(part) for part in text.split(",") if part],
        metavar="FILE[,FILE]",
        help="MaxMind databases: tell country and network of ends beyond the cluster",
    )


def places(files: Sequence[Path], connection: pl.DataFrame, cluster: Snapshot) -> Iterator[tuple[str, str]]:
    """What was asked and the answer, for each end beyond the cluster of the one row in `connection`.

    Its columns are those of `attribution.flowfile`. Raises ConfigError where a file cannot be read.
    """
    from ..attribution.offline import attribute_rows
    from ..geo import load_geo

    (row,) = load_geo(files).in_structs(attribute_rows(connection, cluster)).to_dicts()
    for side, address in (("source", row["src_ip"]), ("destination", row["dst_ip"])):
        end = row[side]
        if end["kind"] == "External":
            system = f"AS{end['asn']} {end['organisation'] or ''}".rstrip() if end["asn"] else None
            yield f"country and network of {address}", ", ".join(filter(None, (end["country"], system))) or "not known"
