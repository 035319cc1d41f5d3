"""The chart as plain manifests: what kustomize starts from, written by helm and never by hand.

    python -m deploy.render            write deploy/kustomize/{base,components}
    python -m deploy.render --check    say what is stale, exit code 1

The invariant: every object is written once, as a template of the chart; tests hold the rest against it.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).resolve().parent.parent
TOOLS: Final = ROOT / ".cache" / "manifest-tools"
HELM: Final = TOOLS / "helm"
KUSTOMIZE: Final = TOOLS / "kustomize"
CHART: Final = ROOT / "deploy" / "helm" / "flowatlas"
PROFILES: Final = CHART / "profiles"
OVERLAYS: Final = ROOT / "deploy" / "kustomize" / "overlays"

RELEASE: Final = "flowatlas"
KUBERNETES: Final = "1.35.0"
"""The version that helm is told the cluster has."""

_HEADING: Final = "# Made from deploy/helm/flowatlas by `make manifests`; do not edit.\n"
_SOURCE: Final = re.compile(r"^# Source: .*\n", re.MULTILINE)
_CHECKSUM: Final = re.compile(r"^      annotations:\n        flowatlas/settings: .*\n", re.MULTILINE)
"""Helm rolls pods by it when settings change; kustomize changes none of it, so it says nothing there."""

Object = dict[str, Any]

FILES: Final[dict[str, tuple[str, Sequence[str]]]] = {
    "deploy/kustomize/base/namespace.yaml": ("namespace", ("namespace.create=true",)),
    "deploy/kustomize/base/settings.yaml": ("settings", ()),
    "deploy/kustomize/base/collector.yaml": ("collector", ()),
    "deploy/kustomize/base/watcher.yaml": ("watcher", ()),
    "deploy/kustomize/base/pipeline.yaml": ("pipeline", ()),
    "deploy/kustomize/base/rbac.yaml": ("rbac", ()),
    "deploy/kustomize/base/network-policies.yaml": ("network-policies", ()),
    "deploy/kustomize/components/strimzi/kafka.yaml": ("kafka", ("kafka.create=true", "bus=")),
    "deploy/kustomize/components/monitoring/monitors.yaml": ("monitoring", ("monitoring.monitors=true",)),
    "deploy/kustomize/components/openshift/constraints.yaml": ("openshift", ("openshift.enabled=true",)),
}
"""Which template becomes which file, and with which values."""


def template(*arguments: str) -> str:
    """What `helm template` makes of the chart. Raises CalledProcessError, with what helm said in `stderr`."""
    command = [str(HELM), "template", RELEASE, str(CHART), "--namespace", RELEASE, "--kube-version", KUBERNETES]
    return subprocess.run([*command, *arguments], capture_output=True, text=True, check=True).stdout


def build(folder: Path) -> str:
    """What `kustomize build` makes of a folder."""
    return subprocess.run([str(KUSTOMIZE), "build", str(folder)], capture_output=True, text=True, check=True).stdout


def objects(text: str) -> list[Object]:
    """The objects of a stream of documents."""
    return [document for document in yaml.load_all(text, Loader=yaml.CSafeLoader) if document]


def profile(*names: str) -> list[Object]:
    """The objects of the chart with these profiles over each other."""
    return objects(template(*(f"--values={PROFILES / name}.yaml" for name in names)))


def texts() -> dict[str, str]:
    """Every file that is written, by its path from the root."""
    found = {}
    for path, (name, values) in FILES.items():
        said = template(f"--show-only=templates/{name}.yaml", *(f"--set={value}" for value in values))
        said = _CHECKSUM.sub("", _SOURCE.sub("", said)).removeprefix("---\n")
        found[path] = _HEADING + said
    return found


def stale() -> list[str]:
    """The files that are not what would be written."""
    return [path for path, text in texts().items() if _read(ROOT / path) != text]


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


def main() -> int:
    """Write, or check."""
    parser = argparse.ArgumentParser(prog="python -m deploy.render", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, say what is stale")
    if parser.parse_args().check:
        found = stale()
        sys.stdout.write("".join(f"stale: {path}\n" for path in found) or "all manifests are fresh\n")
        return 1 if found else 0
    for path, text in texts().items():
        (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / path).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
