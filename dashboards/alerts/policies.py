"""Alerts on what network policies deny, miss and do not cover."""

from __future__ import annotations

from typing import Final

from .alert import FROM_TO, PAIR, Alert, events, named

_DENIED: Final = 'flowatlas_policy_mismatch_connections_total{mismatch="established_denied"}'
_DROPPED: Final = 'flowatlas_policy_mismatch_connections_total{mismatch="dropped_allowed"}'
_DENIALS: Final = "policy:flowatlas_policy_denied_connections:increase10m"
_OLD: Final = "count(flowatlas_pipeline_series offset 1h)"
"""There where there was a pipeline then, and so something to compare with."""
_BYTES: Final = "increase(flowatlas_policy_coverage_bytes_total"
_PODS: Final = "flowatlas_policy_coverage_pods"

_POLICY: Final = f"{{{{ $labels.policy_kind }}}} {named('policy_namespace', 'policy')}"

ALERTS: Final = (
    Alert(
        "FlowatlasPolicyNotEnforced",
        "flowatlas-policies",
        events(_DENIED, "10m", by=PAIR),
        "1m",
        "warning",
        f"Denied by policy and established: {FROM_TO}",
        f"Within the last 10 minutes connections from {FROM_TO} were established although network policies deny them.",
    ),
    Alert(
        "FlowatlasPolicyDropsAllowed",
        "flowatlas-policies",
        events(_DROPPED, "10m", by=PAIR),
        "1m",
        "warning",
        f"Allowed by policy and never answered: {FROM_TO}",
        f"Within the last 10 minutes connections from {FROM_TO} were never answered, although network policies allow "
        "them and the pod was there.",
    ),
    Alert(
        "FlowatlasPolicyDenialsSurge",
        "flowatlas-policies",
        f"({_DENIALS} > 50 unless {_DENIALS} <= 10 * avg_over_time({_DENIALS}[1d] offset 1h)) and on () {_OLD}",
        "5m",
        "warning",
        f"{_POLICY} denies far more than it did",
        f"Within 10 minutes {_POLICY} denied "
        "{{ $value | humanize }} connections ({{ $labels.direction }}): more than ten times as many as in the mean of "
        "the last day.",
    ),
    Alert(
        "FlowatlasNamespaceUnprotected",
        "flowatlas-policies",
        f'(sum by (namespace) ({_BYTES}{{direction="ingress", coverage="unprotected"}}[1h])) > 0 '
        f'unless on (namespace) sum by (namespace) ({_PODS}{{direction="ingress", coverage!="unprotected"}}) > 0) '
        f'and on () sum({_PODS}{{direction="ingress", coverage!="unprotected"}}) > 0',
        "1h",
        "info",
        "No policy selects any pod of namespace {{ $labels.namespace }}",
        "Pods of namespace {{ $labels.namespace }} receive traffic, and no network policy selects any of them for it, "
        "while other namespaces have such policies.",
    ),
)
