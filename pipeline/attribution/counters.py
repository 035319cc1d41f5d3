"""Attribution of interface counters: which pod an interface belongs to."""

from __future__ import annotations

import polars as pl

from ..inventory.snapshot import Snapshot


def attribute_counters(counters: pl.LazyFrame, snapshot: Snapshot) -> pl.LazyFrame:
    """Counters with `namespace` and `pod` (String, "" where no pod of the snapshot has the interface).

    The pod's uid decides where the collector found it out, the address elsewhere. All input columns and the order of
    rows are kept. `counters` have the columns of `collector.schema.COUNTERS`.
    """
    pods = snapshot.endpoints.lazy().filter(pl.col("kind") == "Pod").select("id", "namespace", "name", "uid")
    by_uid = pods.filter(pl.col("uid") != "").select(pod_uid="uid", uid_namespace="namespace", uid_pod="name")
    by_address = (
        snapshot.addresses.lazy()
        .join(pods, left_on="endpoint_id", right_on="id")
        .select("addr_hi", "addr_lo", address_namespace="namespace", address_pod="name")
    )
    return (
        counters.join(by_uid, on="pod_uid", how="left", maintain_order="left")
        .join(by_address, on=["addr_hi", "addr_lo"], how="left", maintain_order="left")
        .with_columns(
            namespace=pl.coalesce("uid_namespace", "address_namespace", pl.lit("")),
            pod=pl.coalesce("uid_pod", "address_pod", pl.lit("")),
        )
        .drop("uid_namespace", "uid_pod", "address_namespace", "address_pod")
    )
