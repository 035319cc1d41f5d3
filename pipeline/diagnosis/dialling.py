"""Service addresses that a node does not translate: kube-proxy's rules, or what stands in their place, are missing.

A connection that egress policies drop leaves before it is translated too, so clients that any egress policy selects
testify to nothing here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import polars as pl

from ..inventory.models import Pod, namespace_of
from ..policy.parties import namespaces_of, party_of
from ..policy.wording import selects
from .evidence import Evidence, full
from .finding import Finding

CHECK: Final = "dialling"
ATTEMPTS: Final = 3
"""So many connections, none of which came to a backend, are told."""


def untranslated(evidence: Evidence) -> Iterator[Finding]:
    """Services with ready endpoints that no connection from a node reaches, by node."""
    free = evidence.connections.join(
        _selected_for_egress(evidence), on=["source_namespace", "source_name"], how="anti", maintain_order="left"
    ).filter(pl.col("source_node") != "", pl.col("source_kind") == "Pod")
    ends = ("service_namespace", "service", "service_port")
    nodes = (
        free.group_by(*ends, "source_node")
        .agg(
            tried=pl.col("opened").sum(),
            reached=pl.col("reached").sum(),
            last=pl.col("last").max(),
            clients=pl.concat_str("source_namespace", pl.lit("/"), "source_workload").unique().sort(),
        )
        .sort(*ends, "source_node")
    )
    asked = {name for name, _ in evidence.services()}
    for row in nodes.filter((pl.col("reached") == 0) & (pl.col("tried") >= ATTEMPTS)).iter_rows(named=True):
        name, port = (row["service_namespace"], row["service"]), row["service_port"]
        ready = evidence.cluster.ready.get((*name, port), 0)
        if name not in asked or not ready:
            continue
        others = nodes.filter(
            pl.col("source_node") != row["source_node"],
            pl.col("reached") > 0,
            service_namespace=name[0],
            service=name[1],
            service_port=port,
        )
        yield Finding(
            CHECK,
            "error",
            f"Service {full(name)} port {port} on node {row['source_node']}",
            "nobody answers at its address although endpoints are ready: the node does not translate it",
            (
                f"{row['tried']} connections of {', '.join(row['clients'][:3])}, none translated or answered; the last "
                f"at {row['last']:%Y-%m-%d %H:%M:%S} UTC",
                f"ready endpoints: {ready}",
                f"from {', '.join(others['source_node'])} it works" if others.height else "no other node reached it",
            ),
            f"kubectl -n kube-system get pods -o wide --field-selector spec.nodeName={row['source_node']}",
        )


def _selected_for_egress(evidence: Evidence) -> pl.DataFrame:
    """Pods that a policy selects for egress, by `source_namespace` and `source_name`."""
    cluster = evidence.cluster
    policies = [policy for policy in cluster.policies.written if policy.direction == "egress"]
    namespaces = namespaces_of(cluster.objects)
    found = []
    for number, subject in enumerate(cluster.snapshot.subjects):
        if isinstance(subject, Pod) and subject.status.pod_ip is not None:
            party = party_of(cluster.snapshot, number, subject.status.pod_ip.address, namespaces)
            if any(selects(policy.subject, party).met for policy in policies):
                found.append((namespace_of(subject), subject.metadata.name))
    return pl.DataFrame(found, schema={"source_namespace": pl.String, "source_name": pl.String}, orient="row")
