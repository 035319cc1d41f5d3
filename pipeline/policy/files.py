"""Rows of a file, attributed under the objects of today, as the rows that `record` reads.

A file's row is one connection, answered unless the file says otherwise. The invariant: a row that was dialled at a
Service's address stays one whose backend nobody knows.
"""

from __future__ import annotations

from typing import Final

import polars as pl

from ..attribution.flowfile import protocol_numbers
from .record import FIELDS, SIDES

_TIME: Final = pl.Datetime("ns", "UTC")
_UNITS: Final = ((1e17, 1.0), (1e14, 1e3), (1e11, 1e6), (0.0, 1e9))
"""Times as numbers: from which magnitude on, and how many nanoseconds the unit has."""


def history_like(attributed: pl.DataFrame) -> pl.LazyFrame:
    """Rows of `offline.attribute_rows` with the columns of the history that `record.record_of` reads.

    `outcome` may be a column of the rows; a number in `time` is taken for seconds, milliseconds, microseconds or
    nanoseconds since the epoch, by its size.
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
        (instants(attributed["time"]) if "time" in present else pl.lit(None, _TIME)).alias("time"),
    )


def instants(written: pl.Series) -> pl.Series:
    """Instants as people write them, RFC 3339 or numbers since the epoch; null where they are neither."""
    if written.dtype.is_temporal():
        return (
            written.cast(pl.Datetime("ns")).dt.replace_time_zone("UTC") if _is_naive(written) else written.cast(_TIME)
        )
    number = pl.col("time").cast(pl.Float64, strict=False)
    whole = pl.col("time").cast(pl.Int64, strict=False)
    scaled = pl.coalesce(
        pl.when(number >= least).then((whole * int(unit)).fill_null((number * unit).cast(pl.Int64, strict=False)))
        for least, unit in _UNITS
    )
    text = pl.col("time").cast(pl.String).str.to_datetime(time_unit="ns", time_zone="UTC", strict=False)
    frame = written.rename("time").to_frame()
    by_number = scaled.cast(pl.Datetime("ns")).dt.replace_time_zone("UTC")
    return frame.select(pl.coalesce(by_number, text) if written.dtype == pl.String else by_number).to_series()


def _is_naive(written: pl.Series) -> bool:
    return isinstance(written.dtype, pl.Datetime) and written.dtype.time_zone is None
