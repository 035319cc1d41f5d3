"""The frames of an Istio mesh: subsets of Services, the shares that routes give them, and what may be dialled in plain.

Pure functions of the current objects, in the form that `tracked` keeps over time. The invariant: pods are not here;
`attribution` finds those of a subset or of a PeerAuthentication by their labels.

Source: the reference of networking.istio.io DestinationRule and VirtualService, security.istio.io PeerAuthentication.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Final

import polars as pl

from .controllers import label_text
from .istio_models import DestinationRule, PeerAuthentication, VirtualService, VirtualServiceRule, service_of
from .models import Resource, namespace_of
from .tracked import Row, TrackedFrame

MESH_GATEWAY: Final = "mesh"
"""What `gateways` of a VirtualService calls the sidecars."""
ROOT_NAMESPACE: Final = "istio-system"
"""Where a PeerAuthentication without a selector is the whole mesh's."""

SUBSETS: Final = pl.Schema(
    {
        "service_namespace": pl.String(),
        "service": pl.String(),
        "subset": pl.String(),  # "" for the Service as a whole
        "labels": pl.String(),  # `controllers.label_text` of what its pods have
        "max_connections": pl.UInt32(),  # that one client may have open; 0 where it is not bounded
    }
)
SHARES: Final = pl.Schema(
    {
        "service_namespace": pl.String(),  # the Service that is dialled
        "service": pl.String(),
        "subset": pl.String(),
        "weight": pl.UInt32(),
        "total_weight": pl.UInt32(),  # of all subsets of the same rule
    }
)
AUTHENTICATIONS: Final = pl.Schema(
    {
        "namespace": pl.String(),  # "" for the whole mesh
        "labels": pl.String(),  # "" for every pod there
        "port": pl.UInt16(),  # 0 for every port that has no row of its own
        "mode": pl.String(),  # STRICT, PERMISSIVE, DISABLE
    }
)


def subset_rows(resources: Sequence[Resource]) -> list[Row]:
    """One row a subset, and one with an empty name a Service whose rule bounds its connections."""
    rows: list[Row] = []
    for rule in resources:
        if not isinstance(rule, DestinationRule):
            continue
        service = service_of(rule.spec.host, namespace_of(rule))
        if service is None or "*" in rule.spec.host:
            continue
        bound = (rule.spec.traffic_policy.max_connections if rule.spec.traffic_policy else None) or 0
        for subset in rule.spec.subsets or []:
            own = subset.traffic_policy.max_connections if subset.traffic_policy else None
            rows.append((*service, subset.name, label_text(subset.labels or {}), own or bound))
        if bound:
            rows.append((*service, "", "", bound))
    return sorted(rows)


def share_rows(resources: Sequence[Resource]) -> list[Row]:
    """The weights of each Service whose connections the mesh shares out by one rule alone.

    Where several rules match, by path or header, flows do not tell which one did; such a Service has no shares here,
    nor has one that several VirtualServices speak of.
    """
    rules: dict[tuple[str, str], list[VirtualServiceRule]] = defaultdict(list)
    for item in resources:
        if isinstance(item, VirtualService) and MESH_GATEWAY in (item.spec.gateways or [MESH_GATEWAY]):
            for host in item.spec.hosts or []:
                service = service_of(host, namespace_of(item))
                if service is not None and "*" not in host:
                    rules[service] += [*(item.spec.http or []), *(item.spec.tcp or [])]
    return sorted(row for service, found in rules.items() if len(found) == 1 for row in _shares(service, found[0]))


def _shares(service: tuple[str, str], rule: VirtualServiceRule) -> Iterator[tuple[str, str, str, int, int]]:
    """The weights of a rule all of whose targets are subsets of the Service itself."""
    weights: dict[str, int] = defaultdict(int)
    routes = rule.route or []
    for target in routes:
        if service_of(target.destination.host, service[0]) != service or not target.destination.subset:
            return
        weights[target.destination.subset] += _weight(target.weight, len(routes))
    total = sum(weights.values())
    if total and not any(match.headers for match in rule.match or []):
        yield from ((*service, subset, weight, total) for subset, weight in weights.items())


def _weight(written: int | None, targets: int) -> int:
    """A single target takes everything; among several, one without a weight takes nothing."""
    if written is not None:
        return written
    return 100 if targets == 1 else 0


def authentication_rows(resources: Sequence[Resource]) -> list[Row]:
    """What pods accept, by namespace, labels and port."""
    rows: list[Row] = []
    for item in resources:
        if not isinstance(item, PeerAuthentication):
            continue
        labels = label_text((item.spec.selector.match_labels if item.spec.selector else None) or {})
        namespace = namespace_of(item)
        where = "" if namespace == ROOT_NAMESPACE and not labels else namespace
        if item.spec.mtls and item.spec.mtls.mode != "UNSET":
            rows.append((where, labels, 0, item.spec.mtls.mode))
        for port, told in (item.spec.port_level_mtls or {}).items():
            if labels and told.mode != "UNSET" and port.isdigit():
                rows.append((where, labels, int(port), told.mode))
    return sorted(rows)


SUBSETS_FRAME: Final = TrackedFrame("mesh_subsets", SUBSETS, (DestinationRule,), subset_rows, "subset_id")
SHARES_FRAME: Final = TrackedFrame("mesh_shares", SHARES, (VirtualService,), share_rows)
AUTHENTICATIONS_FRAME: Final = TrackedFrame(
    "mesh_authentications", AUTHENTICATIONS, (PeerAuthentication,), authentication_rows
)
