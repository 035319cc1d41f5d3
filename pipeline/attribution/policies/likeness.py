"""Which ends and ports a set of policies cannot tell apart, though labels tell them apart.

A source is what the egress policies that select it are, and what the peers of ingress rules make of it; a destination
the other way round, with its named ports. So there are as many kinds as policies make, and not as there are workloads:
where peers are whole namespaces, sources are namespaces. The invariant: for two ends of one kind, in the same place of
two connections otherwise alike, every rule and every answer is the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..keyindex import distinct
from .classes import PortClasses
from .identities import Identities
from .lists import Ids, distinct_lists
from .matcher import Matcher
from .side import Side
from .terms import Direction, Ports


@dataclass(frozen=True)
class Likeness:
    """Kinds of ends by identity, and classes of ports."""

    sources: Ids
    destinations: Ids
    ports: PortClasses
    """Of both directions, with every port that has a name somewhere as a class of its own."""


def likeness_of(
    identities: Identities, sides: Mapping[Direction, Side], matchers: Mapping[Direction, Matcher]
) -> Likeness:
    """What policies compiled for these identities cannot tell apart."""
    named = {ports: number for number, ports in enumerate(dict.fromkeys(identities.named_ports))}
    names = np.array([named[ports] for ports in identities.named_ports], dtype=np.uint64)
    points = {(protocol, number) for ports in named for _, protocol, number in ports}
    ranges = [term for matcher in matchers.values() for term in matcher.port_ranges]
    return Likeness(
        sources=_numbered(_subjects(sides["egress"]), matchers["ingress"].peers_alike()),
        destinations=_numbered(_subjects(sides["ingress"]), matchers["egress"].peers_alike(), names),
        ports=PortClasses([*ranges, *(Ports(protocol, number, number) for protocol, number in points)]),
    )


def _subjects(side: Side) -> npt.NDArray[np.int64]:
    """By identity: a number of the policies that select it and of those that may."""
    kinds = np.zeros(side.is_selected.size, dtype=np.uint8)
    selected, strangers = (distinct_lists(kinds, lists)[0] for lists in (side.selecting, side.strangers))
    return distinct([selected.astype(np.uint64), strangers.astype(np.uint64)])[0]


def _numbered(*parts: npt.NDArray[np.integer]) -> Ids:
    return distinct([part.astype(np.uint64) for part in parts])[0].astype(np.uint32)
