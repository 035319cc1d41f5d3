"""Alerts on what is beyond the cluster, or far away in it, fire when and only when they should."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.dashboards.promtool import Case, told

DAY, WEEK = 24 * 60, 7 * 24 * 60
TRAFFIC, COUNTRY, COST = "FlowatlasNewExternalTraffic", "FlowatlasNewExternalCountry", "FlowatlasCrossZoneCost"
SCAN, FAILED = (
    "FlowatlasPortScan",
    'flowatlas_workload_failed_destinations{source_namespace="shop",source_workload="web"}',
)
LABELS = {
    SCAN: {"source_namespace": "shop", "source_workload": "web"},
    TRAFFIC: {"source_namespace": "shop", "source_workload": "web"},
    COUNTRY: {"namespace": "shop", "workload": "web", "country": "NZ"},
    COST: {"namespace": "shop", "currency": "EUR"},
}


def opened(web: str, kind: str = "Deployment", to: str = "External", other: str = "5x700") -> dict[str, str]:
    """Connections of two workloads, the second one to what is beyond the cluster."""
    ends = 'source_workload="{}",source_workload_kind="{}",destination_workload_kind="{}"'
    source = 'source_namespace="{}"'.format("" if kind in ("Node", "Cloud") else "shop")
    inside = ',destination_namespace="data"' if to == "Deployment" else ""
    metric, cart = "flowatlas_connections_total", ends.format("cart", "Deployment", "External")
    return {
        f"{metric}{{{source},{ends.format('web', kind, to)}{inside}}}": web,
        f'{metric}{{source_namespace="shop",{cart}}}': other,
    }


def sent(web: str, country: str = "NZ", other: str = "5x700") -> dict[str, str]:
    """Bytes to a country, and to another one."""
    ends = 'namespace="shop",workload="web",workload_kind="Deployment",direction="egress",asn="1"'
    metric = "flowatlas_external_bytes_total"
    return {f'{metric}{{{ends},country="{country}"}}': web, f'{metric}{{{ends},country="DE"}}': other}


def paid(before: int, after: int, locality: str = "cross_zone") -> dict[str, str]:
    """Thousandths in half an hour, for a week and from then on."""
    samples = WEEK // 30
    labels = f'namespace="shop",service="cart",locality="{locality}",direction="egress",currency="EUR"'
    values = f"0+{before / 1000}x{samples} {before * samples / 1000}+{after / 1000}x20"
    return {f"flowatlas_traffic_cost_total{{{labels}}}": values}


NOW = DAY + 300
CASES = [
    Case(SCAN, "many at once", {FAILED: "_x10 101x30"}, 12, 1, "101"),
    Case(SCAN, "a hundred", {FAILED: "_x10 100x30"}, 12, 0),
    Case(SCAN, "over", {FAILED: "_x10 500x10 stale"}, 30, 0),
    Case(TRAFFIC, "for the first time", opened("_x345 1x100"), DAY + 295, 1, step="5m"),
    Case(TRAFFIC, "told for an hour", opened("_x345 1x100"), DAY + 355, 0, step="5m"),
    Case(TRAFFIC, "as yesterday", opened("1x700"), NOW, 0, step="5m"),
    Case(TRAFFIC, "after some hours of silence", opened("1x200 stale _x100 1x300"), 1515, 0, step="5m"),
    Case(TRAFFIC, "inside the cluster", opened("_x345 1x100", to="Deployment"), DAY + 295, 0, step="5m"),
    Case(TRAFFIC, "to what a cloud's list names", opened("_x345 1x100", to="Cloud"), DAY + 295, 1, step="5m"),
    Case(TRAFFIC, "to a node", opened("_x345 1x100", to="Node"), DAY + 295, 0, step="5m"),
    Case(TRAFFIC, "to nobody knows whom", opened("_x345 1x100", to="Unknown"), DAY + 295, 0, step="5m"),
    Case(TRAFFIC, "from there", opened("_x345 1x100", kind="Cloud"), DAY + 295, 0, step="5m"),
    Case(TRAFFIC, "a node", opened("_x345 1x100", kind="Node"), DAY + 295, 0, step="5m"),
    Case(TRAFFIC, "no history yet", opened("_x100 1x100"), 510, 0, step="5m"),
    Case(COUNTRY, "for the first time", sent("_x345 1x100"), DAY + 295, 1, step="5m"),
    Case(COUNTRY, "as yesterday", sent("1x700"), NOW, 0, step="5m"),
    Case(COUNTRY, "a country that is not known", sent("_x345 1x100", ""), DAY + 295, 0, step="5m"),
    Case(COUNTRY, "no history yet", sent("_x100 1x100"), 510, 0, step="5m"),
    Case(COST, "from 0.12 to 0.6 an hour", paid(60, 300), WEEK + 180, 1, "0.60", "30m"),
    Case(COST, "less than twice", paid(160, 300), WEEK + 180, 0, step="30m"),
    Case(COST, "next to nothing", paid(5, 45), WEEK + 180, 0, step="30m"),
    Case(COST, "inside a zone", paid(60, 300, "same_zone"), WEEK + 180, 0, step="30m"),
]


@pytest.mark.prometheus
@pytest.mark.parametrize("case", CASES, ids=str)
def test_it_fires_when_it_should_and_only_then(case: Case, tmp_path: Path) -> None:
    assert told(case, LABELS[case.alert], tmp_path) == ""


@pytest.mark.prometheus
def test_who_is_in_no_namespace_is_named_as_commands_take_it(tmp_path: Path) -> None:
    """`flowatlas observe --from-workload` takes `outside`, and no `/outside`."""
    case = Case(
        SCAN,
        "from beyond",
        {'flowatlas_workload_failed_destinations{source_workload="outside"}': "300x60"},
        5,
        1,
        "300",
    )
    assert told(case, {"source_workload": "outside"}, tmp_path) == ""
    assert "/outside" not in told(case, {"source_workload": "inside"}, tmp_path)
