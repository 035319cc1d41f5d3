"""`make deploy-check`: every way to install, rendered and held against schemas, a real API server and checkov."""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.kube_apiserver import KubeApiServer

from . import review, schemas
from .cases import Rendered, pods, rendered
from .cluster import Cluster, RefusedError

EXPECTED_LEVELS: Final = {"flowatlas-collector": "privileged"}
"""Where it is not `restricted`: the collector shares its node's network."""


@dataclass(frozen=True, slots=True)
class Row:
    """What was found of one case."""

    name: str
    objects: int
    capabilities: list[str]
    levels: dict[str, str]
    reasoned: int
    problems: list[str]


def check(found: list[Rendered], server: KubeApiServer) -> tuple[list[Row], list[str]]:
    """A row a case, and what is wrong beyond the cases."""
    cluster = Cluster(server)
    cluster.prepare()
    known = review.exceptions()
    with tempfile.TemporaryDirectory(prefix="flowatlas-manifests-") as folder:
        for case in found:
            (Path(folder) / f"{case.name}.yaml").write_text(review.apart(case.name, case.text))
        reviewed = review.findings(Path(folder))
    rows = []
    for case in found:
        mine = [finding for finding in reviewed if finding.case == case.name]
        rest = review.unreasoned(mine, known)
        levels, problems = _levels(case, cluster)
        problems += [f"schema: {problem}" for problem in schemas.wrong(case.objects)]
        problems += [f"API server: {problem}" for problem in cluster.wrong(case.objects)]
        problems += [f"checkov: {f.check} {f.resource}: {f.title}" for f in rest]
        rows.append(Row(case.name, len(case.objects), case.capabilities, levels, len(mine) - len(rest), problems))
    stale = [f"exceptions.yaml: {e.check} of {e.resource} covers nothing" for e in review.unused(reviewed, known)]
    return rows, stale


def _levels(case: Rendered, cluster: Cluster) -> tuple[dict[str, str], list[str]]:
    """The strictest Pod Security level of each pod, and those that are not as strict as they should be."""
    levels, problems = {}, []
    for pod in pods(case.objects):
        name = pod["metadata"]["name"]
        try:
            levels[name] = cluster.level(pod)
        except RefusedError as error:
            problems.append(f"Pod Security: {name}: {error}")
            continue
        if levels[name] != EXPECTED_LEVELS.get(name, "restricted"):
            problems.append(f"Pod Security: {name} fits {levels[name]} only")
    return levels, problems


def table(rows: list[Row]) -> str:
    """The rows as a person reads them."""
    head = ("installation", "objects", "the collector's capabilities", "Pod Security", "findings", "problems")
    cells = [
        (
            row.name,
            str(row.objects),
            " ".join(row.capabilities),
            ", ".join(f"{count} {level}" for level, count in sorted(Counter(row.levels.values()).items())),
            f"0 unreasoned, {row.reasoned} reasoned" if not row.problems else f"{row.reasoned} reasoned",
            str(len(row.problems)),
        )
        for row in rows
    ]
    widths = [max(map(len, column)) for column in zip(head, *cells, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in (head, *cells)]
    return "\n".join(line.rstrip() for line in lines)


def main() -> int:
    """Check everything; 1 where something is wrong."""
    with KubeApiServer() as server:
        rows, stale = check(rendered(), server)
    problems = [f"{row.name}: {problem}" for row in rows for problem in row.problems] + stale
    sys.stdout.write(table(rows) + "\n" + "".join(f"{problem}\n" for problem in problems))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
