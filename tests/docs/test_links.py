"""No link in the Markdown leads to a page, heading or picture that is not there; nothing is asked of the net."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from urllib.parse import unquote

import pytest

from dashboards.alerts import ALERTS

ROOT = Path(__file__).parents[2]
LEFT_OUT = {".venv", "build", "dist", "node_modules", ".cache", ".git", "demo-output"}
PAGES = sorted(path for path in ROOT.rglob("*.md") if not LEFT_OUT.intersection(path.relative_to(ROOT).parts))

_FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`[^`\n]*`")
_INLINE = re.compile(r"\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)")
_DEFINED = re.compile(r"^\[[^\]]+\]:\s+(\S+)", re.MULTILINE)
_HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*#*$", re.MULTILINE)
_ELSEWHERE = re.compile(r"^[a-z][a-z0-9+.-]*:", re.IGNORECASE)


def links(text: str) -> list[str]:
    """The targets of a page's links and pictures, code left out."""
    prose = _CODE.sub("", _FENCE.sub("", text))
    return [*_INLINE.findall(prose), *_DEFINED.findall(prose)]


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub and the site make them."""
    seen: Counter[str] = Counter()
    found = set()
    for heading in _HEADING.findall(_FENCE.sub("", text)):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return found


def dead(page: Path, root: Path) -> list[str]:
    """The links of a page that lead nowhere within `root`."""
    wrong = []
    for target in links(page.read_text()):
        if _ELSEWHERE.match(target):
            continue
        path, _, anchor = unquote(target).partition("#")
        to = (page.parent / path).resolve() if path else page
        is_page = to.suffix == ".md" and to.is_file()
        if (
            not to.is_relative_to(root)
            or not to.exists()
            or (anchor and is_page and anchor not in anchors(to.read_text()))
        ):
            wrong.append(target)
    return wrong


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_has_no_dead_link(page: Path) -> None:
    assert dead(page, ROOT) == []


def test_every_alert_has_its_runbook() -> None:
    assert [alert.name for alert in ALERTS if not (ROOT / alert.runbook).is_file()] == []


def test_every_runbook_is_an_alerts() -> None:
    there = {str(path.relative_to(ROOT)) for path in (ROOT / "docs" / "runbooks").glob("*.md")}
    assert there == {alert.runbook for alert in ALERTS}


def test_dead_links_are_found(tmp_path: Path) -> None:
    (tmp_path / "b.md").write_text("# Two words, and `code`\n## Again\n## Again\n")
    page = tmp_path / "a.md"
    page.write_text(
        "[ok](b.md) [ok](b.md#two-words-and-code) [ok](b.md#again-1) [ok](https://x) `[no](no)`\n"
        '![p](no.png) [n](b.md#again-2) [d](#here "title") [out](../../etc)\n\n[r]: gone.md\n'
        "```\n[in a block](nowhere.md)\n```\n"
    )
    assert dead(page, tmp_path) == ["no.png", "b.md#again-2", "#here", "../../etc", "gone.md"]
