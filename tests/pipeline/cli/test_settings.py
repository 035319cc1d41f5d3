"""Settings come in layers, and a wrong one is named with the layer it came from."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from pipeline.cli.settings import load, origins
from pipeline.config import PipelineConfig
from pipeline.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Sample:
    node: str
    interval_s: float = 1.0
    netns: Path | None = None
    sources: tuple[str, ...] = ("conntrack",)


def merged(tmp_path: Path, text: str = "", environ: dict[str, str] | None = None, **flags: object) -> Sample:
    file = tmp_path / "flowatlas.yaml"
    file.write_text(text)
    return load("collector", Sample, file=file, environ=environ or {}, flags=flags)


def test_a_later_layer_wins_and_an_absent_flag_is_no_layer(tmp_path: Path) -> None:
    yaml = "collector: {node: from-file, interval_s: 2, sources: [a, b]}\npipeline: {anything: 1}\n"
    environ = {"FLOWATLAS_COLLECTOR_INTERVAL_S": "3.5", "FLOWATLAS_PIPELINE_LISTEN": "x", "HOME": "/"}
    assert merged(tmp_path, yaml, environ, node=None) == Sample("from-file", 3.5, None, ("a", "b"))
    assert merged(tmp_path, yaml, environ, node="flag", interval_s="9").interval_s == 9.0


def test_text_becomes_paths_and_tuples(tmp_path: Path) -> None:
    environ = {"FLOWATLAS_COLLECTOR_SOURCES": "conntrack, counters,", "FLOWATLAS_COLLECTOR_NETNS": "/proc/1/ns/net"}
    sample = merged(tmp_path, environ=environ, node="n")
    assert sample.sources == ("conntrack", "counters")
    assert sample.netns == Path("/proc/1/ns/net")


@pytest.mark.parametrize("text", ["", "none", "None", "null"])
def test_none_and_nothing_take_back_a_setting_and_are_no_folder(tmp_path: Path, text: str) -> None:
    """A folder `none` or the current one would be written to, where an operator means to switch something off."""
    yaml = "collector: {node: n, netns: /proc/1/ns/net}"
    assert merged(tmp_path, yaml, {"FLOWATLAS_COLLECTOR_NETNS": text}).netns is None
    assert merged(tmp_path, yaml, netns=text).netns is None
    assert merged(tmp_path, f"collector: {{node: n, netns: '{text}'}}").netns is None
    assert merged(tmp_path, yaml, node="none").node == "none"


@pytest.mark.parametrize(
    ("yaml", "environ", "flags"),
    [
        ("[/a.mmdb, /b.mmdb]", {}, {}),
        ("[]", {"FLOWATLAS_PIPELINE_GEO": "/a.mmdb,/b.mmdb"}, {}),
        ("[]", {"FLOWATLAS_PIPELINE_GEO": "/c.mmdb"}, {"geo": "/a.mmdb, /b.mmdb"}),
    ],
)
def test_every_layer_can_list_files(
    tmp_path: Path, yaml: str, environ: dict[str, str], flags: dict[str, object]
) -> None:
    file = tmp_path / "flowatlas.yaml"
    file.write_text(f"pipeline: {{bus: 'file:///bus', state: /state, geo: {yaml}}}\n")
    config = load("pipeline", PipelineConfig, file=file, environ=environ, flags=flags)
    assert config.geo == (Path("/a.mmdb"), Path("/b.mmdb"))


@pytest.mark.parametrize(
    ("yaml", "environ", "flags", "said"),
    [
        ("collector: {nod: x}", {}, {}, "flowatlas.yaml: collector.nod is not a setting"),
        ("colector: {}", {}, {}, "colector is not a section"),
        ("- 1", {}, {}, "a mapping of sections is wanted"),
        (
            "collector: {node: a}\ncollector: {node: b}",
            {},
            {},
            "flowatlas.yaml: 'collector' is there twice, in lines 1 and 2",
        ),
        ("collector:\n  node: a\n  node: a", {}, {}, "flowatlas.yaml: 'node' is there twice, in lines 2 and 3"),
        ("collector: {node: 2026-02-31}", {}, {}, "flowatlas.yaml: day is out of range"),
        ("collector: [1]", {}, {}, "a mapping of settings is wanted"),
        ("a: [", {}, {}, "flowatlas.yaml: "),
        ("", {"FLOWATLAS_COLLECTOR_NODES": "x"}, {}, "environment: collector.nodes is not a setting"),
        ("", {}, {"node": "n", "interval_s": "soon"}, "flags: collector.interval_s: "),
        ("", {}, {}, "collector: node must be set"),
    ],
)
def test_a_wrong_setting_is_named(
    tmp_path: Path, yaml: str, environ: dict[str, str], flags: dict[str, object], said: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        merged(tmp_path, yaml, environ, **flags)
    assert said in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent.yaml: No such file"):
        load("collector", Sample, file=tmp_path / "absent.yaml", environ={}, flags={})


def test_origins_name_the_layer_that_won(tmp_path: Path) -> None:
    file = tmp_path / "flowatlas.yaml"
    file.write_text("collector: {node: from-file, interval_s: 2}\n")
    environ = {"FLOWATLAS_COLLECTOR_INTERVAL_S": "3"}
    assert origins("collector", Sample, file=file, environ=environ) == {
        "node": str(file),
        "interval_s": "FLOWATLAS_COLLECTOR_INTERVAL_S",
        "netns": "default",
        "sources": "default",
    }
