"""The wheel holds the three packages and works where the source tree is out of reach."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from deploy.setup import build_ebpf

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


@pytest.mark.skipif(not any(map(shutil.which, build_ebpf.COMPILERS)), reason="no clang")
def test_it_holds_the_ebpf_program_for_any_machine(wheel: Path) -> None:
    """BPF bytecode with its type information, in a wheel without a platform."""
    assert wheel.name.endswith("-py3-none-any.whl")
    code = zipfile.ZipFile(wheel).read("collector/ebpf/flow.bpf.o")
    assert code[:6] == b"\x7fELF\2\1"
    assert b".BTF.ext" in code


def test_without_a_compiler_it_is_built_all_the_same(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert build_ebpf.build(tmp_path / "flow.bpf.o") == "no clang here"
    assert not (tmp_path / "flow.bpf.o").exists()


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
