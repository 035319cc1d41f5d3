"""What Flowatlas does not see: nodes that nobody tells of, and traffic that is in no flow."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ..inventory.models import Node
from .evidence import Evidence, full
from .finding import Finding

CHECK: Final = "capture"
ROWS: Final = "flowatlas_pipeline_rows_total"
NODE_COVERAGE: Final = "flowatlas_node_capture_coverage_ratio"
_COVERAGE: Final = "flowatlas_capture_coverage_ratio"
NAMES: Final = (ROWS, NODE_COVERAGE, _COVERAGE)
COVERED: Final = 0.98


def unseen_nodes(evidence: Evidence) -> Iterator[Finding]:
    """Nodes of the state from which the pipeline has had no flows: what talks there alone is not counted."""
    told = {node for (node,), _ in evidence.scrape.by(ROWS, "node", table="flows").items()}
    for node in evidence.cluster.each(Node):
        if node.metadata.name not in told and evidence.is_asked_node(node.metadata.name):
            yield Finding(
                CHECK,
                "error",
                f"node {node.metadata.name}",
                "no collector tells of its flows",
                (f"the pipeline has had flows of {', '.join(sorted(told)) or 'no node'}",),
                f"kubectl get pods -A -o wide --field-selector spec.nodeName={node.metadata.name} | grep flowatlas",
            )


def uncovered_nodes(evidence: Evidence) -> Iterator[Finding]:
    """Nodes of whose pods' bytes less than 98 % are in flows."""
    for (node,), ratio in evidence.scrape.by(NODE_COVERAGE, "node").items():
        if ratio >= COVERED or not evidence.is_asked_node(node):
            continue
        pods = sorted(
            (value, full((labels["namespace"], labels["pod"])))
            for labels, value in evidence.scrape.of(_COVERAGE, node=node)
            if value < COVERED
        )
        yield Finding(
            CHECK,
            "warning",
            f"node {node}",
            f"only {ratio:.1%} of its pods' bytes are in flows",
            tuple(f"{name}: {value:.1%}" for value, name in pods[:3]),
            f"flowatlas status --collector http://{node}:9465",
        )
