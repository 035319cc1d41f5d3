"""The alerts, as data: what `rules` writes as a Prometheus rule file.

A counter's series appears with its first value, of which `increase` knows nothing: `_events` adds what was not there a
window ago, so that the first event alerts too. Each alert has its page in `docs/runbooks`, named as `runbook` says.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

Severity = Literal["warning", "critical"]

_WORD: Final = re.compile(r"(?<=[a-z])(?=[A-Z])")


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert. `hold` is how long the expression must hold, as Prometheus writes durations (`for`)."""

    name: str
    group: str
    expression: str
    hold: str
    severity: Severity
    summary: str
    description: str

    @property
    def runbook(self) -> str:
        """The page's address, relative to the project's root: FlowatlasLosses has docs/runbooks/flowatlas-losses.md."""
        return f"docs/runbooks/{_WORD.sub('-', self.name).lower()}.md"


def _events(selector: str, window: str) -> str:
    """The series of a counter that grew within the window, or that were not there before it."""
    return f"(increase({selector}[{window}]) > 0) or (({selector} unless {selector} offset {window}) > 0)"


_PAIR: Final = "source_namespace, source_workload, destination_namespace, destination_workload"
_FROM_TO: Final = (
    "{{ $labels.source_namespace }}/{{ $labels.source_workload }} to "
    "{{ $labels.destination_namespace }}/{{ $labels.destination_workload }}"
)
_SERVICE: Final = "service_namespace, service, service_port"
_TO_SERVICE: Final = "{{ $labels.service_namespace }}/{{ $labels.service }}, port {{ $labels.service_port }}"
_DENIED: Final = 'flowatlas_policy_mismatch_connections_total{mismatch="established_denied"}'
_DROPPED: Final = 'flowatlas_policy_mismatch_connections_total{mismatch="dropped_allowed"}'
_NO_ENDPOINT: Final = "flowatlas_service_no_endpoint_connections_total"
_BROKEN: Final = 'flowatlas_service_affinity_connections_total{affinity="broken"}'
_NEWEST: Final = "flowatlas_pipeline_last_observation_timestamp_seconds"
_WATCHERS: Final = (
    '(flowatlas_pipeline_rows_total{table="state"} unless on (node) flowatlas_pipeline_rows_total{table!="state"})'
)
"""Names on the bus that tell of the cluster and of no traffic: FlowatlasStateStale is theirs."""

_CARRIED: Final = (
    "sum by (node, namespace, pod) (rate(container_network_receive_bytes_total[10m])"
    " + rate(container_network_transmit_bytes_total[10m]))"
)

_CLIENT: Final = "{{ $labels.source_namespace }}/{{ $labels.source_workload }}"
_DNS_FAILED: Final = '{rcode=~"SERVFAIL|REFUSED|FORMERR|NOTIMP|no_answer|[0-9]+"}'
_DNS_SEARCHED: Final = '{name_class="search"}'
_DNS_LATENCY: Final = "flowatlas_dns_latency_seconds"
_DNS_BYPASS: Final = "flowatlas_dns_bypass_queries_total"


def _asked(matchers: str, window: str) -> str:
    """Questions to DNS within the window, by the client's workload."""
    return f"sum by (source_namespace, source_workload) (increase(flowatlas_dns_queries_total{matchers}[{window}]))"


ALERTS: Final = (
    Alert(
        "FlowatlasPolicyNotEnforced",
        "flowatlas-policies",
        f"sum by ({_PAIR}) ({_events(_DENIED, '10m')})",
        "1m",
        "warning",
        f"Denied by policy and established: {_FROM_TO}",
        f"Within the last 10 minutes connections from {_FROM_TO} were established although network policies deny them.",
    ),
    Alert(
        "FlowatlasPolicyDropsAllowed",
        "flowatlas-policies",
        f"sum by ({_PAIR}) ({_events(_DROPPED, '10m')})",
        "1m",
        "warning",
        f"Allowed by policy and never answered: {_FROM_TO}",
        f"Within the last 10 minutes connections from {_FROM_TO} were never answered, although network policies allow "
        "them and the pod was there.",
    ),
    Alert(
        "FlowatlasServiceWithoutEndpoints",
        "flowatlas-services",
        f"sum by ({_SERVICE}) ({_events(_NO_ENDPOINT, '5m')})",
        "10m",
        "warning",
        f"Dialled without a ready endpoint: {_TO_SERVICE}",
        f"For more than 10 minutes clients have been dialling {_TO_SERVICE}, while it has no ready endpoint.",
    ),
    Alert(
        "FlowatlasServiceAffinityBroken",
        "flowatlas-services",
        f"sum by ({_SERVICE}) ({_events(_BROKEN, '10m')})",
        "1m",
        "warning",
        f"Session affinity broken: {_TO_SERVICE}",
        f"Within the last 10 minutes clients of {_TO_SERVICE} came to another endpoint although their first was ready; "
        "the Service has sessionAffinity ClientIP.",
    ),
    Alert(
        "FlowatlasStateStale",
        "flowatlas-pipeline",
        "flowatlas_state_age_seconds > 60",
        "1m",
        "warning",
        "The cluster's state is {{ $value | humanizeDuration }} old",
        "The pipeline {{ $labels.instance }} has not been told the cluster's state for "
        "{{ $value | humanizeDuration }}; flows are judged by what was known before.",
    ),
    Alert(
        "FlowatlasCollectorSilent",
        "flowatlas-pipeline",
        f"time() - (max by (node) ({_NEWEST}) unless on (node) {_WATCHERS}) > 120",
        "1m",
        "warning",
        "Nothing from node {{ $labels.node }} for {{ $value | humanizeDuration }}",
        "The newest observation of node {{ $labels.node }} is {{ $value | humanizeDuration }} old: its traffic is not "
        "counted, or not yet.",
    ),
    Alert(
        "FlowatlasLosses",
        "flowatlas-pipeline",
        _events("flowatlas_collector_lost_rows_total", "10m"),
        "1m",
        "warning",
        "Rows of table {{ $labels.table }} lost at {{ $labels.instance }}: {{ $labels.reason }}",
        "Within the last 10 minutes the collector {{ $labels.instance }} lost rows of table {{ $labels.table }} with "
        "reason {{ $labels.reason }}: metrics and history lack them.",
    ),
    Alert(
        "FlowatlasCaptureIncomplete",
        "flowatlas-pipeline",
        f"flowatlas_capture_coverage_ratio < 0.98 and on (node, namespace, pod) {_CARRIED} > 1000",
        "10m",
        "warning",
        "Only {{ $value | humanizePercentage }} of the traffic of {{ $labels.namespace }}/{{ $labels.pod }} is in "
        "flows",
        "For more than 10 minutes flows have told of {{ $value | humanizePercentage }} of the bytes that the "
        "interfaces of {{ $labels.namespace }}/{{ $labels.pod }} on node {{ $labels.node }} carried.",
    ),
    Alert(
        "FlowatlasDnsErrors",
        "flowatlas-dns",
        f"({_asked(_DNS_FAILED, '10m')} / {_asked('', '10m')}) > 0.05 and {_asked('', '10m')} > 50",
        "5m",
        "warning",
        f"{{{{ $value | humanizePercentage }}}} of DNS questions of {_CLIENT} fail",
        f"For more than 5 minutes {{{{ $value | humanizePercentage }}}} of what {_CLIENT} asked of DNS in 10 minutes "
        "was not answered, or answered with a failure of the server.",
    ),
    Alert(
        "FlowatlasDnsSlow",
        "flowatlas-dns",
        f"histogram_quantile(0.99, sum by (source_namespace, le) (rate({_DNS_LATENCY}_bucket[10m]))) > 0.5 "
        f"and sum by (source_namespace) (increase({_DNS_LATENCY}_count[10m])) > 100",
        "10m",
        "warning",
        "DNS takes {{ $value | humanizeDuration }} for namespace {{ $labels.source_namespace }}",
        "For more than 10 minutes one of 100 answers to pods of namespace {{ $labels.source_namespace }} has taken "
        "{{ $value | humanizeDuration }} or longer.",
    ),
    Alert(
        "FlowatlasDnsSearchWaste",
        "flowatlas-dns",
        f"({_asked(_DNS_SEARCHED, '1h')} / {_asked('', '1h')}) > 0.5 and {_asked('', '1h')} > 3600",
        "1h",
        "warning",
        f"{{{{ $value | humanizePercentage }}}} of DNS questions of {_CLIENT} are its search list's",
        f"For more than an hour {{{{ $value | humanizePercentage }}}} of what {_CLIENT} asked of DNS were names that "
        "only a search list makes, at more than one question a second.",
    ),
    Alert(
        "FlowatlasDnsBypass",
        "flowatlas-dns",
        f"sum by ({_PAIR}) ({_events(_DNS_BYPASS, '10m')})",
        "1m",
        "warning",
        f"DNS past the cluster's: {_FROM_TO}",
        f"Within the last 10 minutes DNS questions went from {_FROM_TO}, which is not the cluster's DNS.",
    ),
)
