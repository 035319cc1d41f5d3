"""The docs as a site: `make site` builds docs/ into build/site, strictly; nothing is fetched, by builder or reader."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parent.parent

project = "Flowatlas"
author = "the Flowatlas authors"
copyright = author  # noqa: A001 - Sphinx's name
extensions = ["myst_parser"]
myst_heading_anchors = 4
html_theme = "furo"
html_title = "Flowatlas"
html_show_sphinx = False
html_copy_source = False

_LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)")
_PAGES = {f"{name.upper()}.md": f"project/{name}.md" for name in ("changelog", "contributing", "security")}


def setup(app: Sphinx) -> None:
    """The project's readme is the first page."""
    app.connect("source-read", _with_readme)


def _with_readme(_: Sphinx, name: str, source: list[str]) -> None:
    if name == "index":
        readme = _LINK.sub(lambda link: f"]({_seen_from_docs(link[1])}", (ROOT / "README.md").read_text())
        source[0] = f"{readme}\n{source[0]}"


def _seen_from_docs(target: str) -> str:
    """A link of the readme, seen from docs/; to a page where there is one, else to the file itself."""
    return target.removeprefix("docs/") if target.startswith("docs/") else _PAGES.get(target, f"../{target}")
