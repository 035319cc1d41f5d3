"""Write the reference pages that are made from code: `python -m docs.generate`, as `make docs` does.

A test proves the committed pages equal to what is made here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from pipeline.cli.main import parser
from pipeline.cli.reference import reference

from . import metrics

FOLDER: Final = Path(__file__).parent / "reference"


def pages() -> dict[str, str]:
    """Every generated page's text, by its file's name."""
    return {"cli.md": reference(parser()), "metrics.md": metrics.page()}


def main() -> None:
    """Write all pages."""
    FOLDER.mkdir(exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
