"""The label sets that recorded flows had, by family of metrics. Pure.

Series of times that a history does not tell of (a pod that was away) are not among them, nor are metrics that no flow
tells of. The invariant: a family has the labels and the series of the pipeline's family of that name, but for labels
that have one value for each of the others (`tls` of a route).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import polars as pl

from ..aggregate.interfaces import VALUES
from ..aggregate.rollups import FAILURES
from ..catalog import BY_NAME, NAMESPACES, PAIR, ROUTE, SERVICE, SUBSET

FIRST: Final = "__first"
"""When a label set was first there, in nanoseconds."""
LAST: Final = "__last"
"""When it was last there, in the same."""
WEIGHT: Final = "__weight"
"""How much it has of what tells heavy ones from others."""
FAILED: Final = "__failed"
"""In how many ways its connections failed."""
INTERFACES: Final = "interfaces"

_SERVED: Final = (
    "destination_namespace",
    "destination_workload",
    "destination_workload_kind",
    "service_namespace",
    "service",
)
_TYPED: Final = (*SERVICE, "service_type", "protocol")
_ROUTE: Final = tuple(name for name in ROUTE if name != "tls")
_POD: Final = ("namespace", "pod", "node")
_HAS_SERVICE: Final = pl.col("service") != ""
_IS_SENT_TO_POD: Final = pl.col("destination_kind") == "Pod"
_ONE, _TWO, _FAILED = pl.lit(1), pl.lit(2), pl.col(FAILED)
_OPENED: Final = pl.col("opened").cast(pl.UInt64).sum()


@dataclass(frozen=True, slots=True, eq=False)
class Family:
    """Metrics that have their label sets together: the distinct values of labels over rows that match."""

    name: str
    """As `flowatlas_series_folded_total` has it."""
    labels: tuple[str, ...]
    width: int
    """How many series a label set counts as in the budget."""
    metrics: Mapping[str, pl.Expr]
    """By metric, how many label sets of its own one of the family makes."""
    where: pl.Expr = pl.lit(value=True)  # noqa: RUF009 - an expression never changes
    weight: pl.Expr = pl.col("bytes").sum()  # noqa: RUF009
    columns: Mapping[str, pl.Expr] = field(default_factory=dict)
    """What the history has of a label, where it has another name for it."""
    roles: tuple[str, ...] = ("canonical",)


def lines(metric: str) -> int:
    """How many series a label set of the metric makes: a histogram has one a bucket, a sum and a count."""
    bounds = BY_NAME[metric].le
    return len(bounds) + 2 if bounds else 1


def recorded(history: pl.LazyFrame) -> dict[str, pl.DataFrame]:
    """By family, a row a label set of rows of HISTORY: its labels as text, FIRST, LAST, WEIGHT and FAILED."""
    found: dict[str, list[pl.DataFrame]] = {}
    frames = pl.collect_all([_distinct(history, family) for family in FAMILIES])
    for family, frame in zip(FAMILIES, frames, strict=True):
        found.setdefault(family.name, []).append(frame)
    return {name: parts[0] if len(parts) == 1 else _together(parts) for name, parts in found.items()}


def _distinct(history: pl.LazyFrame, family: Family) -> pl.LazyFrame:
    labels = (
        family.columns.get(label, pl.col(label)).cast(pl.String).fill_null("").alias(label) for label in family.labels
    )
    failed = pl.sum_horizontal((pl.col("outcome") == failure).any().cast(pl.UInt64) for failure in FAILURES)
    return (
        history.filter(pl.col("role").is_in(family.roles), family.where)
        .group_by(*labels)
        .agg(
            pl.col("time").min().dt.epoch("ns").alias(FIRST),
            pl.col("time").max().dt.epoch("ns").alias(LAST),
            family.weight.cast(pl.UInt64).alias(WEIGHT),
            failed.alias(FAILED),
        )
    )


def _together(parts: list[pl.DataFrame]) -> pl.DataFrame:
    """What both ends of flows tell of one family."""
    labels = [name for name in parts[0].columns if name not in {FIRST, LAST, WEIGHT, FAILED}]
    return pl.concat(parts).group_by(labels).agg(pl.col(FIRST).min(), pl.col(LAST).max(), pl.col(WEIGHT, FAILED).sum())


def _timed(name: str, column: str) -> Family:
    metric = f"flowatlas_tcp_{name}_seconds"
    part = {"connect": "connects", "rtt": "round_trips"}[name]
    return Family(
        f"flows/TcpHealthMetrics/{part}", _SERVED, lines(metric), {metric: _ONE}, pl.col(column) > 0, pl.len()
    )


def _external(own: str, other: str) -> Family:
    workload = ("namespace", "workload", "workload_kind")
    columns = {name: pl.col(f"{own}_{name}") for name in workload}
    columns |= {name: pl.col(f"{other}_{name}") for name in ("country", "asn")}
    return Family(
        "flows/ExternalMetrics/totals",
        tuple(columns),
        2,
        {"flowatlas_external_bytes_total": _TWO},
        pl.col(f"{other}_kind") == "External",
        columns=columns,
    )


def _pods(end: str) -> Family:
    """Of pods that opened or answered a connection, each with one interface."""
    columns = {label: pl.col(f"{end}_{name}") for label, name in zip(_POD, ("namespace", "name", "node"), strict=True)}
    metrics = dict.fromkeys(VALUES, _ONE)
    return Family(INTERFACES, tuple(columns), 0, metrics, pl.col(f"{end}_kind") == "Pod", columns=columns)


FAMILIES: Final = (
    Family(
        "flows/conversations",
        (*PAIR, *SERVICE, "protocol"),
        8,
        {
            "flowatlas_flow_bytes_total": _TWO,
            "flowatlas_flow_packets_total": _TWO,
            "flowatlas_connections_total": _ONE,
            "flowatlas_connection_failures_total": _FAILED,
        },
    ),
    Family(
        "flows/services",
        _TYPED,
        5,
        {"flowatlas_service_bytes_total": _TWO, "flowatlas_service_connection_failures_total": _FAILED},
        _HAS_SERVICE,
    ),
    Family(
        "flows/dials",
        (*_TYPED, "via"),
        1,
        {"flowatlas_service_connections_total": _ONE},
        _HAS_SERVICE,
        _OPENED,
    ),
    Family(
        "flows/endpoints",
        (*SERVICE, "endpoint", "node"),
        1,
        {"flowatlas_service_endpoint_connections_total": _ONE},
        _HAS_SERVICE,
        _OPENED,
        {"endpoint": pl.when(_IS_SENT_TO_POD).then("destination_name"), "node": pl.col("destination_node")},
    ),
    Family(
        "flows/NamespaceMetrics/pairs",
        NAMESPACES,
        6,
        {
            "flowatlas_namespace_bytes_total": _TWO,
            "flowatlas_namespace_connections_total": _ONE,
            "flowatlas_namespace_connection_failures_total": _FAILED,
        },
    ),
    Family(
        "flows/IngressMetrics/legs",
        (*_ROUTE, *SERVICE),
        6,
        {"flowatlas_ingress_bytes_total": _TWO, "flowatlas_ingress_connections_total": _ONE},
        pl.col("route") != "",
    ),
    Family(
        "flows/MeshMetrics/subsets",
        SUBSET,
        3,
        {"flowatlas_mesh_subset_bytes_total": _TWO, "flowatlas_mesh_subset_connections_total": _ONE},
        (pl.col("subset") != "") & (pl.col("mesh") != ""),  # of clients of the mesh: what both ends are of, rows tell
    ),
    _timed("connect", "connect_us"),
    _timed("rtt", "srtt_us"),
    Family(
        "flows/TcpHealthMetrics/resent",
        PAIR,
        1,
        {"flowatlas_tcp_retransmits_total": _ONE},
        pl.col("retransmits") > 0,
        pl.col("retransmits").cast(pl.UInt64).sum(),
        roles=("canonical", "observer"),
    ),
    Family(
        "flows/ZoneMetrics/zones",
        ("source_zone", "destination_zone", "locality"),
        2,
        {"flowatlas_zone_bytes_total": _TWO},
    ),
    _external("source", "destination"),
    _external("destination", "source"),
    Family(
        "flows/PolicyMetrics/mismatches",
        ("mismatch", *PAIR),
        1,
        {"flowatlas_policy_mismatch_connections_total": _ONE},
        pl.col("mismatch") != "",
        pl.len(),
    ),
    _pods("source"),
    _pods("destination"),
)
"""In the order in which the pipeline's budget comes to them; last what is not in it."""
