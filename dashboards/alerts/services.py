"""Alerts on Services: dialled in vain, failing, uneven."""

from __future__ import annotations

from typing import Final

from .alert import Alert, events

_SERVICE: Final = "service_namespace, service, service_port"
_TO_SERVICE: Final = "{{ $labels.service_namespace }}/{{ $labels.service }}, port {{ $labels.service_port }}"
_NO_ENDPOINT: Final = "flowatlas_service_no_endpoint_connections_total"
_BROKEN: Final = 'flowatlas_service_affinity_connections_total{affinity="broken"}'
_FAILED: Final = (
    f'sum by ({_SERVICE}, reason) (increase(flowatlas_service_connection_failures_total{{protocol="TCP"}}[10m]))'
)
_OPENED: Final = f'sum by ({_SERVICE}) (increase(flowatlas_service_connections_total{{protocol="TCP"}}[10m]))'
_GINI: Final = f"max by ({_SERVICE}) (flowatlas_service_endpoint_gini_ratio)"
_SENT: Final = 'increase(flowatlas_service_endpoint_connections_total{endpoint!=""}[10m])'

ALERTS: Final = (
    Alert(
        "FlowatlasServiceWithoutEndpoints",
        "flowatlas-services",
        events(_NO_ENDPOINT, "5m", by=_SERVICE),
        "10m",
        "warning",
        f"Dialled without a ready endpoint: {_TO_SERVICE}",
        f"For more than 10 minutes clients have been dialling {_TO_SERVICE}, while it has no ready endpoint.",
    ),
    Alert(
        "FlowatlasServiceAffinityBroken",
        "flowatlas-services",
        events(_BROKEN, "10m", by=_SERVICE),
        "1m",
        "warning",
        f"Session affinity broken: {_TO_SERVICE}",
        f"Within the last 10 minutes clients of {_TO_SERVICE} came to another endpoint although their first was ready; "
        "the Service has sessionAffinity ClientIP.",
    ),
    Alert(
        "FlowatlasServiceFailures",
        "flowatlas-services",
        f"(clamp_max({_FAILED} / on ({_SERVICE}) group_left () {_OPENED}, 1) > 0.05) and {_FAILED} > 20",
        "5m",
        "warning",
        f"{{{{ $value | humanizePercentage }}}} of connections to {_TO_SERVICE} fail: {{{{ $labels.reason }}}}",
        f"For more than 5 minutes {{{{ $value | humanizePercentage }}}} of the TCP connections to {_TO_SERVICE} have "
        "failed with reason {{ $labels.reason }}.",
    ),
    Alert(
        "FlowatlasServiceSkew",
        "flowatlas-services",
        f"({_GINI} > 0.4) and sum by ({_SERVICE}) ({_SENT}) / count by ({_SERVICE}) ({_SENT} > 0) > 40",
        "15m",
        "warning",
        f"Connections are uneven over the endpoints of {_TO_SERVICE}",
        f"For more than 15 minutes a few endpoints of {_TO_SERVICE} have had most of its connections: the Gini "
        'coefficient is {{ $value | printf "%.2f" }}, where 0 is even.',
    ),
)
