"""Rows of a file, attributed under the objects of today, as the rows that `record` reads.

A file's row is one connection, answered unless the file says otherwise. The invariant: a row that was dialled at a
Service's address stays one whose backend nobody knows.
"""

from __future__ import annotations

from typing import Final

import polars as pl

from ..attribution.flowfile import instants, protocol_numbers
from ..attribution.route_names import ROUTE_LABELS, SEVERAL
from ..inventory.addresses import halves_of, text_of
from .record import FIELDS, SIDES

_TIME: Final = pl.Datetime("ns", "UTC")
_SERVICE: Final = {
    "service_namespace": "namespace",
    "service": "name",
    "service_port": "port_name",
    "service_type": "type",
    "via": "via",
}
_ROUTE: Final = {column: field for column, field in ROUTE_LABELS.items() if column != "tls"}
_MESH: Final = {"mesh": "mode", "subset": "subset"}
_KNOWN: Final = {"src_port": pl.UInt16, "packets": pl.UInt64, "server_name": pl.String, "path": pl.String}
"""Columns that a file may have or not."""


def history_like(attributed: pl.DataFrame) -> pl.LazyFrame:
    """Rows of `offline.attribute_rows` with the columns of the history that they tell something of.

    `outcome` may be a column of the rows; their times are read as `flowfile.instants` does.
    """
    ends = [
        pl.col(side).struct.field(field).fill_null("").alias(f"{side}_{field}")
        for side in SIDES
        for field in (*FIELDS, "node", "zone")
    ]
    services = [pl.col("service").struct.field(field).fill_null("").alias(column) for column, field in _SERVICE.items()]
    present = attributed.columns
    src, dst = (_as_told(attributed[name]) for name in ("src_ip", "dst_ip"))
    size = pl.col("bytes").fill_null(0) if "bytes" in present else pl.lit(0)
    return attributed.lazy().select(
        *ends,
        *services,
        *(_route(field).alias(column) for column, field in _ROUTE.items()),
        *(pl.col("mesh").struct.field(field).fill_null("").alias(column) for column, field in _MESH.items()),
        *(src.alias(name) for name in ("src_ip", "nat_src_ip")),
        *(dst.alias(name) for name in ("dst_ip", "backend_ip")),
        *(pl.col("dst_port").cast(pl.UInt16).alias(f"{end}_port") for end in ("dst", "backend")),
        *(pl.col(name).cast(pl.String) for name in ("attribution", "reason")),
        *(pl.col(name).cast(pl.String).fill_null("") for name in ("verdict",) if name in present),
        *(pl.col(name).cast(kind) for name, kind in _KNOWN.items() if name in present),
        protocol_numbers(attributed["protocol"]),
        pl.lit("canonical").alias("role"),
        (pl.col("outcome") if "outcome" in present else pl.lit("open")).alias("outcome"),
        pl.lit(1, pl.UInt8).alias("opened"),
        size.cast(pl.UInt64).alias("bytes"),
        pl.lit(0, pl.UInt64).alias("reply_bytes"),
        (_times(attributed["time"]) if "time" in present else pl.lit(None, _TIME)).alias("time"),
    )


def _as_told(written: pl.Series) -> pl.Series:
    """Addresses as the history tells them, however they are written."""
    halves = halves_of(written)
    return text_of(halves["hi"], halves["lo"])


def _route(field: str) -> pl.Expr:
    """A field of the route, or of the routes that it may be where that is the same of all."""
    told = pl.col("ingress_candidates").list.eval(pl.element().struct.field(field)).list.unique()
    of_all = pl.when(told.list.len() > 1).then(pl.lit(SEVERAL)).otherwise(told.list.first())
    return pl.coalesce(pl.col("ingress").struct.field(field), of_all).fill_null("")


def _times(written: pl.Series) -> pl.Series:
    return instants(written).cast(pl.Datetime("ns")).dt.replace_time_zone("UTC")
