"""Attribution of interface counters: which pod an interface belongs to."""

from __future__ import annotations

import numpy as np
import polars as pl

from ..inventory.snapshot import Snapshot
from . import arrays
from .lookups import ADDRESS, lookups_of


def attribute_counters(counters: pl.DataFrame, snapshot: Snapshot) -> pl.DataFrame:
    """Counters with `namespace` and `pod` (String, "" where no pod of the snapshot has the interface).

    The pod's uid decides where the collector found it out; elsewhere it is the pod that held the address at `time`. All
    input columns and the order of rows are kept. `counters` have the columns of `collector.schema.COUNTERS`.
    """
    endpoints = snapshot.endpoints
    lookups = lookups_of(snapshot)
    numbers = lookups.index.find([counters[half].to_numpy() for half in ADDRESS])
    holder = lookups.holder.take(lookups.holders.rows_at(numbers, counters["time"].to_numpy()))
    is_held = np.append(lookups.is_pod.to_numpy(), [False]).take(holder)
    uids = (
        endpoints.lazy()
        .filter(pl.col("kind") == "Pod", pl.col("uid") != "")
        .unique("uid")  # a pod that has several ids has one name
        .select(pod_uid="uid", uid_pod="id")
    )
    pod = pl.coalesce("uid_pod", pl.lit(arrays.nullable(holder.view(np.uint32), is_held)))
    return (
        counters.lazy()
        .join(uids, on="pod_uid", how="left", maintain_order="left")
        .with_columns(
            pl.lit(endpoints[column]).gather(pod).fill_null("").alias(name)
            for name, column in (("namespace", "namespace"), ("pod", "name"))
        )
        .drop("uid_pod")
        .collect()
    )
