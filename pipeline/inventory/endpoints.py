"""Whatever can be an end of a connection: nodes, pods, Services, the outside and the unknown, numbered.

An endpoint's id is its row number. The first two rows are the same in every snapshot.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import polars as pl

from .cilium_nodes import CiliumNode
from .claims import Claim, cilium_claims, node_claims, pod_claims, service_claims, standing
from .collected import has_collector
from .identities import identity_of
from .models import Node, Pod, Resource, Service
from .owners import Owners, owners_of, workload_of
from .spans import ALWAYS, BEGINNING, SPAN

OUTSIDE: Final = 0
"""Id of the one endpoint that stands for everything beyond the cluster."""
UNKNOWN: Final = 1
"""Id of the one endpoint that stands for addresses of the cluster that nothing holds, or that two hold alike."""
_FIRST_NODE: Final = 2

KINDS: Final[pl.Enum] = pl.Enum(["External", "Unknown", "Node", "Pod", "Service"])

ENDPOINTS: Final = pl.Schema(
    {
        "id": pl.UInt32(),
        "kind": KINDS,
        "namespace": pl.String(),  # "" where it has none, as in every text column here
        "name": pl.String(),
        "workload_kind": pl.String(),
        "workload": pl.String(),
        "node": pl.String(),
        "zone": pl.String(),
        "region": pl.String(),
        "uid": pl.String(),
        "is_collected": pl.Boolean(),  # false of a Node without a collector, and of what is on it
    }
)
ADDRESSES: Final = pl.Schema(
    {
        "addr_hi": pl.UInt64(),
        "addr_lo": pl.UInt64(),
        "endpoint_id": pl.UInt32(),  # UNKNOWN where equally good claims disagree
        **SPAN,  # an address has one holder at a time
        "seen": pl.Int64(),  # when the cluster said so: at or after `since`, for a pod speaks before its status tells
    }
)

EndpointRow = tuple[str | bool, ...]
"""The columns of `ENDPOINTS` behind the id."""

_ZONE_LABELS: Final = ("topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone")
_REGION_LABELS: Final = ("topology.kubernetes.io/region", "failure-domain.beta.kubernetes.io/region")
FIXED_ROWS: Final = (
    ("External", "", "outside", "External", "outside", "", "", "", "", True),
    ("Unknown", "", "unknown", "Unknown", "unknown", "", "", "", "", True),
)


@dataclass(frozen=True)
class Roster:
    """The objects that are endpoints, in the order of their ids: nodes, pods, Services, each by namespace and name.

    A node that only pods or its CNI speak of is a node too: a dump of one namespace holds no Node objects.
    """

    node_names: Sequence[str]
    nodes: Sequence[Node]
    pods: Sequence[Pod]
    services: Sequence[Service]
    cilium_nodes: Sequence[CiliumNode] = ()
    """No endpoints of their own: what is told of those nodes beside the Nodes themselves."""

    @property
    def first_pod(self) -> int:
        """Id of the first pod."""
        return _FIRST_NODE + len(self.node_names)

    @property
    def first_service(self) -> int:
        """Id of the first Service."""
        return self.first_pod + len(self.pods)


def roster_of(resources: Iterable[Resource]) -> Roster:
    """Sort out the endpoints among resources of distinct identity."""
    ordered = sorted(resources, key=identity_of)
    nodes = [item for item in ordered if isinstance(item, Node)]
    pods = [item for item in ordered if isinstance(item, Pod)]
    services = [item for item in ordered if isinstance(item, Service)]
    noted = [item for item in ordered if isinstance(item, CiliumNode)]
    names = {node.metadata.name for node in nodes} | {node.metadata.name for node in noted}
    names |= {pod.spec.node_name for pod in pods if pod.spec.node_name}
    return Roster(sorted(names), nodes, pods, services, noted)


def endpoints_frame(roster: Roster, resources: Iterable[Resource]) -> pl.DataFrame:
    """One row an endpoint, by `ENDPOINTS`. `resources` hold the ReplicaSets and Jobs above the pods too."""
    nodes = {node.metadata.name: node for node in roster.nodes}
    owners = owners_of(resources)
    rows: list[EndpointRow] = list(FIXED_ROWS)
    rows += [node_row(name, nodes.get(name)) for name in roster.node_names]
    rows += [pod_row(pod, owners, nodes.get(pod.spec.node_name or "")) for pod in roster.pods]
    rows += [service_row(service) for service in roster.services]
    return pl.DataFrame([(number, *row) for number, row in enumerate(rows)], schema=ENDPOINTS, orient="row")


def node_row(name: str, node: Node | None) -> EndpointRow:
    """The endpoint of a node; None where its object is not known."""
    place, uid = (_place(node), node.metadata.uid or "") if node else (("", ""), "")
    return ("Node", "", name, "Node", name, name, *place, uid, has_collector(node))


def pod_row(pod: Pod, owners: Owners, node: Node | None) -> EndpointRow:
    """The endpoint of a pod; `node` is the one that it is on, where known."""
    place = _place(node) if node else ("", "")
    uid = pod.metadata.uid or ""
    name = pod.spec.node_name or ""
    return (*identity_of(pod), *workload_of(pod, owners), name, *place, uid, has_collector(node))


def service_row(service: Service) -> EndpointRow:
    """The endpoint of a Service."""
    return (*identity_of(service), "Service", service.metadata.name, "", "", "", service.metadata.uid or "", True)


def subjects_of(roster: Roster) -> list[Node | Pod | Service | None]:
    """The object of each endpoint by id; None where it is none, or not known."""
    nodes = {node.metadata.name: node for node in roster.nodes}
    fixed = [None] * len(FIXED_ROWS)
    return [*fixed, *(nodes.get(name) for name in roster.node_names), *roster.pods, *roster.services]


def addresses_frame(roster: Roster) -> pl.DataFrame:
    """One row an address and who holds it, by `ADDRESSES`."""
    node_ids = {name: number for number, name in enumerate(roster.node_names, start=_FIRST_NODE)}
    claims: list[Claim] = []
    for node in roster.nodes:
        claims += node_claims(node, node_ids[node.metadata.name])
    for noted in roster.cilium_nodes:
        claims += cilium_claims(noted, node_ids[noted.metadata.name])
    for number, pod in enumerate(roster.pods, start=roster.first_pod):
        claims += pod_claims(pod, number, node_ids)
    for number, service in enumerate(roster.services, start=roster.first_service):
        claims += service_claims(service, number)
    rows = [(*address, endpoint, *ALWAYS, BEGINNING) for address, endpoint in standing(claims, UNKNOWN).items()]
    return pl.DataFrame(rows, schema=ADDRESSES, orient="row")


def _place(node: Node) -> tuple[str, str]:
    """Zone and region of a node."""
    labels = node.metadata.labels or {}
    return _first(labels, _ZONE_LABELS), _first(labels, _REGION_LABELS)


def _first(labels: Mapping[str, str], keys: Sequence[str]) -> str:
    return next((labels[key] for key in keys if key in labels), "")
