"""Whom a caller may meet next time: the other workloads behind a Service that it dialled, as of the record.

Who answers for a Service is chosen by chance, so a short record may lack some. The invariant: what is added was never
recorded and counts no connection; it has an end that is there today, and is nothing that today's policies deny.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import polars as pl

from ..attribution.policies import Policies
from ..inventory.addresses import is_v4, text_of
from ..inventory.snapshot import Snapshot
from .ends import BY, living, pods_now
from .legitimate import sorted_out
from .record import service_name

_WORKLOAD: Final = ("namespace", "workload_kind", "workload")
_ALIKE: Final = (
    *(f"source_{field}" for field in ("kind", *_WORKLOAD, "ip")),
    *(f"destination_{field}" for field in _WORKLOAD),
    *("port", "protocol", "is_v6"),
)
"""What makes two pairs the same to a rule."""


def with_others_behind(
    pairs: pl.DataFrame,
    snapshot: Snapshot,
    policies: Policies,
    include: Collection[str] = (),
    exclude: Collection[str] = (),
) -> pl.DataFrame:
    """Pairs of `legitimate.sorted_out`, and behind them those that the same Services may lead to; the other arguments
    are those of `sorted_out`."""
    legitimate = pairs.filter(pl.col("left_out").is_null())
    asked = legitimate.explode("services").drop_nulls("services")
    found = _others(asked, _behind(snapshot)).join(legitimate, on=_ALIKE, how="anti", maintain_order="left")
    if found.is_empty():
        return pairs
    blank = {"connections": 1, "refused": 0, "no_reply": 0, "bytes": 0, "days": 0}
    others = found.with_columns(
        *(pl.lit(value, pl.Int64).alias(name) for name, value in blank.items()),
        *(pl.lit(None, pairs.schema[name]).alias(name) for name in ("first", "last")),
        destination_by=pl.lit("workload", BY),
        services=pl.concat_list("services"),
    )
    judged = sorted_out(others.drop("counted", "left_out"), policies, include, exclude)
    allowed = judged.filter(pl.col("left_out").is_null())
    uncounted = allowed.with_columns(pl.lit(0, pl.Int64).alias(name) for name in ("connections", "counted"))
    return pl.concat([pairs, uncounted.select(pairs.columns).cast(pairs.schema)])


def _others(asked: pl.DataFrame, behind: pl.DataFrame) -> pl.DataFrame:
    """The rows asked for, with every workload behind their Service as destination, each once."""
    since, until = (pl.col(name).cast(pl.Int64) for name in ("first", "last"))
    is_there = ((pl.col("since") <= until) & (pl.col("until") > since)).fill_null(value=True)
    to = behind.rename({name: f"behind_{name}" for name in behind.columns if name not in {"since", "until"}})
    joined = asked.join(
        to, left_on=["services", "protocol", "is_v6"], right_on=["behind_services", "behind_protocol", "behind_is_v6"]
    )
    met = joined.filter(is_there)
    told = met.with_columns(
        *(pl.col(f"behind_{field}").alias(f"destination_{field}") for field in _WORKLOAD),
        destination_kind=pl.lit("Pod"),
        destination_name=pl.col("behind_name"),
        destination_ip=pl.lit(""),
        destination_seen_ip=text_of(met["behind_addr_hi"], met["behind_addr_lo"]),
        port=pl.col("behind_port"),
        backend_port=pl.col("behind_port"),
        dst_id=pl.col("behind_id"),
        backend_hi=pl.col("behind_addr_hi"),
        backend_lo=pl.col("behind_addr_lo"),
    )
    return told.select(asked.columns).unique(_ALIKE, keep="first", maintain_order=True)


def _behind(snapshot: Snapshot) -> pl.DataFrame:
    """services, protocol, is_v6, port, since, until: what is behind each Service port when; and a pod of that workload
    that is there now: id, name, addr_hi, addr_lo and `_WORKLOAD`."""
    services = snapshot.services.select("service_id", services=service_name())
    pods = snapshot.endpoints.filter(pl.col("kind") == "Pod").select(pl.col("id").alias("endpoint_id"), *_WORKLOAD)
    held = snapshot.addresses.join(pods, on="endpoint_id").rename({"since": "held_since", "until": "held_until"})
    now = pods_now(snapshot).filter("has_address").unique(_WORKLOAD, keep="first", maintain_order=True)
    return (
        snapshot.backends.join(services, on="service_id")
        .join(held, on=["addr_hi", "addr_lo"])
        .with_columns(
            since=pl.max_horizontal("since", "held_since"),
            until=pl.min_horizontal("until", "held_until"),
            is_v6=~is_v4(pl.col("addr_hi"), pl.col("addr_lo")),
        )
        .filter(pl.col("since") < pl.col("until"))
        .select("services", "protocol", "is_v6", "port", "since", "until", *_WORKLOAD)
        .join(now.select("id", "name", *_WORKLOAD), on=_WORKLOAD)
        .join(living(snapshot), on=["id", "is_v6"])
        .sort("services", *_WORKLOAD, "port", "protocol", "since")
    )
