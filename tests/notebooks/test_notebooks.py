"""The notebooks run top to bottom, on the history that comes with the project and on a fresh run of the demo."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import jupytext
import nbformat
import polars as pl
import pytest
from nbclient.exceptions import CellExecutionError

from deploy.demo import replay
from notebooks.build import execute, sources
from tests.pipeline.lake.histories import flows, lake_of

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::RuntimeWarning")  # of Jupyter's own


def ids(paths: list[Path]) -> list[str]:
    return [path.stem for path in paths]


def outputs(notebook: nbformat.NotebookNode) -> list[str]:
    """The kinds of data of each output, in order."""
    shown = [output.get("data", {}) for cell in notebook.cells for output in cell.get("outputs", ())]
    return [kind for data in shown for kind in sorted(data)]


def test_they_are_numbered_from_one_on() -> None:
    assert [int(source.stem[:2]) for source in sources()] == list(range(1, len(sources()) + 1))
    assert len(sources()) >= 6


@pytest.mark.parametrize("source", sources(), ids=ids(sources()))
def test_it_runs_and_the_committed_one_has_its_cells_and_outputs(source: Path) -> None:
    executed = execute(source)
    committed = nbformat.read(source.with_suffix(".ipynb"), as_version=4)
    assert [cell.source for cell in committed.cells] == [cell.source for cell in executed.cells]
    assert outputs(committed) == outputs(executed)
    assert outputs(committed).count("image/png") >= 2


@pytest.fixture(scope="module")
def demo_lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    replay.run(folder)
    return folder / "lake"


@pytest.mark.parametrize("source", sources(), ids=ids(sources()))
def test_it_runs_on_a_lake_of_the_demo(source: Path, demo_lake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWATLAS_LAKE", str(demo_lake))
    assert "image/png" in outputs(execute(source))


@pytest.mark.parametrize(
    ("kind", "lacking"),
    [
        ("no row", {"01", "02", "05", "06"}),
        ("a minute of what was not judged and is not TCP", {"02", "06"}),
        ("a minute", set[str]()),
    ],
)
@pytest.mark.parametrize("source", sources(), ids=ids(sources()))
def test_of_a_history_with_too_little_it_says_in_a_sentence_what_is_lacking(
    source: Path, kind: str, lacking: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    minute = flows(200, span=timedelta(seconds=50))
    if "not judged" in kind:
        minute = minute.with_columns(verdict=pl.lit(""), protocol=pl.lit(17, pl.UInt8))
    lake_of(tmp_path, *(() if kind == "no row" else (minute,)))
    monkeypatch.setenv("FLOWATLAS_LAKE", str(tmp_path))
    if source.stem[:2] not in lacking:
        execute(source)
        return
    with pytest.raises(CellExecutionError) as caught:
        execute(source)
    assert caught.value.ename == "ValueError"
    assert caught.value.evalue.startswith(f"{tmp_path} has no ")


def test_the_committed_notebooks_are_small_and_name_no_folder_of_their_maker() -> None:
    for source in sources():
        text = source.with_suffix(".ipynb").read_text()
        assert len(text) < 1_000_000
        assert str(Path(__file__).resolve().parents[2]) not in text
        assert jupytext.reads(text, "ipynb").cells
