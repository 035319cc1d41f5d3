"""What policies can know of each endpoint: kind, namespace, labels and named ports, numbered, whatever policies ask.

It grows with the snapshots of one numbering and forgets nothing. The invariant: what an endpoint id means to policies
never changes; an endpoint whose labels change has a new id, and so has a pod on its node's network when the node's do.
Only what was not known yet may come to be known.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import chain
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from ...inventory.models import Node, Pod, Resource, namespace_of
from ...inventory.snapshot import Snapshot
from ..flowfile import PROTOCOL_NUMBERS

Labels = frozenset[tuple[str, str]]
NamedPorts = tuple[tuple[str, int, int], ...]
"""Name, protocol and number of each container port that has a name."""
_Waiting = tuple[int, str, str]
"""An endpoint's id, its kind, and the name of the Node that it is."""


class Profile(NamedTuple):
    """What tells endpoints apart for policies."""

    kind: str
    namespace: str
    labels: Labels
    named_ports: NamedPorts


NOBODY: Final = Profile("", "", frozenset(), ())
"""Whatever is no pod and no node. It is profile 0."""


class Profiles:
    """The profile of each endpoint of one numbering."""

    def __init__(self) -> None:
        self.distinct: list[Profile] = [NOBODY]
        self._numbers: dict[Profile, int] = {NOBODY: 0}
        self._of_endpoint = np.zeros(0, dtype=np.uint32)
        self._nodes: dict[str, int] = {}
        """By name, the profile that a Node had last."""
        self._waiting: list[_Waiting] = []
        """Nodes that are not known yet, and pods on the network of such, in order."""

    @property
    def of_endpoint(self) -> npt.NDArray[np.uint32]:
        """The number of the profile by endpoint id. Replaced, never changed in place."""
        return self._of_endpoint

    def see(self, snapshot: Snapshot) -> bool:
        """Take in the endpoints that are new. True where one that was there before has come to be known."""
        first, end = self._of_endpoint.size, snapshot.endpoints.height
        if first == end and not self._waiting:
            return False
        new = zip(range(first, end), *snapshot.endpoints.slice(first).select("kind", "name"), strict=True)
        grown = np.concatenate([self._of_endpoint, np.zeros(end - first, dtype=np.uint32)])
        before, waiting = self._waiting, defaultdict[str, list[_Waiting]](list)
        for number, kind, name in chain(before, new):
            subject = _subject(snapshot.subjects, number)
            if isinstance(subject, Node):
                self._nodes[name] = self._number(_of_node(subject))
                grown[[number, *(other for other, _, _ in waiting.pop(name, ()))]] = self._nodes[name]
            elif isinstance(subject, Pod) and not subject.spec.host_network:
                grown[number] = self._number(_of_pod(subject))
            elif isinstance(subject, Pod) and (on := subject.spec.node_name or "") in self._nodes:
                grown[number] = self._nodes[on]
            elif isinstance(subject, Pod):
                waiting[on].append((number, kind, on))
            elif kind == "Node":
                waiting[name].append((number, kind, name))
        self._of_endpoint, self._waiting = grown, sorted(chain.from_iterable(waiting.values()))
        return sum(number < first for number, _, _ in self._waiting) < len(before)

    def _number(self, profile: Profile) -> int:
        number = self._numbers.setdefault(profile, len(self.distinct))
        if number == len(self.distinct):
            self.distinct.append(profile)
        return number


def _subject(subjects: Sequence[Resource | None], number: int) -> Resource | None:
    return subjects[number] if number < len(subjects) else None


def _of_node(node: Node) -> Profile:
    return Profile("Node", "", frozenset((node.metadata.labels or {}).items()), ())


def _of_pod(pod: Pod) -> Profile:
    return Profile("Pod", namespace_of(pod), frozenset((pod.metadata.labels or {}).items()), named_ports_of(pod))


def named_ports_of(pod: Pod) -> NamedPorts:
    """The ports that a pod names, in order, each once."""
    ports = pod.spec.ports
    return tuple(
        sorted({(port.name, PROTOCOL_NUMBERS[port.protocol], port.container_port) for port in ports if port.name})
    )
