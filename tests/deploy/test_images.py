"""The images' recipes: pinned by digest, not root, labelled, lean, and as hadolint wants them."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from deploy.render import CHART
from tests.deploy_check.review import CHECKOV

ROOT = Path(__file__).resolve().parents[2]
IMAGES = ROOT / "deploy" / "images"
COMPONENTS = ("collector", "pipeline")
HADOLINT = CHECKOV.with_name("hadolint")
PLACEHOLDER = "sha256:" + 64 * "0"
"""Of no image: a build without a reviewed digest fails."""


def recipe(component: str) -> str:
    return (IMAGES / f"{component}.Dockerfile").read_text()


def lint(path: Path) -> subprocess.CompletedProcess[str]:
    command = [str(HADOLINT), "--config", str(IMAGES / "hadolint.yaml"), str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("component", COMPONENTS)
def test_every_stage_is_from_a_base_that_is_pinned_by_digest(component: str) -> None:
    text = recipe(component)
    assert {line.split()[1] for line in text.splitlines() if line.startswith("FROM ")} == {"${BASE}"}
    (base,) = re.findall(r"^ARG BASE=(\S+)$", text, re.MULTILINE)
    name, _, digest = base.partition("@")
    assert re.fullmatch(r"python:3\.\d+-slim-[a-z]+", name)
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", digest)
    assert digest == PLACEHOLDER or len(set(digest.removeprefix("sha256:"))) > 8, "a digest, or plainly none"


@pytest.mark.parametrize("component", COMPONENTS)
def test_the_last_stage_is_not_root_and_says_what_it_is(component: str) -> None:
    last = recipe(component).rpartition("\nFROM ")[2]
    assert re.findall(r"^USER (\S+)$", last, re.MULTILINE) == ["65532:65532"]
    labels = dict(re.findall(r'org\.opencontainers\.image\.(\w+)="([^"]*)"', last))
    assert labels.keys() == {"title", "description", "licenses", "version", "revision"}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert labels["licenses"] == project["license"]
    assert re.findall(r"^ARG VERSION=(\S+)$", last, re.MULTILINE) == [project["version"]]
    assert "COPY . " not in last


def test_the_images_are_those_that_the_chart_runs() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    for component in COMPONENTS:
        assert f"-t {values['image'][component]['repository']}:" in recipe(component)


def test_the_collectors_list_names_projects_that_the_lock_pins() -> None:
    lock = set(re.findall(r"^([a-z0-9-]+)==", (ROOT / "requirements.lock").read_text(), re.MULTILINE))
    lines = (IMAGES / "collector.txt").read_text().splitlines()
    names = {line for line in lines if not line.startswith("#")}
    assert names <= lock
    assert not names & {"polars", "pyarrow", "scapy", "pyroute2", "grafanalib"}


@pytest.mark.checkov
@pytest.mark.parametrize("component", COMPONENTS)
def test_hadolint_finds_nothing(component: str) -> None:
    done = lint(IMAGES / f"{component}.Dockerfile")
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.checkov
def test_hadolint_would_find_something(tmp_path: Path) -> None:
    worse = tmp_path / "Dockerfile"
    worse.write_text(recipe("collector").replace("FROM ${BASE}\n", "FROM python:latest\n"))
    assert "DL3007" in lint(worse).stdout
