"""Series that Prometheus computes once for the alerts that compare with the past, named `level:metric:operation`.

The labels of each are written down here, so that alerts can be checked against them; `rules.check` holds them against
what the expressions return. The invariant: none of them names another, so their order means nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from .queries import beyond, select

GROUP: Final = "flowatlas-recordings"


@dataclass(frozen=True, slots=True)
class Recording:
    """One recorded series; `labels` are those of its result."""

    name: str
    labels: tuple[str, ...]
    expression: str


_CALLED: Final = ("service_namespace", "service")
_ANSWERED: Final = ("destination_namespace", "destination_workload")
_POLICY: Final = ("policy_namespace", "policy", "policy_kind", "direction")
_OPENED: Final = ("source_namespace", "source_workload")
_COUNTRY: Final = ("namespace", "workload", "country")
_CHARGED: Final = ("namespace", "currency")
_OUT: Final = {"source_namespace": ".+", **beyond("destination")}
"""From a workload of the cluster to what is beyond it."""


def _p99(metric: str) -> str:
    """The 99th percentile of an hour by Service, of those with 100 observations or more."""
    by = ", ".join(_CALLED)
    return (
        f'histogram_quantile(0.99, sum by ({by}, le) (rate({metric}_bucket{{service!=""}}[1h]))) '
        f'and sum by ({by}) (increase({metric}_count{{service!=""}}[1h])) >= 100'
    )


def _resent() -> str:
    """Segments sent again over all packets, by who answered, where there are more than 3 packets a second."""
    by = ", ".join(_ANSWERED)
    packets = f'sum by ({by}) (rate(flowatlas_flow_packets_total{{protocol="TCP"}}[1h]))'
    return f"(sum by ({by}) (rate(flowatlas_tcp_retransmits_total[1h])) or 0 * {packets}) / ({packets} > 3)"


RECORDINGS: Final = (
    Recording("service:flowatlas_tcp_connect_seconds:p99_1h", _CALLED, _p99("flowatlas_tcp_connect_seconds")),
    Recording("service:flowatlas_tcp_rtt_seconds:p99_1h", _CALLED, _p99("flowatlas_tcp_rtt_seconds")),
    Recording("workload:flowatlas_tcp_retransmits:ratio_rate1h", _ANSWERED, _resent()),
    Recording(
        "policy:flowatlas_policy_denied_connections:increase10m",
        _POLICY,
        f'sum by ({", ".join(_POLICY)}) (increase(flowatlas_policy_connections_total{{verdict="denied"}}[10m]))',
    ),
    Recording(
        "workload:flowatlas_external_connections:sum",
        _OPENED,
        f"sum by ({', '.join(_OPENED)}) ({select('flowatlas_connections_total', _OUT)}) > 0",
    ),
    Recording(
        "workload_country:flowatlas_external_bytes:sum",
        _COUNTRY,
        f'sum by ({", ".join(_COUNTRY)}) (flowatlas_external_bytes_total{{direction="egress", country!=""}}) > 0',
    ),
    Recording(
        "namespace:flowatlas_traffic_cost_cross_zone:increase1h",
        _CHARGED,
        f'sum by ({", ".join(_CHARGED)}) (increase(flowatlas_traffic_cost_total{{locality="cross_zone"}}[1h]))',
    ),
)

RECORDED: Final[Mapping[str, tuple[str, ...]]] = {recording.name: recording.labels for recording in RECORDINGS}
"""The labels of each recorded series by its name."""
