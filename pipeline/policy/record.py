"""Recorded flows as distinct pairs: who, whom, port and protocol, with how often, how much and when.

Only canonical rows count, so each connection counts once. The invariant: pods are kept by name and not by address, as
addresses are given to other pods; everything else is kept by address. The work is one lazy aggregation, so that a
history of any size becomes a frame of the size of its distinct pairs.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final, cast

import polars as pl

SIDES: Final = ("source", "destination")
FIELDS: Final = ("kind", "namespace", "name", "workload_kind", "workload")

KEYS: Final = (
    *(f"{side}_{field}" for side in SIDES for field in (*FIELDS, "ip")),
    "is_v6",
    "port",
    "protocol",
)
"""What makes two recorded connections alike. `{side}_ip` is "" of pods; `port` is the backend's own."""

PAIRS: Final = pl.Schema(
    {
        **{f"{side}_{field}": pl.String() for side in SIDES for field in (*FIELDS, "ip")},
        "is_v6": pl.Boolean(),
        "port": pl.UInt16(),
        "protocol": pl.UInt8(),
        "source_seen_ip": pl.String(),  # an address that the end was seen with, of pods too
        "destination_seen_ip": pl.String(),
        "from_own_node": pl.Boolean(),  # the node that the destination was on, whenever this was seen
        "masqueraded_as": pl.List(pl.String()),  # other addresses that the backend saw in place of the source's
        "services": pl.List(pl.String()),  # by which it was dialled, as `service_name` writes them; none where straight
        "connections": pl.Int64(),
        "refused": pl.Int64(),
        "no_reply": pl.Int64(),
        "bytes": pl.Int64(),  # both ways
        "first": pl.Datetime("ns", "UTC"),
        "last": pl.Datetime("ns", "UTC"),
        "days": pl.Int64(),  # on how many days (UTC) there was one
    }
)

RARE_CONNECTIONS: Final = 3
"""A pair seen no more often is a rare one: a longer record would hold more of the kind."""


@dataclass(frozen=True, slots=True)
class Record:
    """What was recorded, and of how much time."""

    pairs: pl.DataFrame
    """`PAIRS`, sorted by `KEYS`."""
    since: datetime | None
    """The first observation; None where there is none, or none has a time."""
    until: datetime | None
    days: int
    """On how many days (UTC) anything was observed."""


def record_of(flows: pl.LazyFrame) -> Record:
    """The record in rows with the columns of `pipeline.outputs.history.HISTORY` that it reads; a time may be null."""
    is_from_own_node = (pl.col("source_kind") == "Node") & (pl.col("source_name") == pl.col("destination_node"))
    daily = (
        flows.filter(pl.col("role") == "canonical")
        .with_columns(_kept_ip("source", "src_ip"), _kept_ip("destination", "backend_ip"))
        .with_columns(is_v6=pl.col("backend_ip").str.contains(":", literal=True))
        .group_by(
            *(key for key in KEYS if key != "port"), pl.col("backend_port").alias("port"), day=pl.col("time").dt.date()
        )
        .agg(
            source_seen_ip=pl.col("src_ip").max(),
            destination_seen_ip=pl.col("backend_ip").max(),
            from_own_node=is_from_own_node.all(),
            masqueraded_as=pl.col("nat_src_ip").filter(pl.col("nat_src_ip") != pl.col("src_ip")).unique(),
            services=service_name().filter(pl.col("service") != "").unique(),
            connections=pl.col("opened").cast(pl.Int64).sum(),
            refused=(pl.col("outcome") == "refused").cast(pl.Int64).sum(),
            no_reply=(pl.col("outcome") == "no_reply").cast(pl.Int64).sum(),
            bytes=(pl.col("bytes") + pl.col("reply_bytes")).cast(pl.Int64).sum(),
            first=pl.col("time").min(),
            last=pl.col("time").max(),
        )
    )
    by_day = daily.collect(engine="streaming")
    pairs = (
        by_day.group_by(KEYS)
        .agg(
            pl.col("source_seen_ip", "destination_seen_ip").max(),
            pl.col("from_own_node").all(),
            pl.col("masqueraded_as", "services").explode().drop_nulls().unique().sort(),
            pl.col("connections", "refused", "no_reply", "bytes").sum(),
            pl.col("first").min(),
            pl.col("last").max(),
            days=pl.col("day").drop_nulls().n_unique().cast(pl.Int64),
        )
        .select(PAIRS.names())
        .cast(PAIRS)
        .sort(KEYS)
    )
    since, until = cast("tuple[datetime | None, datetime | None]", (pairs["first"].min(), pairs["last"].max()))
    return Record(pairs, since, until, by_day["day"].drop_nulls().n_unique())


def is_rare(record: Record) -> pl.Expr:
    """Of pairs: whether the record shows them so seldom that it may well lack others like them."""
    on_one_day = (pl.col("days") == 1) if record.days > 1 else pl.lit(value=False)
    return (pl.col("connections") <= RARE_CONNECTIONS) | on_one_day


def established() -> pl.Expr:
    """Of pairs: connections that were answered, and not by a refusal."""
    return (pl.col("connections") - pl.col("refused") - pl.col("no_reply")).clip(lower_bound=0)


def service_name() -> pl.Expr:
    """A Service's port as one text: NAMESPACE/NAME/PORT."""
    return pl.concat_str("service_namespace", "service", "service_port", separator="/")


def _kept_ip(side: str, column: str) -> pl.Expr:
    is_by_name = pl.col(f"{side}_kind").is_in(["Pod", "Service"])
    return pl.when(is_by_name).then(pl.lit("")).otherwise(column).alias(f"{side}_ip")
