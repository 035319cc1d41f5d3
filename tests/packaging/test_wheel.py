"""The wheel holds the three packages and works where the source tree is out of reach."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel as a release would build it."""
    out = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (built,) = out.glob("*.whl")
    return built


def test_its_top_level_names_are_the_three_packages(wheel: Path) -> None:
    tops = {name.partition("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"collector", "pipeline", "dashboards"}


def test_it_holds_typing_markers_and_the_generated_dashboards(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {f"{package}/py.typed" for package in ("collector", "pipeline", "dashboards")} <= names
    generated = {f"dashboards/generated/{path.name}" for path in (ROOT / "dashboards" / "generated").glob("*.json")}
    assert generated
    assert generated <= names


def test_the_command_runs_from_the_unpacked_wheel(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path)
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "import pipeline, collector, dashboards, pipeline.engine, collector.agent, dashboards.build\n"
        f"assert all(m.__file__.startswith({str(tmp_path)!r}) for m in (pipeline, collector, dashboards))\n"
        "from pipeline.cli.main import main\n"
        "main(['--version'])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("flowatlas ")
