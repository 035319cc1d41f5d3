"""Who an end of a connection is to policies: pods alike in namespace, labels and named ports are one identity.

Endpoints map to identities, and a selector becomes one truth value an identity, so that cost grows with the kinds of
pods and not with their number. The invariant: identity 0 is nobody, which no selector selects.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from ...inventory.models import Namespace, Node, Pod, Resource, identity_of
from ...inventory.snapshot import Snapshot
from ..flowfile import PROTOCOL_NUMBERS
from .terms import Nodes, Pods, Selector

Mask = npt.NDArray[np.bool_]
Labels = Mapping[str, str]
NamedPorts = tuple[tuple[str, int, int], ...]
"""Name, protocol and number of each container port that has a name."""

NOBODY: Final = 0
NAMESPACE_NAME: Final = "kubernetes.io/metadata.name"
"""The label that the API server puts on every Namespace."""


class LabelTable:
    """Label sets by number, and which of them a selector selects."""

    def __init__(self, label_sets: Iterable[Labels]) -> None:
        self._size = 0
        having: dict[tuple[str, str | None], list[int]] = {}
        for row, labels in enumerate(label_sets):
            self._size = row + 1
            for key, value in labels.items():
                having.setdefault((key, None), []).append(row)
                having.setdefault((key, value), []).append(row)
        self._having = having

    def select(self, selector: Selector) -> Mask:
        """Which label sets meet all requirements. NotIn is met where the key is absent."""
        selected = np.ones(self._size, dtype=np.bool_)
        for key, operator, values in selector:
            wanted = [(key, value) for value in values] if operator in {"In", "NotIn"} else [(key, None)]
            met = np.zeros(self._size, dtype=np.bool_)
            for want in wanted:
                met[self._having.get(want, [])] = True
            selected &= met if operator in {"In", "Exists"} else ~met
        return selected


@dataclass(frozen=True)
class Identities:
    """The identities of one snapshot's endpoints."""

    of_endpoint: npt.NDArray[np.uint32]
    """Identity by endpoint id."""
    named_ports: tuple[NamedPorts, ...]
    """By identity: the named container ports."""
    namespaces: Mapping[str, int]
    """The row of each namespace in `namespace_labels`; row 0 is no namespace."""
    is_pod: Mask
    """By identity: a pod that is not on its node's network, which policies can select."""
    is_node: Mask
    labels: LabelTable
    namespace_rows: npt.NDArray[np.uint32]
    """By identity: the row of its namespace."""
    namespace_labels: LabelTable

    def select(self, term: Pods | Nodes) -> Mask:
        """Which identities a term selects."""
        if isinstance(term, Nodes):
            return self.is_node & self.labels.select(term.nodes)
        inside = self.namespace_labels.select(term.namespaces)[self.namespace_rows]
        if term.namespace is not None:
            inside &= self.namespace_rows == self.namespaces.get(term.namespace, NOBODY)
        return self.is_pod & inside & self.labels.select(term.pods)


def identities_of(snapshot: Snapshot, objects: Iterable[Resource]) -> Identities:
    """The identities of the snapshot's endpoints, by the labels and ports of the objects that it was built from.

    A hostNetwork pod is its node. A namespace without an object of its own has the label of its name alone.
    """
    resources = {identity_of(item): item for item in objects}
    rows: dict[tuple[str, str, frozenset[tuple[str, str]], NamedPorts], int] = {("", "", frozenset(), ()): NOBODY}
    of_endpoint = np.zeros(snapshot.endpoints.height, dtype=np.uint32)
    ends = snapshot.endpoints.filter(pl.col("kind").is_in(["Node", "Pod"])).select("id", "kind", "namespace", "name")
    for number, kind, namespace, name in ends.iter_rows():
        found = resources.get((kind, namespace, name))
        if isinstance(found, Pod) and found.spec.host_network:
            found = resources.get(("Node", "", found.spec.node_name or ""))
        if isinstance(found, Pod):
            key = ("Pod", namespace, _label_set(found), _named_ports(found))
        elif isinstance(found, Node):
            key = ("Node", "", _label_set(found), ())
        else:
            continue
        of_endpoint[number] = rows.setdefault(key, len(rows))
    namespaces = sorted({namespace for _, namespace, _, _ in rows})
    namespace_row = {namespace: row for row, namespace in enumerate(namespaces)}
    return Identities(
        of_endpoint=of_endpoint,
        named_ports=tuple(ports for *_, ports in rows),
        namespaces=namespace_row,
        is_pod=np.array([kind == "Pod" for kind, *_ in rows]),
        is_node=np.array([kind == "Node" for kind, *_ in rows]),
        labels=LabelTable(dict(labels) for _, _, labels, _ in rows),
        namespace_rows=np.array([namespace_row[namespace] for _, namespace, _, _ in rows], dtype=np.uint32),
        namespace_labels=LabelTable(_namespace_labels(resources, namespace) for namespace in namespaces),
    )


def _label_set(item: Pod | Node) -> frozenset[tuple[str, str]]:
    return frozenset((item.metadata.labels or {}).items())


def _named_ports(pod: Pod) -> NamedPorts:
    ports = (port for container in pod.spec.containers or () for port in container.ports or ())
    return tuple(
        sorted({(port.name, PROTOCOL_NUMBERS[port.protocol], port.container_port) for port in ports if port.name})
    )


def _namespace_labels(resources: Mapping[tuple[str, str, str], Resource], name: str) -> Labels:
    found = resources.get(("Namespace", "", name))
    labels = (found.metadata.labels if isinstance(found, Namespace) else None) or {}
    return {**labels, NAMESPACE_NAME: name}
