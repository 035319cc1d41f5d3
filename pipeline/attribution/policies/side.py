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
    rules_of: Lists
    """By identity: the rules of the policies that select it."""
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


def compile_side(
    policies: Sequence[Policy], strangers: Sequence[tuple[str, str | None, str]], identities: Identities
) -> Side:
    """Compile the policies of one direction; `ordered` has put them in order. `strangers` are not judged."""
    size = identities.is_pod.size
    rules = [rule for policy in policies for rule in policy.rules]
    counts = np.array([len(policy.rules) for policy in policies], dtype=np.int64)
    policy_of_rule = np.repeat(np.arange(len(policies), dtype=np.uint32), counts)
    masks: dict[Pods, Mask] = {}
    for policy in policies:
        if policy.subject not in masks:
            masks[policy.subject] = identities.select(policy.subject)
    selecting = _by_identity([masks[policy.subject] for policy in policies], size)
    by_policy = lists_of(policy_of_rule, np.arange(len(rules), dtype=np.uint32), len(policies))
    positions, rules_selecting = by_policy.expand(selecting.items)
    owners = np.repeat(np.arange(size, dtype=np.uint32), np.diff(selecting.offsets))
    isolating = [
        masks[policy.subject] if policy.tier == Tier.NAMESPACE else np.zeros(size, dtype=np.bool_)
        for policy in policies
    ]
    first_stranger = 2 * len(rules) + len(policies)
    may_apply = _by_identity([_may_apply(namespace, identities) for _, namespace, _ in strangers], size)
    return Side(
        rules=rules,
        policy_of_rule=policy_of_rule,
        tier_of_rule=np.repeat(np.array([policy.tier for policy in policies], dtype=np.uint8), counts),
        action_of_rule=np.array([rule.action for rule in rules], dtype=np.uint8),
        rules_of=lists_of(owners[positions], rules_selecting, size),
        isolating=_by_identity(isolating, size),
        strangers=Lists(may_apply.offsets, may_apply.items + np.uint32(first_stranger)),
        is_selected=np.diff(selecting.offsets) > 0,
        references=_references(policies, strangers),
    )


def _by_identity(masks: Sequence[Mask], size: int) -> Lists:
    """By identity: the numbers of the masks that hold it."""
    held = [np.flatnonzero(mask) for mask in masks]
    numbers = np.repeat(np.arange(len(masks), dtype=np.uint32), [found.size for found in held])
    owners = np.concatenate([np.array([], dtype=np.int64), *held]).astype(np.uint32)
    return lists_of(owners, numbers, size)


def _may_apply(namespace: str | None, identities: Identities) -> Mask:
    return identities.select(Pods(namespace, (), ()))


def _references(policies: Sequence[Policy], strangers: Sequence[tuple[str, str | None, str]]) -> pl.DataFrame:
    named = [(policy.kind, policy.namespace, policy.name) for policy in policies]
    rules = [(name, rule) for name, policy in zip(named, policies, strict=True) for rule in policy.rules]
    rows = [
        *((*name, rule.label, EFFECTS[rule.action], None) for name, rule in rules),
        *((*name, None, "isolates", rule.label) for name, rule in rules),
        *((*name, None, "isolates", None) for name in named),
        *((*name, None, "not judged", None) for name in strangers),
    ]
    return pl.DataFrame(rows, schema=REFERENCES, orient="row")
