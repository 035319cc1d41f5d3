"""One exposition text of what several workers of one machine expose, each series with the label `worker`.

What every worker knows alike, the cluster's state, is there once and without the label: a sum over workers would double
it. Pages are unpacked as they are gone through, twice: for where their families are, and for their lines; so that many
workers' text takes no more memory than one's. The invariant: a family has one header, and no two series are the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from ..catalog.alike import ALIKE
from .pages import Page

AT_ONCE: Final = 256 * 1024
"""About so many bytes of what is merged are given at a time."""

_EOF: Final = b"# EOF\n"
_HISTOGRAM: Final = (b"_bucket", b"_sum", b"_count")
_OTHERS: Final = (b"", b"_total")
"""What series are named behind their family: OpenMetrics names counters' families without `_total`."""


def merged(pages: Mapping[str, Page], own: bytes = b"") -> Iterator[bytes]:
    """The text of all workers' pages, by the worker's name, and last `own` of their parent, with families that no
    worker has, as one, some at a time; all of the text format or all of OpenMetrics."""
    given: list[bytes] = []
    size = 0
    for part in _merged(pages, own):
        given.append(part)
        size += len(part)
        if size >= AT_ONCE:
            yield b"".join(given)
            given, size = [], 0
    yield b"".join(given)


def _merged(pages: Mapping[str, Page], own: bytes) -> Iterator[bytes]:
    contents = {worker: _Content(page) for worker, page in pages.items()}
    families: dict[bytes, list[tuple[str, _Family]]] = {}
    for worker, content in contents.items():
        for family in content.families():
            families.setdefault(family.name, []).append((worker, family))
    for name, told in families.items():
        yield told[0][1].header
        is_alike = name.decode() in ALIKE
        for worker, family in told[:1] if is_alike else told:
            for rows in contents[worker].lines(family.begin, family.end):
                yield rows if is_alike else _labelled(rows, family, b'worker="' + worker.encode() + b'"')
    yield own.removesuffix(_EOF)
    if own.endswith(_EOF) or any(content.is_openmetrics for content in contents.values()):
        yield _EOF


@dataclass(frozen=True, slots=True)
class _Family:
    """A family of a text: its name, its header (HELP and TYPE in their order), and where in the text its series are."""

    name: bytes
    header: bytes
    begin: int
    end: int


class _Content:
    """The lines of a page, gone through from its beginning to its end; to go back is to begin anew."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self.is_openmetrics = False
        """Whether it ends as OpenMetrics does; once its families are known."""
        self._begin()

    def _begin(self) -> None:
        self._rest = _whole_lines(self._page.pieces())
        self._lines, self._at = b"", 0
        """Some of the lines, and where in the text they begin."""

    def families(self) -> Iterator[_Family]:
        """All of it. Labels hold no line ends, so what follows one and looks like a header is one."""
        headers: dict[bytes, bytes] = {}
        until = 0
        for begin, line in _headers(_whole_lines(self._page.pieces())):
            if begin > until:
                yield from _families_of(headers, until, begin)
                headers = {}
            if line == _EOF:
                self.is_openmetrics = True
            else:
                name = line.split(None, 3)[2]
                headers[name] = headers.get(name, b"") + line
            until = begin + len(line)
        yield from _families_of(headers, until, self._page.length)

    def lines(self, begin: int, end: int) -> Iterator[bytes]:
        """Those from one place in the text, where a line begins, to another, some at a time."""
        if begin < self._at:
            self._begin()
        while begin < end:
            while self._at + len(self._lines) <= begin:
                self._at += len(self._lines)
                self._lines = next(self._rest)
            some = self._lines[begin - self._at : end - self._at]
            yield some
            begin += len(some)


def _families_of(headers: Mapping[bytes, bytes], begin: int, end: int) -> Iterator[_Family]:
    """The families whose headers stand one after the other before these lines: those before the last have no series."""
    for place, (name, header) in enumerate(headers.items(), 1):
        yield _Family(name, header, begin if place == len(headers) else end, end)


def _headers(text: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """The lines that begin as headers do, and where in the text."""
    at = 0
    for lines in text:
        place = _header_at(lines, 0)
        while place >= 0:
            after = lines.find(b"\n", place) + 1 or len(lines)
            yield at + place, lines[place:after]
            place = _header_at(lines, after)
        at += len(lines)


def _header_at(lines: bytes, begin: int) -> int:
    """The first place of a header from this beginning of a line on, -1 where there is none."""
    if lines.startswith(b"# ", begin):
        return begin
    found = lines.find(b"\n# ", begin)
    return found + 1 if found >= 0 else -1


def _whole_lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The same text in pieces that end where a line does."""
    begun = b""
    for piece in pieces:
        end = piece.rfind(b"\n") + 1
        if end:
            yield begun + piece[:end]
            begun = piece[end:]
        else:
            begun += piece
    if begun:
        yield begun


def _labelled(rows: bytes, family: _Family, label: bytes) -> bytes:
    """Rows of a family with one more label. What begins a line is looked for as it is, which is a third of the work of
    a pattern."""
    lines = b"\n" + rows
    for suffix in _HISTOGRAM if b" histogram\n" in family.header else _OTHERS:
        line = b"\n" + family.name + suffix
        lines = lines.replace(line + b"{", line + b"{" + label + b",").replace(line + b" ", line + b"{" + label + b"} ")
    return lines[1:]
