"""How far policies cover the pods that there are now: gauges of the newest policies over the newest snapshot.

The invariant: a pod is in one row of each direction, so that sums over `coverage` are all that policies can select.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

import numpy as np
import polars as pl

from ..attribution.policies import Policies, PolicyTimeline
from ..attribution.policies.engine import SIDES
from ..attribution.policies.terms import Direction, Tier
from ..catalog import BY_NAME
from ..inventory.snapshot import Snapshot
from ..inventory.spans import END
from .samples import Samples, samples_of

PODS: Final = pl.Enum(["isolated", "selected", "unprotected", "not_judged"])
"""A NetworkPolicy isolates the pod; policies select it, and what they do not decide is let through; none selects it;
none that is understood does, and one that is not may."""
_ISOLATED, _SELECTED, _UNPROTECTED, _NOT_JUDGED = range(4)


class PolicyState:
    """The gauges of the policies now; worked out when pods or policies have changed."""

    def __init__(self, policies: PolicyTimeline) -> None:
        self._policies = policies
        self._of: tuple[Snapshot, Policies] | None = None
        self._samples: list[Samples] = []

    def samples(self, snapshot: Snapshot) -> list[Samples]:
        """The gauges as they are now."""
        current = self._policies.current()
        if self._of is None or self._of[0] is not snapshot or self._of[1] is not current:
            self._of = snapshot, current
            self._samples = _samples(snapshot, current)
        return self._samples


def _samples(snapshot: Snapshot, policies: Policies) -> list[Samples]:
    pods = pods_covered(snapshot, policies)
    counts = pods.group_by("namespace", "direction", "coverage").agg(pl.len()).rows()
    denying = {direction: default_denied(policies, direction) for direction in SIDES}
    namespaces = pods["namespace"].unique().to_list()
    return [
        samples_of(BY_NAME["flowatlas_policy_coverage_pods"], {tuple(labels): count for *labels, count in counts}),
        samples_of(
            BY_NAME["flowatlas_policy_default_deny"],
            {(name, direction): int(name in denying[direction]) for name in namespaces for direction in SIDES},
        ),
        samples_of(
            BY_NAME["flowatlas_policy_not_judged_objects"],
            {(kind,): count for kind, count in Counter(kind for kind, _, _ in policies.not_judged).items()},
        ),
    ]


def pods_covered(snapshot: Snapshot, policies: Policies) -> pl.DataFrame:
    """Pods that have an address of their own now: their endpoints' columns, direction and coverage (PODS) as text."""
    held = snapshot.addresses.filter(pl.col("until") == END).select(pl.col("endpoint_id").unique())
    pods = snapshot.endpoints.join(held, left_on="id", right_on="endpoint_id", how="semi", maintain_order="left")
    identities = policies.identities.of_endpoint[pods["id"].to_numpy()]
    is_pod = policies.identities.is_pod[identities]
    parts = []
    for direction in SIDES:
        side = policies.side(direction)
        alone = np.where(side.strangers.lengths(identities) > 0, _NOT_JUDGED, _UNPROTECTED)
        selected = np.where(side.is_selected[identities], _SELECTED, alone)
        codes = np.where(side.isolating.lengths(identities) > 0, _ISOLATED, selected).astype(np.uint8)
        parts.append(
            pods.with_columns(
                pl.lit(direction).alias("direction"),
                pl.Series("coverage", codes).cat.to(PODS).cast(pl.String),
            ).filter(is_pod)
        )
    return pl.concat(parts)


def default_denied(policies: Policies, direction: Direction) -> set[str]:
    """Namespaces in which a NetworkPolicy selects every pod and allows nothing in the direction."""
    return {
        policy.namespace
        for policy in policies.written
        if policy.direction == direction
        and policy.tier == Tier.NAMESPACE
        and policy.namespace is not None
        and not policy.subject.pods
        and not policy.rules
    }
