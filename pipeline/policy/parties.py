"""Who an end of one connection is to policies, as an object that can be asked: labels, namespace, ports, address.

The engine answers for many at a time in tables; this is for one, to be able to say why. The invariant: a pod on its
node's network is its node here too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from ..attribution.policies.identities import NAMESPACE_NAME
from ..attribution.policies.profiles import named_ports_of
from ..inventory.addresses import Address
from ..inventory.models import Namespace, Node, Pod, Resource, namespace_of
from ..inventory.snapshot import Snapshot

Labels = Mapping[str, str]


@dataclass(frozen=True)
class Party:
    """One end. `kind` is Pod, Node, or "" of all that is an address alone."""

    text: str
    """What people call it: `Pod shop/web-1`."""
    address: Address
    kind: str = ""
    namespace: str = ""
    labels: Labels = field(default_factory=dict)
    namespace_labels: Labels = field(default_factory=dict)
    named_ports: tuple[tuple[str, int, int], ...] = ()
    """Name, protocol and number."""
    endpoint_id: int = 0
    node: str = ""
    """The node that it is, or is on."""

    @property
    def is_pod(self) -> bool:
        """Whether policies can select it."""
        return self.kind == "Pod"


def namespaces_of(objects: Iterable[Resource]) -> dict[str, Labels]:
    """The labels of the namespaces that have an object."""
    return {item.metadata.name: item.metadata.labels or {} for item in objects if isinstance(item, Namespace)}


def party_of(snapshot: Snapshot, endpoint_id: int, address: Address, namespaces: Mapping[str, Labels]) -> Party:
    """The end with this endpoint id and address."""
    subject = snapshot.subjects[endpoint_id] if endpoint_id < len(snapshot.subjects) else None
    row = snapshot.endpoints.row(endpoint_id, named=True)
    name = f"{row['namespace']}/{row['name']}" if row["namespace"] else row["name"]
    text, on = f"{row['kind']} {name}", row["node"]
    if isinstance(subject, Pod) and subject.spec.host_network:
        node = _node_of(snapshot, subject, endpoint_id)
        text += f", on the network of Node {subject.spec.node_name}"
        if node is None:
            return Party(text, address, endpoint_id=endpoint_id)
        return Party(text, address, "Node", labels=node.metadata.labels or {}, endpoint_id=endpoint_id, node=on)
    if isinstance(subject, Node):
        return Party(text, address, "Node", labels=subject.metadata.labels or {}, endpoint_id=endpoint_id, node=on)
    if isinstance(subject, Pod):
        namespace = namespace_of(subject)
        return Party(
            text,
            address,
            "Pod",
            namespace,
            subject.metadata.labels or {},
            {**namespaces.get(namespace, {}), NAMESPACE_NAME: namespace},
            named_ports_of(subject),
            endpoint_id,
            on,
        )
    return Party(text if row["kind"] == "Node" else f"{text} ({address})", address, endpoint_id=endpoint_id)


def _node_of(snapshot: Snapshot, pod: Pod, endpoint_id: int) -> Node | None:
    """The Node that a pod is on, with the labels that it had for the pod: where those change, both have new ids."""

    def named(subjects: Iterable[Resource | None]) -> Iterator[Node]:
        nodes = (item for item in subjects if isinstance(item, Node))
        return (node for node in nodes if node.metadata.name == pod.spec.node_name)

    subjects = snapshot.subjects
    return next(named(reversed(subjects[:endpoint_id])), None) or next(named(subjects[endpoint_id:]), None)
