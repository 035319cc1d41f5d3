"""One direction of all policies, compiled: who selects whom, the rules in the order in which they are asked, and names.

The invariant: rules are numbered in the order of precedence (tier, priority, name, place in the policy), so the first
match is the smallest number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from .classes import Mask
from .identities import Identities
from .lists import Ids, Lists, lists_of
from .strangers import Stranger
from .terms import Action, Pods, Policy, Rule, Tier

EFFECTS: Final = {Action.ALLOW: "allow", Action.DENY: "deny", Action.PASS: "pass"}

REFERENCES: Final = pl.Schema(
    {
        "kind": pl.String(),
        "namespace": pl.String(),  # null where cluster-wide
        "name": pl.String(),
        "rule": pl.String(),
        "effect": pl.String(),
        "near_miss_rule": pl.String(),
    }
)
"""What an answer can name: a policy, its rule, and what that did."""


@dataclass(frozen=True)
class Side:
    """One direction. References number rules, rules as near misses, policies, and strangers, in this order."""

    rules: Sequence[Rule]
    policy_of_rule: Ids
    tier_of_rule: npt.NDArray[np.uint8]
    action_of_rule: npt.NDArray[np.uint8]
    selecting: Lists
    """By identity: the policies that select it."""
    rules_of: Lists
    """By identity: the rules of these policies."""
    isolating: Lists
    """By identity: the policies that isolate it."""
    strangers: Lists
    """By identity: references of the policies that may apply to it and are not judged."""
    is_selected: Mask
    """By identity: whether any policy selects it."""
    references: pl.DataFrame

    @property
    def near_misses(self) -> int:
        """The reference of the first rule as a near miss."""
        return len(self.rules)

    @property
    def isolations(self) -> int:
        """The reference of the first policy."""
        return 2 * len(self.rules)


def ordered(policies: Sequence[Policy]) -> list[Policy]:
    """Policies in the order in which they are asked; those of one tier and priority by name."""
    return sorted(policies, key=lambda item: (item.tier, item.priority, item.namespace or "", item.name, item.kind))


def compile_side(policies: Sequence[Policy], strangers: Sequence[Stranger], identities: Identities) -> Side:
    """Compile the policies of one direction; `ordered` has put them in order. `strangers` are not judged."""
    size = identities.is_pod.size
    rules = [rule for policy in policies for rule in policy.rules]
    counts = np.array([len(policy.rules) for policy in policies], dtype=np.int64)
    policy_of_rule = np.repeat(np.arange(len(policies), dtype=np.uint32), counts)
    held: dict[Pods, Ids] = {}
    for policy in policies:
        if policy.subject not in held:
            held[policy.subject] = _held(identities.select(policy.subject))
    selecting = _by_identity([held[policy.subject] for policy in policies], size)
    by_policy = lists_of(policy_of_rule, np.arange(len(rules), dtype=np.uint32), len(policies))
    positions, rules_selecting = by_policy.expand(selecting.items)
    owners = np.repeat(np.arange(size, dtype=np.uint32), np.diff(selecting.offsets))
    nobody = np.array([], dtype=np.uint32)
    isolating = [held[policy.subject] if policy.tier == Tier.NAMESPACE else nobody for policy in policies]
    first_stranger = 2 * len(rules) + len(policies)
    may_apply = _by_identity([_held(identities.select(Pods(one.reach, (), ()))) for one in strangers], size)
    return Side(
        rules=rules,
        policy_of_rule=policy_of_rule,
        tier_of_rule=np.repeat(np.array([policy.tier for policy in policies], dtype=np.uint8), counts),
        action_of_rule=np.array([rule.action for rule in rules], dtype=np.uint8),
        selecting=selecting,
        rules_of=lists_of(owners[positions], rules_selecting, size),
        isolating=_by_identity(isolating, size),
        strangers=Lists(may_apply.offsets, may_apply.items + np.uint32(first_stranger)),
        is_selected=np.diff(selecting.offsets) > 0,
        references=_references(policies, strangers),
    )


def _by_identity(held: Sequence[Ids], size: int) -> Lists:
    """By identity: the places in `held` of the lists that it is in."""
    numbers = np.repeat(np.arange(len(held), dtype=np.uint32), [found.size for found in held])
    return lists_of(np.concatenate([np.array([], dtype=np.uint32), *held]), numbers, size)


def _held(mask: Mask) -> Ids:
    """The identities that a mask holds."""
    return np.flatnonzero(mask).astype(np.uint32)


def _references(policies: Sequence[Policy], strangers: Sequence[Stranger]) -> pl.DataFrame:
    named = [(policy.kind, policy.namespace, policy.name) for policy in policies]
    of_rule = [name for name, policy in zip(named, policies, strict=True) for _ in policy.rules]
    rules = [rule for policy in policies for rule in policy.rules]
    labels, nothing = [rule.label for rule in rules], [None] * len(rules)
    none = [None] * (len(named) + len(strangers))
    kinds, namespaces, names = (
        zip(*of_rule, *of_rule, *named, *strangers, strict=True) if named or strangers else ((),) * 3
    )
    effects = [EFFECTS[rule.action] for rule in rules]
    columns = {
        "kind": kinds,
        "namespace": namespaces,
        "name": names,
        "rule": labels + nothing + none,
        "effect": effects + ["isolates"] * (len(rules) + len(named)) + ["not judged"] * len(strangers),
        "near_miss_rule": nothing + labels + none,
    }
    return pl.DataFrame(columns, schema=REFERENCES)
