"""The labels that a policy can know a workload by: what all of its pods share and keep over restarts and upgrades.

The invariant: a label that names one pod, one revision or one place is never among them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from ..inventory.models import Pod

VOLATILE: Final = frozenset(
    {
        "pod-template-hash",
        "controller-revision-hash",
        "pod-template-generation",
        "statefulset.kubernetes.io/pod-name",
        "apps.kubernetes.io/pod-index",
        "batch.kubernetes.io/job-name",
        "batch.kubernetes.io/controller-uid",
        "batch.kubernetes.io/job-completion-index",
        "job-name",
        "controller-uid",
        "helm.sh/chart",  # with the chart's version in it
        "app.kubernetes.io/version",
        "kubernetes.io/hostname",
    }
)
"""Labels that name one pod, one revision or one node."""
VOLATILE_PREFIXES: Final = ("topology.kubernetes.io/", "failure-domain.beta.kubernetes.io/", "topology.istio.io/")

Labels = tuple[tuple[str, str], ...]
"""Sorted, so that equal ones are equal."""


def stable(labels: Mapping[str, str] | None) -> dict[str, str]:
    """The labels that last."""
    return {
        key: value
        for key, value in (labels or {}).items()
        if key not in VOLATILE and not key.startswith(VOLATILE_PREFIXES)
    }


def shared(pods: Iterable[Pod]) -> Labels:
    """The lasting labels that all pods have; none where they share none, which selects every pod of a namespace."""
    sets = [set(stable(pod.metadata.labels).items()) for pod in pods]
    return tuple(sorted(set.intersection(*sets))) if sets else ()
