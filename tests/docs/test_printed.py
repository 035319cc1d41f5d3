"""The objects of a cluster that our own programs send a reader to are those that an installation makes."""

from __future__ import annotations

import re

import yaml

from pipeline.cli.cluster_state import DUMP
from tests.docs.test_tutorial import ROOT, objects

NAMED = re.compile(r"\b(deploy|deployment|statefulset|daemonset|service)/(flowatlas-[a-z]+)")
DUMPED = re.compile(r"kubectl get ns,[^&\n]*")
LABELLED = re.compile(r"app\.kubernetes\.io/name=(flowatlas-[a-z]+)")


def test_what_commands_name_is_made() -> None:
    texts = [path.read_text() for path in (ROOT / "pipeline").rglob("*.py")]
    texts += [path.read_text() for path in (ROOT / "docs").rglob("*.md")]
    texts.append((ROOT / "README.md").read_text())
    kinds = {"deploy": "deployment"}
    named = {f"{kinds.get(kind, kind)}/{name}" for text in texts for kind, name in NAMED.findall(text)}
    assert len(named) >= 4
    assert named <= objects(ROOT / "deploy/kustomize/overlays/production")


def test_a_dump_has_all_that_answers_rest_on_wherever_it_is_told_of() -> None:
    """Without policies every connection would be told as unprotected, and nothing would say why."""
    texts = [path.read_text() for path in (ROOT / "docs").rglob("*.md")]
    told = [line.strip() for text in texts for line in DUMPED.findall(text)]
    assert len(told) >= 3
    assert set(told) == {DUMP}


def test_labels_by_which_commands_choose_are_on_pods() -> None:
    texts = [path.read_text() for folder in ("pipeline", "docs") for path in (ROOT / folder).rglob("*.py")]
    texts += [path.read_text() for path in (ROOT / "docs").rglob("*.md")]
    chosen = {name for text in texts for name in LABELLED.findall(text)}
    worn = set()
    for path in (ROOT / "deploy/kustomize/base").glob("*.yaml"):
        for document in yaml.safe_load_all(path.read_text()):
            template = ((document or {}).get("spec") or {}).get("template") or {}
            worn.add(template.get("metadata", {}).get("labels", {}).get("app.kubernetes.io/name"))
    assert len(chosen) >= 2
    assert chosen <= worn
