"""Alerts on how well connections go, each against the same hour of last week.

They speak from a week after the rules were loaded on. Buckets stand a factor of 2 to 2.5 apart, so a percentile has
doubled only where it has moved by a bucket.
"""

from __future__ import annotations

from typing import Final

from .alert import Alert, named

_GROUP: Final = "flowatlas-tcp"
_CONNECT: Final = "service:flowatlas_tcp_connect_seconds:p99_1h"
_RTT: Final = "service:flowatlas_tcp_rtt_seconds:p99_1h"
_RESENT: Final = "workload:flowatlas_tcp_retransmits:ratio_rate1h"
_SERVICE: Final = "{{ $labels.service_namespace }}/{{ $labels.service }}"
_WORKLOAD: Final = named("destination_namespace", "destination_workload")


def _doubled(recorded: str) -> str:
    """More than twice what it was a week ago; still nothing where it was not there then."""
    return f"{recorded} > 2 * {recorded} offset 1w"


ALERTS: Final = (
    Alert(
        "FlowatlasConnectSlower",
        _GROUP,
        f"({_doubled(_CONNECT)}) and {_CONNECT} - {_CONNECT} offset 1w > 0.005",
        "15m",
        "warning",
        f"Connecting to {_SERVICE} takes {{{{ $value | humanizeDuration }}}}, more than twice last week's",
        f"In the last hour one of 100 connections to {_SERVICE} took {{{{ $value | humanizeDuration }}}} or longer "
        "to be accepted: more than twice as long as in the same hour of last week.",
    ),
    Alert(
        "FlowatlasRoundTripSlower",
        _GROUP,
        f"({_doubled(_RTT)}) and {_RTT} - {_RTT} offset 1w > 0.005",
        "15m",
        "warning",
        f"Round trips of {_SERVICE} take {{{{ $value | humanizeDuration }}}}, more than twice last week's",
        f"In the last hour one of 100 round-trip times of connections to {_SERVICE} was {{{{ $value | humanizeDuration "
        "}} or longer: more than twice as long as in the same hour of last week.",
    ),
    Alert(
        "FlowatlasRetransmitsUp",
        _GROUP,
        f"({_doubled(_RESENT)}) > 0.01",
        "15m",
        "warning",
        f"{{{{ $value | humanizePercentage }}}} of packets of {_WORKLOAD}'s connections are sent again",
        f"In the last hour {{{{ $value | humanizePercentage }}}} of the packets of connections that {_WORKLOAD} "
        "answers were segments sent again: more than twice the share of the same hour of last week.",
    ),
)
