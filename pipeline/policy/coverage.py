"""How far policies cover the cluster: pods that are isolated, traffic by what let it through, open namespaces.

Only pods with an address of their own count: no policy selects what is on its node's network. The invariant: `judge` is
the one who knows, so numbers here and verdicts there cannot differ.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import polars as pl

from ..attribution.policies import Policies
from ..attribution.policies.engine import SIDES
from ..inventory.models import Resource, namespace_of
from ..inventory.policies import LabelSelector, NetworkPolicy
from ..inventory.snapshot import Snapshot
from .ends import living

BASES: Final = ("explicit", "default", "unprotected", "denied", "not judged")
"""What an end of a connection stands on: a rule allows it; policies select it and none decides; none selects it; ..."""

WORKLOAD: Final = ("namespace", "workload_kind", "workload")


def isolation(snapshot: Snapshot, policies: Policies) -> pl.DataFrame:
    """By workload: `pods`, and how many of them NetworkPolicies isolate, `isolated_ingress` and `isolated_egress`."""
    alive = snapshot.endpoints.join(living(snapshot).select("id").unique(), on="id", how="semi", maintain_order="left")
    identity = policies.identities.of_endpoint[alive["id"].to_numpy()]
    counted = alive.with_columns(
        pl.Series("is_pod", policies.identities.is_pod[identity]),
        *(
            pl.Series(f"isolated_{direction}", policies.side(direction).isolating.lengths(identity) > 0)
            for direction in SIDES
        ),
    ).filter("is_pod")
    return (
        counted.group_by(WORKLOAD)
        .agg(
            pl.len().cast(pl.Int64).alias("pods"),
            *(pl.col(f"isolated_{name}").sum().cast(pl.Int64) for name in ("ingress", "egress")),
        )
        .sort(WORKLOAD)
    )


def default_denies(objects: Iterable[Resource], namespaces: Iterable[str]) -> pl.DataFrame:
    """By namespace: whether a NetworkPolicy selects every pod and allows nothing, `denies_ingress`, `denies_egress`."""
    denied: dict[str, set[str]] = {"ingress": set(), "egress": set()}
    for item in objects:
        if isinstance(item, NetworkPolicy) and _selects_all(item.spec.pod_selector):
            if "Ingress" in item.spec.directions and not item.spec.ingress:
                denied["ingress"].add(namespace_of(item))
            if "Egress" in item.spec.directions and not item.spec.egress:
                denied["egress"].add(namespace_of(item))
    rows = [(name, name in denied["ingress"], name in denied["egress"]) for name in sorted(set(namespaces))]
    return pl.DataFrame(rows, schema=["namespace", "denies_ingress", "denies_egress"], orient="row")


def _selects_all(selector: LabelSelector) -> bool:
    return not selector.match_labels and not selector.match_expressions


def bases(policies: Policies, pairs: pl.DataFrame) -> pl.DataFrame:
    """Row by row of pairs (columns `policies.PAIR`): `ingress_basis` and `egress_basis`, one of `BASES`."""
    judgement = policies.judgement(pairs)
    verdict = pl.col("verdict").cast(pl.String)
    allows = pl.col("policies").list.eval(pl.element().struct.field("effect") == "allow").list.any()
    of_answer = judgement.sides.select(
        pl.when((verdict == "allowed") & allows)
        .then(pl.lit("explicit"))
        .when(verdict == "allowed")
        .then(pl.lit("default"))
        .otherwise(verdict)
        .cast(pl.Enum(BASES))
    ).to_series()
    return judgement.rows.select(
        pl.lit(of_answer).gather(column).alias(f"{direction}_basis") for direction, column in SIDES.items()
    )


def traffic(policies: Policies, pairs: pl.DataFrame) -> pl.DataFrame:
    """By workload: the bytes of recorded pairs by basis, `ingress_explicit_bytes` and so on for `BASES`."""
    judged = pairs.hstack(bases(policies, pairs))
    parts = []
    for direction, side in (("ingress", "destination"), ("egress", "source")):
        mine = judged.filter(pl.col(f"{side}_kind") == "Pod").select(
            *(pl.col(f"{side}_{field}").alias(field) for field in WORKLOAD),
            *(
                pl.when(pl.col(f"{direction}_basis") == basis)
                .then("bytes")
                .otherwise(0)
                .alias(f"{direction}_{name}_bytes")
                for basis, name in zip(BASES, (basis.replace(" ", "_") for basis in BASES), strict=True)
            ),
        )
        parts.append(mine.group_by(WORKLOAD).agg(pl.exclude(WORKLOAD).sum()))
    return parts[0].join(parts[1], on=WORKLOAD, how="full", coalesce=True).fill_null(0).sort(WORKLOAD)


def by_workload(
    objects: Iterable[Resource], snapshot: Snapshot, policies: Policies, pairs: pl.DataFrame
) -> pl.DataFrame:
    """`isolation`, `default_denies` of the namespace and `traffic`, one row a workload that has pods now."""
    pods = isolation(snapshot, policies)
    rows = pods.join(default_denies(objects, pods["namespace"]), on="namespace", how="left", maintain_order="left")
    joined = rows.join(traffic(policies, pairs), on=WORKLOAD, how="left", maintain_order="left")
    return joined.with_columns(pl.selectors.ends_with("_bytes").fill_null(0))


def by_namespace(workloads: pl.DataFrame) -> pl.DataFrame:
    """The rows of `by_workload` summed up by namespace."""
    numbers = pl.exclude(*WORKLOAD, "denies_ingress", "denies_egress").sum()
    return (
        workloads.group_by("namespace")
        .agg(pl.col("denies_ingress", "denies_egress").first(), numbers)
        .sort("namespace")
    )


def by_direction(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows of `by_workload` or `by_namespace` as two each, `direction` ingress and egress, half as wide."""
    keys = [name for name in ("namespace", "workload_kind", "workload", "pods") if name in rows.columns]
    halves = [
        rows.select(
            *keys,
            pl.lit(direction).alias("direction"),
            pl.col(f"denies_{direction}").alias("denies_all"),
            pl.col(f"isolated_{direction}").alias("isolated"),
            pl.selectors.starts_with(f"{direction}_").name.map(lambda name: name.partition("_")[2]),
        )
        for direction in ("ingress", "egress")
    ]
    return pl.concat(halves).sort(keys[:-1], maintain_order=True)
