"""Rows of a file, attributed under the objects of today, as the rows that `record` reads.

A file's row is one connection, answered unless the file says otherwise. The invariant: a row that was dialled at a
Service's address stays one whose backend nobody knows.
"""

from __future__ import annotations

from typing import Final

import polars as pl

from ..attribution.flowfile import instants, protocol_numbers
from .record import FIELDS, SIDES

_TIME: Final = pl.Datetime("ns", "UTC")


def history_like(attributed: pl.DataFrame) -> pl.LazyFrame:
    """Rows of `offline.attribute_rows` with the columns of the history that `record.record_of` reads.

    `outcome` may be a column of the rows; their times are read as `flowfile.instants` does.
    """
    ends = [
        pl.col(side).struct.field(field).fill_null("").alias(f"{side}_{field}") for side in SIDES for field in FIELDS
    ]
    present = attributed.columns
    size = pl.col("bytes").fill_null(0) if "bytes" in present else pl.lit(0)
    return attributed.lazy().select(
        *ends,
        pl.col("src_ip"),
        pl.col("src_ip").alias("nat_src_ip"),
        pl.col("dst_ip").alias("backend_ip"),
        pl.col("dst_port").cast(pl.UInt16).alias("backend_port"),
        protocol_numbers(attributed["protocol"]),
        pl.lit("canonical").alias("role"),
        (pl.col("outcome") if "outcome" in present else pl.lit("open")).alias("outcome"),
        pl.lit(1, pl.UInt8).alias("opened"),
        size.cast(pl.UInt64).alias("bytes"),
        pl.lit(0, pl.UInt64).alias("reply_bytes"),
        (_times(attributed["time"]) if "time" in present else pl.lit(None, _TIME)).alias("time"),
    )


def _times(written: pl.Series) -> pl.Series:
    return instants(written).cast(pl.Datetime("ns")).dt.replace_time_zone("UTC")
