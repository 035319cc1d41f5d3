"""The dashboards that there are, and how they become files."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from . import (
    dns,
    external,
    ingress,
    mesh,
    namespace,
    nodes,
    overview,
    pipeline_health,
    policies,
    services,
    tcp,
    workload,
)
from .normalize import Json, normalize, to_text

GENERATED: Final = Path(__file__).parent / "generated"
"""The committed files; tests prove them equal to what the programs build."""

_PROGRAMS: Final = {
    "dns": dns.dashboard,
    "external": external.dashboard,
    "ingress": ingress.dashboard,
    "mesh": mesh.dashboard,
    "namespace": namespace.dashboard,
    "nodes": nodes.dashboard,
    "overview": overview.dashboard,
    "pipeline-health": pipeline_health.dashboard,
    "policies": policies.dashboard,
    "services": services.dashboard,
    "tcp": tcp.dashboard,
    "workload": workload.dashboard,
}


def documents() -> dict[str, Json]:
    """Every dashboard, by the stem of its file."""
    return {stem: normalize(program()) for stem, program in _PROGRAMS.items()}


def build(out: Path = GENERATED) -> list[Path]:
    """Write every dashboard into the folder `out`, which is made where it is missing; what else lies there stays."""
    out.mkdir(parents=True, exist_ok=True)
    paths = []
    for stem, document in documents().items():
        path = out / f"{stem}.json"
        path.write_text(to_text(document), encoding="utf-8")
        paths.append(path)
    return paths
