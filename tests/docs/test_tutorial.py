"""What the tutorial's commands name exists: files, folders of kustomize, objects that they make, images, targets."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "tutorial" / "first-cluster.md"
COMMANDS = "\n".join(re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL))


def objects(folder: Path) -> set[str]:
    """kind/name, in lower case, of what the files of a kustomization and of those that it is made of hold."""
    listed = yaml.safe_load((folder / "kustomization.yaml").read_text())
    found: set[str] = set()
    for entry in (*listed.get("resources", ()), *listed.get("components", ())):
        path = (folder / entry).resolve()
        if path.is_dir():
            found |= objects(path)
        else:
            documents = [document for document in yaml.safe_load_all(path.read_text()) if document]
            found |= {f"{document['kind']}/{document['metadata']['name']}".lower() for document in documents}
    return found


def test_files_and_folders_are_there() -> None:
    paths = re.findall(r"(?:-f|-k) ((?:deploy|dashboards)/\S+)", COMMANDS)
    assert len(paths) == 4
    assert [path for path in paths if not (ROOT / path).exists()] == []
    assert all((ROOT / path / "kustomization.yaml").exists() for path in paths if not path.endswith("Dockerfile"))


def test_objects_that_are_waited_for_are_made() -> None:
    made = objects(ROOT / "deploy/kustomize/overlays/demo")
    named = re.findall(r"-n flowatlas (?:rollout status|port-forward) (\S+)", COMMANDS)
    assert len(named) == 4
    assert set(named) <= made


def test_images_are_those_that_the_overlay_runs() -> None:
    base = "".join(path.read_text() for path in (ROOT / "deploy/kustomize/base").glob("*.yaml"))
    built = re.findall(r"-t (\S+) \.", COMMANDS)
    assert len(built) == 2
    assert set(built) == set(re.findall(r"image: (flowatlas-\S+)", base))
    (loaded,) = re.findall(r"load docker-image --name flowatlas (.*)", COMMANDS)
    assert loaded.split() == built
    for dockerfile in re.findall(r"-f (\S+Dockerfile)", COMMANDS):
        assert "ARG BASE=" in (ROOT / dockerfile).read_text()


def test_the_policy_is_one() -> None:
    (text,) = re.findall(r"<<EOF\n(.*?)\nEOF", COMMANDS, re.DOTALL)
    policy = yaml.safe_load(text)
    assert (policy["kind"], policy["spec"]["policyTypes"]) == ("NetworkPolicy", ["Ingress"])


def test_make_targets_are_there() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make (\S+)", COMMANDS, re.MULTILINE):
        assert f"\n{target}:" in makefile
