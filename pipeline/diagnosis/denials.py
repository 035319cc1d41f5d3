"""Policies that deny much, whoever asks: which, in which direction, and of whom.

A denial is what a policy is for, so this is told by number alone; of one pod `policies.denied` tells each.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import polars as pl

from ..outputs.verdicts import policies_of
from .evidence import Evidence, counted, full
from .finding import Finding

CHECK: Final = "denials"
MANY: Final = 50
"""More denied connections than this are told."""
_DENYING: Final = ("deny", "isolates")
_PAIR: Final = ("source_namespace", "source_workload", "destination_namespace", "destination_workload", "backend_port")
_SHOWN: Final = 3


def denying_policies(evidence: Evidence) -> Iterator[Finding]:
    """Policies that denied many connections of the history; nothing where a pod is asked about."""
    if evidence.pod is not None:
        return
    pairs = pl.concat([_denied(evidence, direction) for direction in ("egress", "ingress")]).collect()
    asked = [evidence.is_asked((row[0], row[1]), (row[2], row[3])) for row in pairs.select(_PAIR).iter_rows()]
    policy = ("direction", "kind", "namespace", "name")
    for keys, rows in pairs.filter(pl.Series(asked, dtype=pl.Boolean)).group_by(*policy, maintain_order=True):
        direction, kind, namespace, name = map(str, keys)
        total = int(rows["denied"].sum())
        if total <= MANY:
            continue
        follow = f"--from {rows['src_ip'][0]} --to {rows['backend_ip'][0]} --port {rows['backend_port'][0]}"
        yield Finding(
            CHECK,
            "warning",
            f"{kind} {full((namespace, name))} ({direction})",
            f"it denied {counted(total, 'connection')}",
            (
                *(
                    f"{row['denied']} of {full((row[_PAIR[0]], row[_PAIR[1]]))} to "
                    f"{full((row[_PAIR[2]], row[_PAIR[3]]))} port {row['backend_port']}"
                    for row in rows.head(_SHOWN).iter_rows(named=True)
                ),
                f"the last at {rows.select(pl.col('last').max().dt.strftime('%Y-%m-%d %H:%M:%S')).item()} UTC",
            ),
            f"flowatlas explain --state {evidence.state} {follow} --protocol {rows['protocol'][0]}",
        )


def _denied(evidence: Evidence, direction: str) -> pl.LazyFrame:
    """Denied connections by the policy that is responsible and the pair, the most first."""
    responsible = policies_of(pl.col("policy"))
    policy = ("kind", "namespace", "name")
    return (
        evidence.flows.filter(
            pl.col("role") == "canonical",
            pl.col("opened") > 0,
            pl.col(f"{direction}_verdict").cast(pl.String) == "denied",
        )
        .select(*_PAIR, "protocol", "src_ip", "backend_ip", "opened", "time", policy=pl.col(f"{direction}_policies"))
        .explode("policy")
        .with_columns(pl.col("policy").cast(pl.String))
        .with_columns(responsible.struct.field(part).alias(part) for part in ("effect", *policy))
        .filter(pl.col("effect").is_in(_DENYING))
        .group_by(*policy, *_PAIR, "protocol")
        .agg(
            denied=pl.col("opened").cast(pl.Int64).sum(),
            last=pl.col("time").max(),
            src_ip=pl.col("src_ip").cast(pl.String).last(),
            backend_ip=pl.col("backend_ip").cast(pl.String).last(),
        )
        .with_columns(pl.col(*_PAIR[:4]).cast(pl.String), direction=pl.lit(direction))
        .sort("denied", *policy, *_PAIR, descending=[True, *[False] * 8])
    )
