"""Alerts that compare TCP with last week's fire when and only when they should."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.dashboards.promtool import Case, told

WEEK = 7 * 24 * 60
CALLED = {"service_namespace": "shop", "service": "cart"}
ANSWERED = {"destination_namespace": "data", "destination_workload": "db"}
TIMES = (
    ("FlowatlasConnectSlower", "flowatlas_tcp_connect_seconds"),
    ("FlowatlasRoundTripSlower", "flowatlas_tcp_rtt_seconds"),
)
RESENT = "FlowatlasRetransmitsUp"

LABELS = {**{name: CALLED for name, _ in TIMES}, RESENT: ANSWERED}


def took(metric: str, before: str, after: str, rate: int = 60) -> dict[str, str]:
    """All under the bound `before` for a week, and under `after` from then on; a sample each half an hour."""
    labels = 'service_namespace="shop",service="cart",destination_workload="cart"'
    bounds = ("0.001", "0.0025", "0.005", "0.01", "0.025", "0.05", "+Inf")
    samples = WEEK // 30
    series = {}
    for bound in bounds:
        is_early, is_late = (bounds.index(bound) >= bounds.index(limit) for limit in (before, after))
        first = f"0+{rate * is_early}x{samples}"
        series[f'{metric}_bucket{{{labels},le="{bound}"}}'] = f"{first} {samples * rate * is_early}+{rate * is_late}x40"
    return series | {f"{metric}_count{{{labels}}}": f"0+{rate}x{samples + 40}"}


def resent(before: int | None, after: int, packets: int = 10000) -> dict[str, str]:
    """Segments sent again in half an hour, for a week and from then on; None: no series until then."""
    labels = 'destination_namespace="data",destination_workload="db"'
    samples = WEEK // 30
    first = f"_x{samples} 0" if before is None else f"0+{before}x{samples}"
    return {
        f"flowatlas_tcp_retransmits_total{{{labels}}}": f"{first} {samples * (before or 0)}+{after}x40",
        f'flowatlas_flow_packets_total{{{labels},protocol="TCP"}}': f"0+{packets}x{samples + 41}",
    }


LATER = WEEK + 120
CASES = [
    *(
        case
        for name, metric in TIMES
        for case in (
            Case(name, "from 10 to 50 ms", took(metric, "0.01", "0.05"), LATER, 1, "49.75ms", "30m"),
            Case(name, "as ever", took(metric, "0.05", "0.05"), LATER, 0, step="30m"),
            Case(name, "by less than 5 ms", took(metric, "0.001", "0.005"), LATER, 0, step="30m"),
            Case(name, "faster", took(metric, "0.05", "0.01"), LATER, 0, step="30m"),
            Case(name, "of a few connections", took(metric, "0.01", "0.05", 30), LATER, 0, step="30m"),
            Case(name, "not a week yet", took(metric, "0.01", "0.05"), WEEK - 60, 0, step="30m"),
        )
    ),
    Case(RESENT, "from 1 to 4 %", resent(100, 400), LATER, 1, "4%", "30m"),
    Case(RESENT, "from none to 4 %", resent(None, 400), LATER, 1, "4%", "30m"),
    Case(RESENT, "as ever", resent(400, 400), LATER, 0, step="30m"),
    Case(RESENT, "less than 1 %", resent(10, 90), LATER, 0, step="30m"),
    Case(RESENT, "of a few packets", resent(10, 400, 5000), LATER, 0, step="30m"),
]


@pytest.mark.prometheus
@pytest.mark.parametrize("case", CASES, ids=str)
def test_it_fires_when_it_should_and_only_then(case: Case, tmp_path: Path) -> None:
    assert told(case, LABELS[case.alert], tmp_path) == ""
