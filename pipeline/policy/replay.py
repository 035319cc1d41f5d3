"""Suggested policies put to the test: the recorded connections judged as if nothing else guarded these pods.

The NetworkPolicies of the namespace are taken away first, for they are what the suggestion replaces; policies only add
to each other, so what passes here passes beside them too. The invariant: it is the engine that judges, not the rules
that made the suggestion.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from ..attribution.policies import compile_policies
from ..inventory.models import Resource, convert, namespace_of
from ..inventory.policies import NetworkPolicy
from ..inventory.snapshot import Snapshot
from .suggestion import SuggestedPolicy


@dataclass(frozen=True, slots=True)
class Replay:
    """What the policies do to the record."""

    passed: int
    """Legitimate connections that are let through."""
    cut: pl.DataFrame
    """Legitimate pairs that are not, which is a fault of the suggestion."""
    stopped: pl.DataFrame
    """Other recorded pairs that are newly denied."""
    denied_still: pl.DataFrame
    """Legitimate pairs that were denied and still are: by policies of other namespaces, or of the whole cluster."""


def replay(
    objects: Iterable[Resource],
    snapshot: Snapshot,
    pairs: pl.DataFrame,
    suggested: Sequence[SuggestedPolicy],
    more: Sequence[dict[str, Any]] = (),
) -> Replay:
    """Judge the pairs (`legitimate.sorted_out`) under the suggested policies and the manifests in `more`."""
    objects = list(objects)
    manifests = [*(policy.manifest for policy in suggested), *more]
    added = [convert(item["apiVersion"], item["kind"], item) for item in manifests]
    kept = without({policy.namespace for policy in suggested}, objects)
    after = compile_policies([*kept, *added], snapshot).judgement(pairs).rows["verdict"] == "denied"
    before = compile_policies(objects, snapshot).judgement(pairs).rows["verdict"] == "denied"
    is_legitimate = pairs["left_out"].is_null()
    return Replay(
        passed=int(pairs.filter(is_legitimate & ~after)["counted"].sum()),
        cut=pairs.filter(is_legitimate & after & ~before),
        stopped=pairs.filter(~is_legitimate & after & ~before),
        denied_still=pairs.filter(is_legitimate & after & before),
    )


def without(namespaces: Collection[str], objects: Iterable[Resource]) -> list[Resource]:
    """The objects without the NetworkPolicies of these namespaces."""
    return [item for item in objects if not (isinstance(item, NetworkPolicy) and namespace_of(item) in namespaces)]
