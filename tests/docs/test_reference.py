"""The reference pages: fresh, and complete."""

from __future__ import annotations

from docs.generate import FOLDER, pages
from pipeline.catalog import LABEL_HELP, METRICS


def test_committed_pages_are_what_the_code_makes() -> None:
    """`make docs` would change nothing; no page is left over."""
    assert {path.name: path.read_text() for path in FOLDER.glob("*")} == pages()


def test_every_metric_and_label_has_its_row() -> None:
    rows = [line for line in pages()["metrics.md"].splitlines() if line.startswith("| `")]
    assert [row.split("`")[1] for row in rows] == [
        *(
            metric.name
            for exposer in ("pipeline", "collector", "watcher")
            for metric in METRICS
            if metric.exposer == exposer
        ),
        *LABEL_HELP,
    ]


def test_every_label_in_use_is_explained_and_none_else() -> None:
    assert {label for metric in METRICS for label in metric.labels} == set(LABEL_HELP)


def test_every_row_has_as_many_cells_as_its_table() -> None:
    """A pipe in a help text would shift the cells after it."""
    for line in pages()["metrics.md"].splitlines():
        if line.startswith("|"):
            assert line.replace("\\|", "").count("|") in (3, 7)
