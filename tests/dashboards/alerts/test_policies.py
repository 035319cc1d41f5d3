"""Alerts on network policies fire when and only when they should."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.dashboards.promtool import PAIR, PAIR_LABELS, Case, told

MISMATCH = "flowatlas_policy_mismatch_connections_total"
DENIED, DROPPED = "established_denied", "dropped_allowed"
DENIALS = "policy:flowatlas_policy_denied_connections:increase10m"
UP = 'up{{instance="{}"}}'
ONE_POLICY = 'policy_namespace="shop",policy="web-only",policy_kind="NetworkPolicy",direction="ingress"'
CONNECTIONS = f'flowatlas_policy_connections_total{{{ONE_POLICY},rule="1"'
BYTES = 'flowatlas_policy_coverage_bytes_total{workload="web",workload_kind="Deployment",direction="ingress"'
PODS = 'flowatlas_policy_coverage_pods{direction="ingress"'


def mismatch(kind: str, values: str, **more: str) -> dict[str, str]:
    labels = "".join(f',{label}="{value}"' for label, value in more.items())
    return {f'{MISMATCH}{{mismatch="{kind}",{PAIR}{labels}}}': values}


def away(kind: str, values: str) -> dict[str, str]:
    """A pipeline that was not there from minute 21 to 23, and what it counted."""
    return mismatch(kind, values, instance="a:1") | {UP.format("a:1"): "1x20 0x2 1x100"}


def moved(kind: str, before: str, after: str) -> dict[str, str]:
    """A pipeline that had one address to minute 20 and another from minute 25 on, and what it counted."""
    counted = mismatch(kind, before, instance="a:1") | mismatch(kind, after, instance="b:1")
    return counted | {UP.format("a:1"): "1x20 stale", UP.format("b:1"): "_x24 1x100"}


def covered(traffic: str, **pods: str) -> dict[str, str]:
    """Traffic to unprotected pods of namespace shop, and how many pods of which namespace are covered how."""
    places = {"shop": ("shop", "unprotected"), "selected": ("shop", "selected"), "elsewhere": ("data", "isolated")}
    told_pods = {
        f'{PODS},namespace="{places[name][0]}",coverage="{places[name][1]}"}}': values for name, values in pods.items()
    }
    return {f'{BYTES},namespace="shop",coverage="unprotected"}}': traffic, **told_pods}


LABELS = {
    "FlowatlasPolicyNotEnforced": PAIR_LABELS,
    "FlowatlasPolicyDropsAllowed": PAIR_LABELS,
    "FlowatlasPolicyDenialsSurge": {
        "policy_namespace": "shop",
        "policy": "web-only",
        "policy_kind": "NetworkPolicy",
        "direction": "ingress",
    },
    "FlowatlasNamespaceUnprotected": {"namespace": "shop"},
}
SURGE, OPEN = "FlowatlasPolicyDenialsSurge", "FlowatlasNamespaceUnprotected"
CASES = [
    *(
        case
        for name, kind, other in (
            ("FlowatlasPolicyNotEnforced", DENIED, DROPPED),
            ("FlowatlasPolicyDropsAllowed", DROPPED, DENIED),
        )
        for case in (
            Case(name, "the first ever, of a new series", mismatch(kind, "_x20 1x40"), 23, 1),
            Case(name, "the first is over", mismatch(kind, "_x20 1x40"), 35, 0),
            Case(name, "one more", mismatch(kind, "3x20 4x40"), 25, 1),
            Case(name, "one more is over", mismatch(kind, "3x20 4x40"), 35, 0),
            Case(name, "no more than there were", mismatch(kind, "3x60"), 30, 0),
            Case(name, "the other mismatch", mismatch(other, "3+1x60"), 30, 0),
            Case(name, "a pipeline was away", away(kind, "3x20 stale _x2 3x60"), 33, 0),
            Case(name, "a pipeline goes on at another address", moved(kind, "3x20 stale", "_x24 3x60"), 28, 0),
            Case(name, "it was there for as long as it is not", moved(kind, "3x20 stale", "_x24 3x60"), 40, 0),
            Case(name, "one more while it moved", moved(kind, "3x20 stale", "_x24 4x60"), 28, 1),
            Case(name, "the first after it began at zero", away(kind, "3x20 stale _x19 1x60"), 42, 1),
            Case(name, "the first soon after it began at zero", away(kind, "3x20 stale _x5 1x60"), 30, 1),
            Case(name, "that is over", away(kind, "3x20 stale _x5 1x60"), 45, 0),
            Case(
                name,
                "two pipelines that see one pair are one alert",
                mismatch(kind, "3+1x60", instance="a:1") | mismatch(kind, "3+1x60", instance="b:1"),
                30,
                1,
            ),
        )
    ),
    Case(
        SURGE,
        "a new policy cuts off",
        {f'{CONNECTIONS},verdict="denied"}}': "_x60 0+10x60", "flowatlas_pipeline_series": "1x200"},
        80,
        1,
        "100",
    ),
    Case(
        SURGE,
        "no history yet",
        {f'{CONNECTIONS},verdict="denied"}}': "0+10x200", "flowatlas_pipeline_series": "1x200"},
        40,
        0,
    ),
    Case(
        SURGE,
        "a history of an hour",
        {f'{CONNECTIONS},verdict="denied"}}': "0+10x200", "flowatlas_pipeline_series": "1x200"},
        75,
        0,
    ),
    Case(SURGE, "as many as ever", {f'{CONNECTIONS},verdict="denied"}}': "0+10x200"}, 190, 0),
    Case(
        SURGE,
        "twenty times as many",
        {f'{CONNECTIONS},verdict="denied"}}': "0+1x1000 1021+20x60", "flowatlas_pipeline_series": "1x1100"},
        1030,
        1,
        "200",
    ),
    Case(SURGE, "nine times as many", {f'{CONNECTIONS},verdict="denied"}}': "0+1x1000 1010+9x60"}, 1030, 0),
    Case(SURGE, "what is let through", {f'{CONNECTIONS},verdict="allowed"}}': "_x60 0+10x60"}, 80, 0),
    Case(SURGE, "few", {f'{CONNECTIONS},verdict="denied"}}': "_x60 0+4x60"}, 80, 0),
    Case(OPEN, "nothing selects its pods", covered("0+60x200", shop="3x200", elsewhere="1x200"), 150, 1),
    Case(
        OPEN,
        "one of its pods is selected",
        covered("0+60x200", shop="3x200", selected="1x200", elsewhere="1x200"),
        150,
        0,
    ),
    Case(OPEN, "a cluster without policies", covered("0+60x200", shop="3x200"), 150, 0),
    Case(OPEN, "no traffic", covered("5x200", shop="3x200", elsewhere="1x200"), 150, 0),
    Case(OPEN, "not for long", covered("0+60x200", shop="3x200", elsewhere="1x200"), 50, 0),
]


@pytest.mark.prometheus
@pytest.mark.parametrize("case", CASES, ids=str)
def test_it_fires_when_it_should_and_only_then(case: Case, tmp_path: Path) -> None:
    assert told(case, LABELS[case.alert], tmp_path) == ""
