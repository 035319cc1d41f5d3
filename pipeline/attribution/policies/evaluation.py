"""The evaluation of one direction, in columns: questions in, a verdict and the references of what decided it out.

Tiers are asked in order: the first matching rule of the admin tier decides or passes on; NetworkPolicy decides for all
that it isolates; then the first matching rule of the baseline tier. What nobody decides is let through.

A node always reaches the pods that it runs, or its kubelet could not probe them. Source: the API reference of
NetworkPolicySpec, which lets in what comes from the pod's local node, whatever rules there are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from .classes import Classes, Mask
from .lists import Ids, Positions
from .matcher import Matcher
from .side import Side
from .terms import Action, Tier

VERDICTS: Final = ("allowed", "denied", "unprotected", "not judged")
ALLOWED, DENIED, UNPROTECTED, NOT_JUDGED = range(4)

_MOST_CANDIDATES: Final = 2_000_000
"""Rules looked at in one go: what bounds memory."""


@dataclass(frozen=True)
class Questions:
    """Distinct questions to one side, in columns of one length."""

    subjects: Ids
    peers: Ids
    peer_classes: Classes
    port_classes: Classes
    points: npt.NDArray[np.uint32]
    destinations: Ids
    """Identity of the destination, on which named ports resolve."""
    from_own_node: Mask
    """What comes in from the node that the subject is on: no NetworkPolicy keeps it out."""

    def part(self, first: int, end: int) -> Questions:
        """Some of the questions."""
        return Questions(
            self.subjects[first:end],
            self.peers[first:end],
            self.peer_classes[first:end],
            self.port_classes[first:end],
            self.points[first:end],
            self.destinations[first:end],
            self.from_own_node[first:end],
        )


@dataclass(frozen=True)
class Answers:
    """A verdict (number of `VERDICTS`) a question, and rows that name a question and what was responsible, in order."""

    verdicts: npt.NDArray[np.uint8]
    positions: Positions
    references: Ids


def evaluate(side: Side, matcher: Matcher, questions: Questions) -> Answers:
    """Answer all questions, some at a time."""
    parts = [
        (first, _evaluate(side, matcher, questions.part(first, end)))
        for first, end in _chunks(side.rules_of.lengths(questions.subjects))
    ]
    return Answers(
        np.concatenate([np.array([], dtype=np.uint8), *(part.verdicts for _, part in parts)]),
        np.concatenate([np.array([], dtype=np.int64), *(part.positions + first for first, part in parts)]),
        np.concatenate([np.array([], dtype=np.uint32), *(part.references for _, part in parts)]),
    )


def _evaluate(side: Side, matcher: Matcher, questions: Questions) -> Answers:
    size = questions.subjects.size
    width = max(len(side.references), 1)
    asked, rules = side.rules_of.expand(questions.subjects)
    met_peer = matcher.match_peers(rules, questions.peers[asked], questions.peer_classes[asked])
    asked, rules = asked[met_peer], rules[met_peer]
    met = matcher.match_ports(
        rules, questions.port_classes[asked], questions.points[asked], questions.destinations[asked]
    )
    tiers = side.tier_of_rule[rules]

    verdicts = np.full(size, UNPROTECTED, dtype=np.uint8)
    verdicts[side.is_selected[questions.subjects]] = ALLOWED
    open_questions = np.ones(size, dtype=np.bool_)
    named: list[tuple[Positions, Ids]] = []

    def ask_in_order(tier: Tier) -> None:
        """Let the first match of a tier decide; a pass leaves the question open."""
        matched = np.flatnonzero(met & (tiers == tier) & open_questions[asked])
        first = matched[_is_first(asked[matched])]
        positions, deciding = asked[first], rules[first]
        actions = side.action_of_rule[deciding]
        verdicts[positions[actions == Action.ALLOW]] = ALLOWED
        verdicts[positions[actions == Action.DENY]] = DENIED
        open_questions[positions[actions != Action.PASS]] = False
        named.append((positions, deciding))

    ask_in_order(Tier.ADMIN)
    isolated = open_questions & (side.isolating.lengths(questions.subjects) > 0)
    allowing = np.flatnonzero(met & (tiers == Tier.NAMESPACE) & isolated[asked])
    first_of_policy = allowing[_is_first(asked[allowing] * width + side.policy_of_rule[rules[allowing]])]
    named.append((asked[first_of_policy], rules[first_of_policy]))
    denied = isolated & ~questions.from_own_node
    denied[asked[allowing]] = False
    verdicts[isolated] = ALLOWED
    verdicts[denied] = DENIED
    missed = np.flatnonzero(~met & (tiers == Tier.NAMESPACE) & denied[asked])
    named.append(_isolations(side, questions.subjects, denied, asked[missed], rules[missed]))
    open_questions &= ~isolated
    ask_in_order(Tier.BASELINE)

    unprotected = np.flatnonzero(verdicts == UNPROTECTED)
    positions, strangers = side.strangers.expand(questions.subjects[unprotected])
    verdicts[unprotected[positions]] = NOT_JUDGED
    named.append((unprotected[positions], strangers))
    positions = np.concatenate([part for part, _ in named])
    order = np.argsort(positions, kind="stable")
    return Answers(verdicts, positions[order], np.concatenate([part for _, part in named])[order])


def _isolations(side: Side, subjects: Ids, denied: Mask, missed: Positions, near: Ids) -> tuple[Positions, Ids]:
    """Every policy that isolates a denied question's subject, with its first rule that missed by the port alone."""
    denials = np.flatnonzero(denied)
    positions, policies = side.isolating.expand(subjects[denials])
    width = max(len(side.references), 1)
    keys = denials[positions] * width + policies
    near_keys = missed * width + side.policy_of_rule[near]
    first = _is_first(near_keys)
    near_keys, near = near_keys[first], near[first]
    references = (policies + side.isolations).astype(np.uint32)
    if near_keys.size:
        places = np.minimum(np.searchsorted(near_keys, keys), near_keys.size - 1)
        came_near = near_keys[places] == keys
        references[came_near] = near[places[came_near]] + side.near_misses
    return denials[positions], references


def _is_first(numbers: Positions) -> Mask:
    """Whether a number differs from the one before; of sorted numbers, whether it is the first of its kind."""
    first = np.ones(numbers.size, dtype=np.bool_)
    first[1:] = numbers[1:] != numbers[:-1]
    return first


def _chunks(lengths: Positions) -> Iterator[tuple[int, int]]:
    """Ranges of questions that are few enough rules together."""
    totals = np.cumsum(lengths)
    first = 0
    while first < lengths.size:
        before = totals[first - 1] if first else 0
        end = max(first + 1, int(np.searchsorted(totals, before + _MOST_CANDIDATES, side="right")))
        yield first, end
        first = end
