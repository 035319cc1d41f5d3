"""What network policies allow, deny and cover."""

from __future__ import annotations

from typing import Final

from .labels import COVERED, PAIR, POLICY
from .metric import Metric

METRICS: Final = (
    Metric(
        "flowatlas_policy_bytes_total",
        "counter",
        "bytes",
        POLICY,
        "Bytes both ways of connections for which the policy is responsible in the direction; where several policies "
        "are, each has all of them, so that sums over policies exceed the traffic.",
        "careful",
    ),
    Metric(
        "flowatlas_policy_connections_total",
        "counter",
        "",
        POLICY,
        "Connections opened, attempts among them, for which the policy is responsible in the direction; where several "
        "policies are, each has all of them.",
        "careful",
    ),
    Metric(
        "flowatlas_policy_mismatch_connections_total",
        "counter",
        "",
        ("mismatch", *PAIR),
        "Connections that went against what policies say: established_denied (established although denied), "
        "dropped_allowed (never answered by a pod that was there, although allowed).",
        "careful",
    ),
    Metric(
        "flowatlas_policy_coverage_bytes_total",
        "counter",
        "bytes",
        COVERED,
        "Bytes both ways of pods' connections by what they stand on: explicit (a rule allows), default_allow (policies "
        "select the pod and leave it to the default), unprotected (no policy selects it), denied, not_judged (a policy "
        "that is not understood may apply). Sums over coverage are all of a direction.",
        "careful",
    ),
    Metric(
        "flowatlas_policy_coverage_pods",
        "gauge",
        "",
        ("namespace", "direction", "coverage"),
        "Pods now: isolated (a NetworkPolicy isolates it), selected (by admin policies alone), unprotected, not_judged "
        "(a policy that is not understood may apply). Sums over coverage are all pods that are not on their "
        "node's network.",
    ),
    Metric(
        "flowatlas_policy_default_deny",
        "gauge",
        "",
        ("namespace", "direction"),
        "1 where a NetworkPolicy of the namespace selects every pod and allows nothing, else 0.",
    ),
    Metric(
        "flowatlas_policy_not_judged_objects",
        "gauge",
        "",
        ("kind",),
        "Policies that are not understood, by kind; what they may apply to is not judged.",
    ),
)
