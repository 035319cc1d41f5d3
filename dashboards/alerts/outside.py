"""Alerts on who looks around, on traffic with what is beyond the cluster, or far away in it.

What is new is what was not there at any time of the last day; until there is a day of history, nothing is.
"""

from __future__ import annotations

from typing import Final

from .alert import CLIENT, Alert, named

_GROUP: Final = "flowatlas-outside"
_OPENED: Final = "workload:flowatlas_external_connections:sum"
_COUNTRY: Final = "workload_country:flowatlas_external_bytes:sum"
_COST: Final = "namespace:flowatlas_traffic_cost_cross_zone:increase1h"
_WORKLOAD: Final = named("namespace", "workload")


def _new(recorded: str) -> str:
    """The series that are there and were not in the day that ended an hour ago, where that day was recorded."""
    return f"({recorded} unless present_over_time({recorded}[1d] offset 1h)) and on () count({recorded} offset 1d)"


ALERTS: Final = (
    Alert(
        "FlowatlasPortScan",
        _GROUP,
        "max by (source_namespace, source_workload) (flowatlas_workload_failed_destinations) > 100",
        "1m",
        "warning",
        f"{CLIENT} tries many addresses or ports in vain",
        f"Within the last 10 minutes {CLIENT} dialled {{{{ $value | humanize }}}} addresses and ports that refused or "
        "did not answer.",
    ),
    Alert(
        "FlowatlasNewExternalTraffic",
        _GROUP,
        _new(_OPENED),
        "1m",
        "info",
        f"{CLIENT} begins to connect beyond the cluster",
        f"{CLIENT} has opened connections to addresses beyond the cluster, and had opened none the day before.",
    ),
    Alert(
        "FlowatlasNewExternalCountry",
        _GROUP,
        _new(_COUNTRY),
        "1m",
        "info",
        f"{_WORKLOAD} sends to a country that is new to it: {{{{ $labels.country }}}}",
        f"{_WORKLOAD} has sent bytes to networks in {{{{ $labels.country }}}}, and had sent none there the day before.",
    ),
    Alert(
        "FlowatlasCrossZoneCost",
        _GROUP,
        f"({_COST} > 2 * {_COST} offset 1w) > 0.1",
        "1h",
        "warning",
        'Traffic of {{ $labels.namespace }} between zones: {{ $value | printf "%.2f" }} {{ $labels.currency }} an hour',
        'Traffic between zones charged to namespace {{ $labels.namespace }} costs {{ $value | printf "%.2f" }} '
        "{{ $labels.currency }} an hour: more than twice what it did in the same hour of last week.",
    ),
)
