"""What the metrics of routes and of the mesh must come to, as sums over the history.

The history's own rows are compared with the truth one by one (`verify`); these sums tie the metrics to them.
"""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from deploy.lab.objects import Cluster
from pipeline.aggregate.ingress import EXPOSED

STRICT_NAMESPACE = "mesh"
"""Where the lab's pods take nothing but mutual TLS."""


def sums(cluster: Cluster) -> Mapping[str, pl.Expr]:
    """By metric: the sum over the canonical rows of the history that it must have."""
    opened = pl.col("opened").cast(pl.Int64)
    routed = sorted({f"{namespace}/{name}" for namespace, name in (route.service for route in cluster.routes)})
    is_routed = pl.concat_str("service_namespace", "service", separator="/").is_in(routed)
    is_outside = pl.col("source_kind") == "External"
    is_sidecars = pl.col("mesh") == "sidecar"
    is_plain = (pl.col("source_kind") == "Pod") & (pl.col("mesh") == "")
    return {
        "flowatlas_ingress_connections_total": opened.filter(pl.col("route") != "").sum(),
        "flowatlas_ingress_bypass_connections_total": opened.filter(
            is_outside & is_routed & pl.col("via").is_in(EXPOSED)
        ).sum(),
        "flowatlas_mesh_subset_connections_total": opened.filter(is_sidecars & (pl.col("subset") != "")).sum(),
        "flowatlas_mesh_plaintext_connections_total": opened.filter(
            is_plain & (pl.col("destination_namespace") == STRICT_NAMESPACE)
        ).sum(),
    }
