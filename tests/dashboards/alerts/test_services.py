"""Alerts on Services fire when and only when they should."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.dashboards.promtool import SERVICE, SERVICE_LABELS, Case, told

AFFINITY = "flowatlas_service_affinity_connections_total"
NO_ENDPOINT = "flowatlas_service_no_endpoint_connections_total"
FAILURES = "FlowatlasServiceFailures"
SKEW = "FlowatlasServiceSkew"


def failing(opened: str, protocol: str = "TCP", **reasons: str) -> dict[str, str]:
    labels = f'{SERVICE},service_type="ClusterIP",protocol="{protocol}"'
    return {
        f'flowatlas_service_connections_total{{{labels},via="cluster_ip"}}': opened,
        **{
            f'flowatlas_service_connection_failures_total{{{labels},reason="{reason}"}}': values
            for reason, values in reasons.items()
        },
    }


def spread(gini: str, *endpoints: str) -> dict[str, str]:
    """The coefficient, and connections of each endpoint."""
    sent = "flowatlas_service_endpoint_connections_total"
    each = {f'{sent}{{{SERVICE},endpoint="cart-{i}",node="n1"}}': values for i, values in enumerate(endpoints)}
    return {f"flowatlas_service_endpoint_gini_ratio{{{SERVICE}}}": gini, **each}


LABELS = {
    "FlowatlasServiceWithoutEndpoints": SERVICE_LABELS,
    "FlowatlasServiceAffinityBroken": SERVICE_LABELS,
    FAILURES: {**SERVICE_LABELS, "reason": "refused"},
    SKEW: SERVICE_LABELS,
}
CASES = [
    Case(
        "FlowatlasServiceWithoutEndpoints", "dialled on and on", {f"{NO_ENDPOINT}{{{SERVICE}}}": "_x20 1+1x40"}, 35, 1
    ),
    Case("FlowatlasServiceWithoutEndpoints", "a rollout", {f"{NO_ENDPOINT}{{{SERVICE}}}": "_x20 1+1x3 4x40"}, 31, 0),
    Case("FlowatlasServiceWithoutEndpoints", "not dialled", {f"{NO_ENDPOINT}{{{SERVICE}}}": "9x60"}, 40, 0),
    Case(
        "FlowatlasServiceAffinityBroken",
        "the first ever",
        {f'{AFFINITY}{{affinity="broken",{SERVICE}}}': "_x20 1x40"},
        23,
        1,
    ),
    Case(
        "FlowatlasServiceAffinityBroken",
        "one more",
        {f'{AFFINITY}{{affinity="broken",{SERVICE}}}': "2x20 3x40"},
        25,
        1,
    ),
    Case(
        "FlowatlasServiceAffinityBroken",
        "kept and moved are well",
        {f'{AFFINITY}{{affinity="{how}",{SERVICE}}}': "1+5x60" for how in ("kept", "moved")},
        30,
        0,
    ),
    Case(FAILURES, "one of ten is refused", failing("0+100x60", refused="0+10x60"), 30, 1, "10%"),
    Case(
        FAILURES,
        "each reason for itself",
        failing("0+100x60", refused="0+10x60", reset="0+4x60", no_reply="0+4x60"),
        30,
        1,
        "10%",
    ),
    Case(FAILURES, "at the bound", failing("0+100x60", refused="0+5x60"), 30, 0),
    Case(FAILURES, "what was opened long ago", failing("100x60", refused="0x20 50x40"), 27, 1, "100%"),
    Case(FAILURES, "more than are opened", failing("0+10x60", refused="0+30x60"), 30, 1, "100%"),
    Case(FAILURES, "few", failing("0+2x60", refused="0+2x60"), 30, 0),
    Case(FAILURES, "not for long", failing("0+100x60", refused="0x20 200x40"), 24, 0),
    Case(FAILURES, "datagrams that nobody answers", failing("0+100x60", "UDP", no_reply="0+100x60"), 30, 0),
    Case(SKEW, "one endpoint has most", spread("0.45x60", "0+95x60", "0+5x60"), 40, 1, "0.45"),
    Case(SKEW, "even", spread("0.4x60", "0+50x60", "0+50x60"), 40, 0),
    Case(SKEW, "a handful of connections", spread("0.5x60", "0+1x60", "0+1x60"), 40, 0),
    Case(SKEW, "not for long", spread("0.1x20 0.6x10 0.1x40", "0+50x60", "0+50x60"), 33, 0),
]


@pytest.mark.prometheus
@pytest.mark.parametrize("case", CASES, ids=str)
def test_it_fires_when_it_should_and_only_then(case: Case, tmp_path: Path) -> None:
    assert told(case, LABELS[case.alert], tmp_path) == ""
