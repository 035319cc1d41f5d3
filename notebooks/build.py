"""Execute the notebooks and write them with their outputs: `python -m notebooks.build`, as `make docs` does."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import jupytext
import nbformat
from nbclient import NotebookClient

HERE: Final = Path(__file__).resolve().parent
TIMEOUT_S: Final = 120


def sources() -> list[Path]:
    """The notebooks' sources, in reading order."""
    return sorted(HERE.glob("[0-9][0-9]-*.py"))


def execute(source: Path) -> nbformat.NotebookNode:
    """The notebook of a source, run top to bottom in its folder. Raises CellExecutionError where a cell fails."""
    notebook: nbformat.NotebookNode = jupytext.read(source)
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"  # the same on every build
    NotebookClient(
        notebook, timeout=TIMEOUT_S, kernel_name="python3", resources={"metadata": {"path": str(HERE)}}
    ).execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # times of day
    notebook.metadata = nbformat.NotebookNode(
        kernelspec={"display_name": "Python 3", "language": "python", "name": "python3"},
        language_info={"name": "python"},
    )
    return notebook


def main() -> None:
    """Write every notebook beside its source."""
    for source in sources():
        nbformat.write(execute(source), source.with_suffix(".ipynb"))


if __name__ == "__main__":
    main()
