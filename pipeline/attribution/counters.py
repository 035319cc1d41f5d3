"""Attribution of interface counters: which pod an interface belongs to."""

from __future__ import annotations

import polars as pl

from ..inventory.snapshot import Snapshot
from .lookups import ADDRESS, lookups_of


def attribute_counters(counters: pl.LazyFrame, snapshot: Snapshot) -> pl.LazyFrame:
    """Counters with `namespace` and `pod` (String, "" where no pod of the snapshot has the interface).

    The pod's uid decides where the collector found it out; elsewhere it is the pod that held the address at `time`. All
    input columns and the order of rows are kept. `counters` have the columns of `collector.schema.COUNTERS`.
    """
    endpoints = snapshot.endpoints
    lookups = lookups_of(snapshot)
    uids = (
        endpoints.lazy()
        .filter(pl.col("kind") == "Pod", pl.col("uid") != "")
        .unique("uid")  # a pod that has several ids has one name
        .select(pod_uid="uid", uid_pod="id")
    )
    holder = lookups.holders.gather("endpoint_id", "held")
    pod = pl.coalesce("uid_pod", pl.when(pl.lit(lookups.is_pod).gather(holder)).then(holder))
    return (
        counters.join(uids, on="pod_uid", how="left", maintain_order="left")
        .with_columns(held=lookups.index.number(*map(pl.col, ADDRESS)))
        .with_columns(held=lookups.holders.at("held", "time"))
        .with_columns(
            pl.lit(endpoints[column]).gather(pod).fill_null("").alias(name)
            for name, column in (("namespace", "namespace"), ("pod", "name"))
        )
        .drop("uid_pod", "held")
    )
