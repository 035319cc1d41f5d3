"""Rules that other rules make moot: without them no connection of today's cluster would be judged otherwise.

Every question that a rule can be asked is tried: pods that are selected, by identity; peers, by identity and address
class as the cluster has them, and every address class from outside; ports, by class and by name. That is exact for the
cluster of now. The invariant: all rules found here can go at once, for a rule that is to go covers nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from ..attribution.policies import Policies
from ..attribution.policies.classes import point
from ..attribution.policies.engine import SIDES
from ..attribution.policies.identities import NOBODY
from ..attribution.policies.terms import Action, Direction, NamedPort, Tier
from ..inventory.snapshot import Snapshot

Ids = npt.NDArray[np.uint32]

SHADOWED: Final = "shadowed"
SELECTS_NOTHING: Final = "selects nothing"
TOO_MANY: Final = "not worked out"

SHADOWS: Final = pl.Schema(
    {
        "direction": pl.String(),
        "number": pl.UInt32(),
        "finding": pl.String(),  # SHADOWED, SELECTS_NOTHING, TOO_MANY; rules that matter have no row
        "shadowed_by": pl.List(pl.UInt32()),  # the rules that cover it between them
    }
)

MOST_QUESTIONS: Final = 200_000
"""Of one rule and one kind of pod; beyond it the answer is TOO_MANY."""


@dataclass(frozen=True)
class _Questions:
    """All that one kind of pod can be asked, in columns."""

    peers: Ids
    peer_classes: npt.NDArray[np.int64]
    points: npt.NDArray[np.uint32]
    port_classes: npt.NDArray[np.int64]
    destinations: Ids

    def at(self, mask: npt.NDArray[np.bool_]) -> _Questions:
        return _Questions(
            self.peers[mask],
            self.peer_classes[mask],
            self.points[mask],
            self.port_classes[mask],
            self.destinations[mask],
        )


def shadows(policies: Policies, snapshot: Snapshot) -> pl.DataFrame:
    """The rules that do nothing, `SHADOWS`."""
    rows = [row for direction in SIDES for row in _Direction(policies, direction, snapshot).rows()]
    return pl.DataFrame(rows, schema=SHADOWS, orient="row").sort("direction", "number")


class _Direction:
    """The search among the rules of one direction, from the last to the first."""

    def __init__(self, policies: Policies, direction: Direction, snapshot: Snapshot) -> None:
        self._direction: Direction = direction
        self._side, self._matcher = policies.side(direction), policies.matcher(direction)
        self._named_ports = policies.identities.named_ports
        held = snapshot.addresses.select("endpoint_id", "addr_hi", "addr_lo").unique()
        identities = policies.identities.of_endpoint[held["endpoint_id"].to_numpy()]
        classes = self._matcher.addresses.of(held["addr_hi"].to_numpy(), held["addr_lo"].to_numpy())
        outside = np.arange(self._matcher.addresses.count, dtype=np.int64)
        pairs = np.unique(
            np.stack([np.append(identities, np.full(outside.size, NOBODY)), np.append(classes, outside)]), axis=1
        )
        self._peers, self._peer_classes = pairs[0].astype(np.uint32), pairs[1].astype(np.int64)
        self._points = self._distinct_points()
        self._gone = np.zeros(len(self._side.rules), dtype=np.bool_)

    def rows(self) -> list[tuple[str, int, str, list[int]]]:
        """One row a rule that does nothing."""
        subjects_of: dict[int, list[int]] = {}
        for subject in range(self._side.is_selected.size):
            for rule in self._rules_of(subject):
                subjects_of.setdefault(int(rule), []).append(subject)
        found: list[tuple[str, int, str, list[int]]] = []
        for rule in reversed(range(len(self._side.rules))):
            finding, covering = self._judge(rule, subjects_of.get(rule, []))
            if finding:
                found.append((self._direction, rule, finding, covering))
                self._gone[rule] = finding != TOO_MANY
        return found

    def _judge(self, rule: int, subjects: Sequence[int]) -> tuple[str, list[int]]:
        covering: set[int] = set()
        tried: set[tuple[object, ...]] = set()
        is_asked = False
        for subject in subjects:
            others = self._rules_of(subject)
            isolating = self._side.isolating
            is_isolated = isolating.offsets[subject + 1] > isolating.offsets[subject]
            key = (others.tobytes(), is_isolated, subject if self._depends_on_subject(others) else NOBODY)
            if key in tried:
                continue
            tried.add(key)
            asked = self._asked(rule, subject)
            if asked is None:
                return TOO_MANY, []
            if asked.peers.size == 0:
                continue
            is_asked = True
            if is_isolated and self._side.tier_of_rule[rule] == Tier.BASELINE:
                continue  # whatever comes this far, NetworkPolicies have settled
            used = self._covering(rule, others, asked)
            if used is None:
                return "", []
            covering |= used
        return (SHADOWED, sorted(covering)) if is_asked else (SELECTS_NOTHING, [])

    def _rules_of(self, subject: int) -> Ids:
        rules_of = self._side.rules_of
        return rules_of.items[rules_of.offsets[subject] : rules_of.offsets[subject + 1]]

    def _asked(self, rule: int, subject: int) -> _Questions | None:
        """The questions of a subject that a rule matches; None where they are too many."""
        rules = np.full(self._peers.size, rule, dtype=np.uint32)
        met = self._matcher.match_peers(rules, self._peers, self._peer_classes)
        peers, classes = self._peers[met], self._peer_classes[met]
        if peers.size * self._points.size > MOST_QUESTIONS * 10:
            return None
        places, ports = np.divmod(np.arange(peers.size * self._points.size), self._points.size)
        points = self._points[ports]
        destinations = peers[places] if self._direction == "egress" else np.full(places.size, subject, dtype=np.uint32)
        whole = _Questions(peers[places], classes[places], points, self._matcher.ports.of(points), destinations)
        matched = self._matcher.match_ports(
            np.full(points.size, rule, dtype=np.uint32), whole.port_classes, points, destinations
        )
        asked = whole.at(matched)
        return asked if asked.peers.size <= MOST_QUESTIONS else None

    def _covering(self, rule: int, others: Ids, asked: _Questions) -> set[int] | None:
        """The rules that settle all questions without this one; None where some are left."""
        left = np.ones(asked.peers.size, dtype=np.bool_)
        used: set[int] = set()
        tier = self._side.tier_of_rule[rule]
        passed = np.zeros(asked.peers.size, dtype=np.bool_)
        for other in others:
            if other == rule or self._gone[other]:
                continue
            other_tier, action = self._side.tier_of_rule[other], self._side.action_of_rule[other]
            if other_tier > tier or (tier != Tier.NAMESPACE and other_tier == tier and other > rule):
                continue
            if tier == Tier.BASELINE and other_tier == Tier.NAMESPACE:
                continue  # of a pod that is not isolated there are none
            met = left & self._matches(int(other), asked)
            if other_tier == Tier.ADMIN and tier != Tier.ADMIN:
                met &= ~passed
                if action == Action.PASS:
                    passed |= met
                    continue
            if met.any():
                used.add(int(other))
                left &= ~met
        return None if left.any() else used

    def _matches(self, rule: int, asked: _Questions) -> npt.NDArray[np.bool_]:
        rules = np.full(asked.peers.size, rule, dtype=np.uint32)
        met = self._matcher.match_peers(rules, asked.peers, asked.peer_classes)
        met &= self._matcher.match_ports(rules, asked.port_classes, asked.points, asked.destinations)
        return met

    def _depends_on_subject(self, rules: Ids) -> bool:
        """Whether ports are found by name at the subject itself."""
        if self._direction == "egress":
            return False
        return any(isinstance(term, NamedPort) for rule in rules for term in self._side.rules[rule].ports or ())

    def _distinct_points(self) -> npt.NDArray[np.uint32]:
        """One port of every class, and every port that has a name somewhere."""
        named = [point(protocol, port) for ports in self._named_ports for _, protocol, port in ports]
        behind = [number + 1 for number in named]  # a class that begins with a named port may go on without the name
        return np.unique(np.concatenate([self._matcher.ports.firsts(), np.array([*named, *behind], dtype=np.uint32)]))
