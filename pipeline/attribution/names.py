"""Names in place of ids: the label columns of the metric catalogue, or nested structs for people and files.

Ids are row numbers of the snapshot's frames, so a name is a gather. Attach names after aggregation where possible.
"""

from __future__ import annotations

from typing import Final

import polars as pl

from ..inventory.snapshot import Snapshot
from .lookups import lookups_of
from .mesh_names import mesh_struct, subset_name
from .route_names import route_labels, route_structs

SIDES: Final = (("source", "src_id"), ("destination", "dst_id"))
ENDPOINT_FIELDS: Final = ("kind", "namespace", "name", "workload_kind", "workload", "node", "zone")


def with_labels(frame: pl.LazyFrame, snapshot: Snapshot) -> pl.LazyFrame:
    """Add the names of the ids that the frame has; order and other columns are kept.

    `src_id` gives `source_{kind,namespace,name,workload_kind,workload,node,zone}`, `dst_id` the same under
    `destination_` and `endpoint` (the name of the pod that answered, "" where no pod did); `service_id` gives
    `service_namespace`, `service`, `service_port` and `service_type`; `route_id` gives `ROUTE_LABELS` and `subset_id`
    `subset`. All are text, "" where there is none.
    """
    present = frame.collect_schema().names()
    columns: list[pl.Expr] = []
    for side, id_column in SIDES:
        if id_column in present:
            columns += [
                _gather(snapshot.endpoints[field], id_column).alias(f"{side}_{field}") for field in ENDPOINT_FIELDS
            ]
    if "dst_id" in present:
        columns.append(
            pl.when(_is_pod(snapshot, "dst_id"))
            .then(_gather(snapshot.endpoints["name"], "dst_id"))
            .otherwise(pl.lit(""))
            .alias("endpoint")
        )
    if "service_id" in present:
        columns += [
            _gather(snapshot.services[field], "service_id").fill_null("").alias(field)
            for field in ("service_namespace", "service", "service_port", "service_type")
        ]
    if "route_id" in present:
        columns += route_labels(snapshot)
    if "subset_id" in present:
        columns.append(subset_name(snapshot))
    return frame.with_columns(columns)


def with_structs(frame: pl.LazyFrame, snapshot: Snapshot) -> pl.LazyFrame:
    """Add `source`, `destination` {kind, namespace, name, workload_kind, workload, node, zone} and `service`
    {namespace, name, type, port_name, via}; a field that does not apply is null, and so is `service` where none
    is meant. `service_candidates` lists {namespace, name, port_name} of what an ambiguous row may mean, and is null
    elsewhere; `ingress` and `ingress_candidates` are those of `route_names`. `frame` has
    `src_id`, `dst_id`, `service_id`, `via` and `service_set`, and `route_id` and `route_set` or neither.
    """
    present = frame.collect_schema().names()
    ends = [
        pl.struct(
            _null_if_empty(_gather(snapshot.endpoints[field], id_column)).alias(field) for field in ENDPOINT_FIELDS
        ).alias(side)
        for side, id_column in SIDES
    ]
    service = pl.struct(
        _gather(snapshot.services["service_namespace"], "service_id").alias("namespace"),
        _gather(snapshot.services["service"], "service_id").alias("name"),
        _gather(snapshot.services["service_type"], "service_id").alias("type"),
        _null_if_empty(_gather(snapshot.services["port_name"], "service_id")).alias("port_name"),
        pl.col("via").cast(pl.String),
    )
    return frame.with_columns(
        *ends,
        service=pl.when(pl.col("service_id").is_not_null()).then(service),
        service_candidates=pl.lit(_candidates(snapshot)).gather("service_set"),
        **(route_structs(snapshot) if "route_id" in present else {}),
        **({"mesh": mesh_struct(snapshot)} if "subset_id" in present else {}),
    )


def _candidates(snapshot: Snapshot) -> pl.Series:
    """By service set, the Service ports in it."""
    sets = lookups_of(snapshot).service_sets.to_frame("services").with_row_index("set")
    members = sets.explode("services").with_columns(
        pl.struct(
            _gather(snapshot.services["service_namespace"], "services").alias("namespace"),
            _gather(snapshot.services["service"], "services").alias("name"),
            _null_if_empty(_gather(snapshot.services["port_name"], "services")).alias("port_name"),
        ).alias("services")
    )
    return members.group_by("set", maintain_order=True).agg("services")["services"]


def _gather(names: pl.Series, id_column: str) -> pl.Expr:
    return pl.lit(names.cast(pl.String)).gather(pl.col(id_column))


def _is_pod(snapshot: Snapshot, id_column: str) -> pl.Expr:
    return pl.lit(snapshot.endpoints["kind"] == "Pod").gather(pl.col(id_column))


def _null_if_empty(text: pl.Expr) -> pl.Expr:
    return pl.when(text != "").then(text)
