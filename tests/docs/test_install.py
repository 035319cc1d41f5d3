"""What the commands of installing, upgrading and uninstalling name is there: files, values, objects, targets."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest

from deploy.render import CHART, OVERLAYS, RELEASE, objects, template

ROOT = Path(__file__).parents[2]
PAGES = tuple(ROOT / "docs" / "how-to" / f"{name}.md" for name in ("install", "upgrade", "uninstall"))
PROGRAMS = {"docker", "flowatlas", "helm", "kafka-topics.sh", "kubectl", "rm", "sysctl"}


def commands(page: Path) -> Iterator[list[str]]:
    """The words of every command of a page's blocks."""
    text = page.read_text()
    for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL):
        for line in re.sub(r"\s*\\\n\s*", " ", block).strip().splitlines():
            yield shlex.split(line)


def every(program: str, verb: str = "") -> list[list[str]]:
    found = [words for page in PAGES for words in commands(page) if words[0] == program]
    return [words for words in found if not verb or verb in words]


def after(words: list[str], *flags: str) -> list[str]:
    """The values of flags that are words of their own."""
    return [value for flag, value in pairwise(words) if flag in flags]


def test_every_command_is_of_a_program_that_is_looked_at_here() -> None:
    assert {words[0] for page in PAGES for words in commands(page)} == PROGRAMS


def test_files_and_folders_are_there() -> None:
    paths = [p for w in (*every("helm"), *every("kubectl"), *every("docker")) for p in after(w, "-f", "-k")]
    paths += [word for words in every("helm") for word in words if word.startswith("deploy/")]
    assert len(paths) > 10
    assert [path for path in paths if path != "-" and not (ROOT / path).exists()] == []
    folders = [path for words in every("kubectl") for path in after(words, "-k")]
    assert all((ROOT / path / "kustomization.yaml").exists() for path in folders)


def test_paths_in_the_text_are_there() -> None:
    for page in PAGES:
        for path in re.findall(r"`((?:deploy|tests|dashboards)/[^`\s]+)`", page.read_text()):
            assert (ROOT / path).exists(), f"{page.name}: {path}"


def test_every_profile_is_in_the_table() -> None:
    text = PAGES[0].read_text()
    assert [path.stem for path in (CHART / "profiles").glob("*.yaml") if f"`{path.stem}`" not in text] == []
    assert [path.name for path in OVERLAYS.iterdir() if path.name not in text] == []


@pytest.mark.manifests
def test_the_chart_takes_every_value_that_is_set() -> None:
    lines = [words for words in every("helm") if words[1] in ("install", "upgrade")]
    assert len(lines) > 5
    for words in lines:
        given = [f"--values={ROOT / path}" for path in after(words, "-f")]
        template(*given, *(f"--set={value}" for value in after(words, "--set")))


def test_to_another_version_values_are_taken_over_the_new_charts_defaults() -> None:
    """`--reuse-values` has those of the old chart, of which the new one may refuse some and miss others."""
    upgrade = PAGES[1]
    lines = [words for words in commands(upgrade) if words[:2] == ["helm", "upgrade"]]
    assert len(lines) > 2
    assert all("--reset-then-reuse-values" in words for words in lines)


def test_who_goes_back_says_to_which_revision() -> None:
    for words in every("helm", "rollback"):
        assert words[words.index(RELEASE) + 1].isdecimal()


@cache
def made() -> set[str]:
    values = ("kafka.create=true", "bus=")
    return {f"{o['kind']}/{o['metadata']['name']}".lower() for o in objects(template(*(f"--set={v}" for v in values)))}


@pytest.mark.manifests
def test_objects_that_are_named_are_made() -> None:
    named = [
        w for words in every("kubectl") for w in words if re.match(r"(daemonset|deployment|statefulset|service)/", w)
    ]
    assert len(named) > 5
    assert set(named) <= made()


def test_releases_and_namespaces_are_the_charts_own() -> None:
    for words in every("helm"):
        assert RELEASE in words
        assert after(words, "--namespace", "-n") == [RELEASE]
    assert {n for words in every("kubectl") for n in after(words, "-n", "namespace")} <= {RELEASE, "monitoring"}


@pytest.mark.manifests
def test_what_is_left_on_nodes_is_what_the_collector_mounts() -> None:
    (daemonset,) = [o for o in objects(template()) if o["kind"] == "DaemonSet"]
    volumes = daemonset["spec"]["template"]["spec"]["volumes"]
    (removed,) = [words[2:] for words in every("rm")]
    for volume in volumes:
        assert any(Path(volume["hostPath"]["path"]).is_relative_to(path) for path in removed), volume


@pytest.mark.manifests
def test_helm_knows_the_flags() -> None:
    from deploy.render import HELM

    for verb in ("install", "upgrade", "uninstall", "rollback", "history", "test"):
        said = subprocess.run([str(HELM), verb, "--help"], capture_output=True, text=True, check=True).stdout
        for words in every("helm", verb):
            for flag in (word.partition("=")[0] for word in words if word.startswith("--")):
                assert flag in said, f"helm {verb} {flag}"


def test_targets_of_make_are_there() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for page in PAGES:
        for target in re.findall(r"`make ([a-z-]+)", page.read_text()):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
