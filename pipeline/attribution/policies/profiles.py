"""What policies can know of each endpoint: kind, namespace, labels and named ports, numbered, whatever policies ask.

It grows with the snapshots of one numbering and forgets nothing. The invariant: what an endpoint id means to policies
never changes; an endpoint whose labels change has a new id. Only what was not known yet may come to be known.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from ...inventory.models import Node, Pod, Resource, namespace_of
from ...inventory.snapshot import Snapshot
from ..flowfile import PROTOCOL_NUMBERS

Labels = frozenset[tuple[str, str]]
NamedPorts = tuple[tuple[str, int, int], ...]
"""Name, protocol and number of each container port that has a name."""


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
        self._waiting: dict[int, str] = {}
        """Endpoints that are a Node that is not known yet, by its name: nodes themselves, and pods on their network."""

    @property
    def of_endpoint(self) -> npt.NDArray[np.uint32]:
        """The number of the profile by endpoint id. Replaced, never changed in place."""
        return self._of_endpoint

    def see(self, snapshot: Snapshot) -> bool:
        """Take in the endpoints that are new. True where one that was there before has come to be known."""
        first, end = self._of_endpoint.size, snapshot.endpoints.height
        if first == end and not self._waiting:
            return False
        subjects = snapshot.subjects
        names: Sequence[str] = snapshot.endpoints["name"].slice(first).to_list()
        kinds: Sequence[str] = snapshot.endpoints["kind"].slice(first).to_list()
        for kind, name, number in zip(kinds, names, range(first, end), strict=True):
            if kind == "Node":
                self._waiting[number] = name
        for number in [*self._waiting, *range(first, end)]:
            if isinstance(subject := _subject(subjects, number), Node):
                self._nodes[subject.metadata.name] = self._number(_of_node(subject))
        grown = np.concatenate([self._of_endpoint, np.zeros(end - first, dtype=np.uint32)])
        for number in range(first, end):
            if isinstance(subject := _subject(subjects, number), Pod):
                if subject.spec.host_network:
                    self._waiting[number] = subject.spec.node_name or ""
                else:
                    grown[number] = self._number(_of_pod(subject))
        known = {number: self._nodes[name] for number, name in self._waiting.items() if name in self._nodes}
        for number, profile in known.items():
            grown[number] = profile
            del self._waiting[number]
        self._of_endpoint = grown
        return any(number < first for number in known)

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
