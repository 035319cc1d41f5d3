"""Alerts on DNS: failing, slow, wasted, past the cluster's."""

from __future__ import annotations

from typing import Final

from .alert import CLIENT, FROM_TO, PAIR, Alert, events

_FAILED: Final = '{rcode=~"SERVFAIL|REFUSED|FORMERR|NOTIMP|no_answer|[0-9]+"}'
_SEARCHED: Final = '{name_class="search"}'
_LATENCY: Final = "flowatlas_dns_latency_seconds"
_WHO: Final = "{{ with $labels.source_namespace }}namespace {{ . }}{{ else }}nodes{{ end }}"
_BYPASS: Final = "flowatlas_dns_bypass_queries_total"


def _asked(matchers: str, window: str) -> str:
    """Questions to DNS within the window, by the client's workload."""
    return f"sum by (source_namespace, source_workload) (increase(flowatlas_dns_queries_total{matchers}[{window}]))"


ALERTS: Final = (
    Alert(
        "FlowatlasDnsErrors",
        "flowatlas-dns",
        f"({_asked(_FAILED, '10m')} / {_asked('', '10m')}) > 0.05 and {_asked('', '10m')} > 50",
        "5m",
        "warning",
        f"{{{{ $value | humanizePercentage }}}} of DNS questions of {CLIENT} fail",
        f"For more than 5 minutes {{{{ $value | humanizePercentage }}}} of what {CLIENT} asked of DNS in 10 minutes "
        "was not answered, or answered with a failure of the server.",
    ),
    Alert(
        "FlowatlasDnsSlow",
        "flowatlas-dns",
        f"histogram_quantile(0.99, sum by (source_namespace, le) (rate({_LATENCY}_bucket[10m]))) > 0.5 "
        f"and sum by (source_namespace) (increase({_LATENCY}_count[10m])) > 100",
        "10m",
        "warning",
        f"DNS takes {{{{ $value | humanizeDuration }}}} for {_WHO}",
        f"For more than 10 minutes one of 100 answers to {_WHO} has taken "
        "{{ $value | humanizeDuration }} or longer.",
    ),
    Alert(
        "FlowatlasDnsSearchWaste",
        "flowatlas-dns",
        f"({_asked(_SEARCHED, '1h')} / {_asked('', '1h')}) > 0.5 and {_asked('', '1h')} > 3600",
        "1h",
        "warning",
        f"{{{{ $value | humanizePercentage }}}} of DNS questions of {CLIENT} are its search list's",
        f"For more than an hour {{{{ $value | humanizePercentage }}}} of what {CLIENT} asked of DNS were names that "
        "only a search list makes, at more than one question a second.",
    ),
    Alert(
        "FlowatlasDnsBypass",
        "flowatlas-dns",
        events(_BYPASS, "10m", by=PAIR),
        "1m",
        "warning",
        f"DNS past the cluster's: {FROM_TO}",
        f"Within the last 10 minutes DNS questions went from {FROM_TO}, which is not the cluster's DNS.",
    ),
)
