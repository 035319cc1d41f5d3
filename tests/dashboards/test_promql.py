"""What is read of an expression: its labels, its metrics and what is wrong."""

from __future__ import annotations

import pytest

from dashboards.promql import read, substitute, variables
from pipeline.catalog import BY_NAME

ENDPOINTS = "flowatlas_service_endpoint_connections_total"


@pytest.mark.parametrize(
    ("expression", "labels"),
    [
        (f"rate({ENDPOINTS}[1m])", set(BY_NAME[ENDPOINTS].labels)),
        (f"sum(rate({ENDPOINTS}[1m]))", set()),
        (f"sum by (node) (rate({ENDPOINTS}[1m]))", {"node"}),
        (f"sum without (node, endpoint) ({ENDPOINTS})", {"service_namespace", "service", "service_port"}),
        (f"topk(3, sum by (node) ({ENDPOINTS}))", {"node"}),
        (f"sum by (node) ({ENDPOINTS}) / 2", {"node"}),
        (f"2 * sum by (node) ({ENDPOINTS})", {"node"}),
        (f"time() - max by (node) ({ENDPOINTS})", {"node"}),
        (f"sum by (node) ({ENDPOINTS}) and sum by (node, service) ({ENDPOINTS})", {"node"}),
        (f"sum by (node) ({ENDPOINTS}) or vector(0)", {"node"}),
        (
            f"sum by (node, service) ({ENDPOINTS}) / on (node) group_left () sum by (node) ({ENDPOINTS})",
            {"node", "service"},
        ),
        (f"sum by (node) ({ENDPOINTS}) / on (node) sum by (node, service) ({ENDPOINTS})", {"node"}),
        (f"sum by (node, service) ({ENDPOINTS}) / ignoring (service) sum by (node) ({ENDPOINTS})", {"node"}),
        (f'label_replace(sum by (node) ({ENDPOINTS}), "zone", "$1", "node", "(.*)")', {"node", "zone"}),
        (f"max_over_time(sum by (node) ({ENDPOINTS})[1h:1m])", {"node"}),
        (f"absent({ENDPOINTS})", set()),
        (f"sum by (instance, node) (rate({ENDPOINTS}[1m]))", {"instance", "node"}),
    ],
)
def test_labels_of_a_result(expression: str, labels: set[str]) -> None:
    reading = read(expression)
    assert reading.problems == []
    assert reading.labels == labels
    assert reading.metrics == {ENDPOINTS}


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        ("sum by (", "does not parse"),
        ("rate(up[1m])", "no metric up in the catalogue"),
        ('{node="a"}', "no metric (unnamed)"),
        (f'{ENDPOINTS}{{pod="x"}}', f"{ENDPOINTS} has no label pod"),
        (f"sum by (pod) ({ENDPOINTS})", "sum groups by a label that is not there: pod"),
        (f"sum by (node) (sum by (service) ({ENDPOINTS}))", "not there: node"),
        (f"{ENDPOINTS} and on (pod) {ENDPOINTS}", "matched on a label that is not there: pod"),
        (f"sum by (node) ({ENDPOINTS}) / sum by (service) ({ENDPOINTS})", "nothing can match"),
        (f'label_replace({ENDPOINTS}, "a", "$1", "pod", "(.*)")', "label_replace reads a label that is not there: pod"),
    ],
)
def test_what_is_wrong_is_said(expression: str, problem: str) -> None:
    assert any(problem in found for found in read(expression).problems)


def test_variables_are_found_and_replaced_in_all_their_forms() -> None:
    text = 'x{a=~"$one", b=~"${two}", c=~"${three:regex}"}[$__range]'
    assert variables(text) == {"one", "two", "three", "__range"}
    assert substitute(text, {"one": "1", "two": "2", "three": "3"}) == 'x{a=~"1", b=~"2", c=~"3"}[$__range]'
