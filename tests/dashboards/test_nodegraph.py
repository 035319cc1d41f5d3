"""The map's two queries: columns that Grafana looks for, and no edge without its nodes."""

from __future__ import annotations

import pytest

from dashboards.nodegraph import NAMESPACES, WORKLOADS, Grain, edges, nodes
from dashboards.promql import BUILT_IN, read, substitute

WHERE = ({"source_namespace": "shop"}, {"destination_namespace": "shop"})


def labels(expression: str) -> frozenset[str]:
    reading = read(substitute(expression, BUILT_IN))
    assert reading.problems == []
    return reading.labels


@pytest.mark.parametrize(
    ("grain", "columns"), [(NAMESPACES, {"id", "title"}), (WORKLOADS, {"id", "title", "subtitle"})]
)
def test_the_columns_are_those_that_grafana_looks_for(grain: Grain, columns: set[str]) -> None:
    assert labels(nodes(grain, WHERE)) == columns
    assert labels(edges(grain, WHERE)) == {"id", "source", "target", "color"}


@pytest.mark.parametrize("grain", [NAMESPACES, WORKLOADS])
def test_nodes_are_the_ends_of_the_edges_that_are_shown(grain: Grain) -> None:
    """Grafana draws nothing where an edge ends at a node that is not there: both cut off at the same pairs."""
    cut = nodes(grain, WHERE).partition("topk")[2].partition(" > 0")[0]
    assert cut
    assert nodes(grain, WHERE).count(f"topk{cut}") == 2
    assert edges(grain, WHERE).count(f"topk{cut}") == 2
