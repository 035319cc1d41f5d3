"""Who an end of a connection is to policies: pods alike in all that a selector asks for are one identity.

Labels and named ports that no policy mentions tell nobody apart, so cost grows with the kinds of pods that policies
know and not with the number of pods, however many labels of their own those have. The invariant: identity 0 is nobody,
which no selector selects.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from .profiles import NOBODY as NO_PROFILE
from .profiles import NamedPorts, Profile, Profiles
from .terms import NamedPort, Nodes, Peer, Pods, Policy, Selector

Mask = npt.NDArray[np.bool_]
Ids = npt.NDArray[np.uint32]
Labels = Mapping[str, str]

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
class Vocabulary:
    """What policies ask of pods and nodes: keys of labels, and names of ports."""

    keys: frozenset[str]
    port_names: frozenset[str]

    def reduced(self, profile: Profile) -> Profile:
        """The profile without what nobody asks for."""
        return Profile(
            profile.kind,
            profile.namespace,
            frozenset(label for label in profile.labels if label[0] in self.keys),
            tuple(port for port in profile.named_ports if port[0] in self.port_names),
        )


@dataclass(frozen=True)
class Identities:
    """The identities of one snapshot's endpoints."""

    of_endpoint: Ids
    """Identity by endpoint id."""
    of_profile: Ids
    """Identity by the number of a profile."""
    numbers: Mapping[Profile, int]
    """Identity of a reduced profile."""
    vocabulary: Vocabulary
    named_ports: tuple[NamedPorts, ...]
    """By identity: the named container ports that policies mention."""
    namespaces: Mapping[str, int]
    """The row of each namespace in `namespace_labels`; row 0 is no namespace."""
    is_pod: Mask
    """By identity: a pod that is not on its node's network, which policies can select."""
    is_node: Mask
    labels: LabelTable
    namespace_rows: Ids
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

    def following(self, profiles: Profiles) -> Identities | None:
        """The same identities for endpoints that have come since; None where one of them is a new identity."""
        new = [self.vocabulary.reduced(profile) for profile in profiles.distinct[self.of_profile.size :]]
        if any(profile not in self.numbers for profile in new):
            return None
        added = np.array([self.numbers[profile] for profile in new], dtype=np.uint32)
        of_profile = np.concatenate([self.of_profile, added])
        return replace(self, of_profile=of_profile, of_endpoint=of_profile[profiles.of_endpoint])


def vocabulary_of(policies: Sequence[Policy]) -> Vocabulary:
    """What the policies ask of pods and nodes."""
    peers = {rule.peers or frozenset() for policy in policies for rule in policy.rules}
    ports = {rule.ports or frozenset() for policy in policies for rule in policy.rules}
    terms = {policy.subject for policy in policies}.union(*peers)
    keys = {key for term in terms for key, _, _ in _labels_of(term)}
    port_names = {port.name for port in frozenset().union(*ports) if isinstance(port, NamedPort)}
    return Vocabulary(frozenset(keys), frozenset(port_names))


def _labels_of(term: Peer) -> Selector:
    """What a term asks of the labels of pods or nodes."""
    if isinstance(term, Pods):
        return term.pods
    return term.nodes if isinstance(term, Nodes) else ()


def identities_of(profiles: Profiles, vocabulary: Vocabulary, namespace_labels: Mapping[str, Labels]) -> Identities:
    """The identities of the endpoints. A namespace of which no labels are given has that of its name alone."""
    numbers: dict[Profile, int] = {NO_PROFILE: NOBODY}
    of_profile = np.array(
        [numbers.setdefault(vocabulary.reduced(profile), len(numbers)) for profile in profiles.distinct],
        dtype=np.uint32,
    )
    namespaces: Sequence[str] = sorted({profile.namespace for profile in numbers})
    namespace_row = {namespace: row for row, namespace in enumerate(namespaces)}
    return Identities(
        of_endpoint=of_profile[profiles.of_endpoint],
        of_profile=of_profile,
        numbers=numbers,
        vocabulary=vocabulary,
        named_ports=tuple(profile.named_ports for profile in numbers),
        namespaces=namespace_row,
        is_pod=np.array([profile.kind == "Pod" for profile in numbers]),
        is_node=np.array([profile.kind == "Node" for profile in numbers]),
        labels=LabelTable(dict(profile.labels) for profile in numbers),
        namespace_rows=np.array([namespace_row[profile.namespace] for profile in numbers], dtype=np.uint32),
        namespace_labels=LabelTable(
            {**namespace_labels.get(namespace, {}), NAMESPACE_NAME: namespace} for namespace in namespaces
        ),
    )
