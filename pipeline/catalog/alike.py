"""Metrics that every pipeline of a cluster knows alike, however many share its flows: a sum over them would double what
they say."""

from __future__ import annotations

from typing import Final

ALIKE: Final = frozenset(
    {
        "flowatlas_build_info",
        "flowatlas_mesh_max_connections",
        "flowatlas_mesh_subset_configured_ratio",
        "flowatlas_policy_coverage_pods",
        "flowatlas_policy_default_deny",
        "flowatlas_policy_not_judged_objects",
        "flowatlas_state_objects",
        "flowatlas_state_refused_objects",
    }
)
"""Families that say what the cluster is, which each pipeline follows itself."""
