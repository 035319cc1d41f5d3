"""How many series recorded flows would make: counted from the history, metric by metric. Pure.

What is counted is the label sets that the flows of a time had; series of times that a history does not tell of (a pod
that was away) are not among them, nor are metrics that no flow tells of. The invariant: a metric is forecast with
exactly the labels of the catalogue, but for those that have one value for each of the others (`tls` of a route).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import polars as pl

from .aggregate.budget import Limit
from .aggregate.interfaces import VALUES
from .aggregate.rollups import FAILURES
from .catalog import BY_NAME, NAMESPACES, PAIR, SERVICE

FORECAST: Final = pl.Schema(
    {
        "metric": pl.String(),
        "cardinality": pl.String(),  # fine, careful or costly
        "label_sets": pl.Int64(),
        "series": pl.Int64(),  # label sets, times the buckets, sum and count of a histogram
        "beyond": pl.Int64(),  # label sets that a limit would fold into `other`; 0 without a limit
    }
)
_ROUTE: Final = ("route_kind", "route_namespace", "route", "route_host", "route_path")
_SERVED: Final = (
    "destination_namespace",
    "destination_workload",
    "destination_workload_kind",
    "service_namespace",
    "service",
)
_TYPED: Final = (*SERVICE, "service_type", "protocol")
_HAS_SERVICE: Final = pl.col("service") != ""
_HAS_FAILED: Final = pl.col("outcome").is_in(FAILURES)
_INTERFACE: Final = tuple(VALUES)


@dataclass(frozen=True, slots=True)
class _Form:
    """Metrics whose label sets are the distinct values of `columns` over rows that match, each `times`."""

    metrics: tuple[str, ...]
    columns: tuple[str, ...]
    where: pl.Expr = pl.lit(value=True)  # noqa: RUF009 - an expression never changes
    times: int = 1
    roles: tuple[str, ...] = ("canonical",)


def _external(own: str, other: str) -> _Form:
    columns = tuple(f"{own}_{name}" for name in ("namespace", "workload", "workload_kind"))
    place = (f"{other}_country", f"{other}_asn")
    return _Form(("flowatlas_external_bytes_total",), (*columns, *place), pl.col(f"{other}_kind") == "External", 2)


_FORMS: Final = (
    _Form(("flowatlas_flow_bytes_total", "flowatlas_flow_packets_total"), (*PAIR, *SERVICE, "protocol"), times=2),
    _Form(("flowatlas_connections_total",), (*PAIR, *SERVICE, "protocol")),
    _Form(("flowatlas_connection_failures_total",), (*PAIR, *SERVICE, "protocol", "outcome"), _HAS_FAILED),
    _Form(("flowatlas_namespace_bytes_total",), NAMESPACES, times=2),
    _Form(("flowatlas_namespace_connections_total",), NAMESPACES),
    _Form(("flowatlas_namespace_connection_failures_total",), (*NAMESPACES, "outcome"), _HAS_FAILED),
    _Form(("flowatlas_service_bytes_total",), _TYPED, _HAS_SERVICE, 2),
    _Form(("flowatlas_service_connections_total",), (*_TYPED, "via"), _HAS_SERVICE),
    _Form(("flowatlas_service_connection_failures_total",), (*_TYPED, "outcome"), _HAS_SERVICE & _HAS_FAILED),
    _Form(
        ("flowatlas_service_endpoint_connections_total",),
        (*SERVICE, "destination_name", "destination_node"),
        _HAS_SERVICE & (pl.col("destination_kind") == "Pod"),
    ),
    _Form(("flowatlas_tcp_connect_seconds",), _SERVED, pl.col("connect_us") > 0),
    _Form(("flowatlas_tcp_rtt_seconds",), _SERVED, pl.col("srtt_us") > 0),
    _Form(("flowatlas_tcp_retransmits_total",), PAIR, pl.col("retransmits") > 0, roles=("canonical", "observer")),
    _Form(("flowatlas_zone_bytes_total",), ("source_zone", "destination_zone", "locality"), times=2),
    _Form(("flowatlas_ingress_bytes_total",), (*_ROUTE, *SERVICE), pl.col("route") != "", 2),
    _Form(("flowatlas_ingress_connections_total",), (*_ROUTE, *SERVICE), pl.col("route") != ""),
    _Form(
        ("flowatlas_mesh_subset_bytes_total",), ("service_namespace", "service", "subset"), pl.col("subset") != "", 2
    ),
    _Form(
        ("flowatlas_mesh_subset_connections_total",), ("service_namespace", "service", "subset"), pl.col("subset") != ""
    ),
    _Form(("flowatlas_policy_mismatch_connections_total",), ("mismatch", *PAIR), pl.col("mismatch") != ""),
    _external("source", "destination"),
    _external("destination", "source"),
)


def forecast(history: pl.LazyFrame, limit: Limit | None = None) -> pl.DataFrame:
    """Rows of FORECAST, the most series first, from rows of HISTORY; with `limit`, what it would fold.

    Pods are those that opened or answered a connection, each with one interface.
    """
    heights = pl.collect_all(
        [_height(history.filter(pl.col("role").is_in(form.roles), form.where).select(form.columns)) for form in _FORMS]
    )
    found = [(form.metrics, height.item(), form.times) for form, height in zip(_FORMS, heights, strict=True)]
    sets: dict[str, int] = {}
    beyond: dict[str, int] = {}
    for metrics, height, times in [*found, (_INTERFACE, _height(_pods(history)).collect().item(), 1)]:
        excess = height - limit.detail if limit is not None and height > limit.detail else 0
        for metric in metrics:
            sets[metric] = sets.get(metric, 0) + times * height
            beyond[metric] = beyond.get(metric, 0) + times * (excess if metric not in _INTERFACE else 0)
    rows = [
        (name, BY_NAME[name].cardinality, count, count * _lines(name), beyond[name]) for name, count in sets.items()
    ]
    return pl.DataFrame(rows, schema=FORECAST, orient="row").sort("series", "metric", descending=[True, False])


def _height(rows: pl.LazyFrame) -> pl.LazyFrame:
    return rows.unique().select(pl.len())


def _pods(history: pl.LazyFrame) -> pl.LazyFrame:
    ends = (
        history.filter(pl.col("role") == "canonical", pl.col(f"{end}_kind") == "Pod").select(
            pl.col(f"{end}_{name}").alias(name) for name in ("namespace", "name", "node")
        )
        for end in ("source", "destination")
    )
    return pl.concat(ends)


def _lines(metric: str) -> int:
    """How many series a label set of the metric makes: a histogram has one a bucket, a sum and a count."""
    bounds = BY_NAME[metric].le
    return len(bounds) + 2 if bounds else 1
