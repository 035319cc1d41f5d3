"""Metrics as Prometheus text, format 0.0.4, or as OpenMetrics text, built in columns and in pieces.

A piece has some thousand lines, so that a page of any length takes the memory of one piece while it is made; nothing is
kept of it but labels that need escapes. It opens no socket. The lines of samples are the same in both formats, and what
is said of a family differs. The invariant: whatever text a label holds, a parser reads back the same text, and no line
is ours but those that the samples ask for.

Sources: prometheus.io, "Exposition formats", text-based format; OpenMetrics 1.0, "Text format".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Final, Literal

import polars as pl

from ..aggregate.samples import SUM, Samples
from ..catalog import Metric

Format = Literal["text", "openmetrics"]

CONTENT_TYPES: Final[dict[Format, str]] = {
    "text": "text/plain; version=0.0.4; charset=utf-8",
    "openmetrics": "application/openmetrics-text; version=1.0.0; charset=utf-8",
}
PIECE_LINES: Final = 4096
"""About so many lines are made at a time: a megabyte, where they are long."""
LONG_LINES: Final = 512
"""A family of so many is told in pieces, each of which may be as it was; others are rather made anew."""

_ESCAPES: Final = {"\\": "\\\\", '"': '\\"', "\n": "\\n"}
_SPECIAL_FLOATS: Final = {"inf": "+Inf", "-inf": "-Inf"}
_VALUE: Final = "value "
_TEXT: Final = "text of labels"
_CONTIGUOUS: Final = pl.CompatLevel.oldest()
"""Arrow's strings without views: those of all rows are one run of bytes."""


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """Rows of one family, and with them their text."""

    metric: Metric
    labels: pl.DataFrame
    """Of all rows of the family, with escapes; the same object as long as these are the same."""
    first: int
    """The first row that is meant."""
    values: pl.Series
    """Of the rows that are meant."""

    def text(self) -> memoryview:
        """The lines, in UTF-8."""
        return _lines(self.metric, self.labels.slice(self.first, len(self.values)), self.values)

    def is_as(self, other: Piece) -> bool:
        """Whether the text is the same, as far as a comparison of values tells."""
        return self.labels is other.labels and self.first == other.first and self.values.equals(other.values)


class Renderer:
    """Turns samples into exposition text. Used by one thread at a time."""

    def __init__(self) -> None:
        self._escaped: dict[str, tuple[pl.DataFrame, pl.DataFrame]] = {}
        """By metric, labels and the same with escapes."""

    def render(self, metrics: Iterable[Samples], form: Format = "text") -> bytes:
        """The text of `metrics`, in their order and in the order of their rows; metrics without a row are left out."""
        return b"".join(part.text() if isinstance(part, Piece) else part for part in self.parts(metrics, form))

    def parts(self, metrics: Iterable[Samples], form: Format = "text") -> Iterator[bytes | Piece]:
        """The same in parts: long families in pieces, and as text all that is between them."""
        head = _head if form == "text" else _openmetrics_head
        between: list[bytes | memoryview] = []
        for samples in metrics:
            if not len(samples.values):
                continue
            between.append(head(samples.metric))
            pieces = self._pieces(samples)
            if samples.series < LONG_LINES:
                between += [piece.text() for piece in pieces]
            else:
                yield b"".join(between)
                yield from pieces
                between = []
        yield b"".join(between if form == "text" else [*between, b"# EOF\n"])

    def _pieces(self, samples: Samples) -> list[Piece]:
        metric, rows = samples.metric, len(samples.values)
        known = self._escaped.get(metric.name)
        if known is None or known[0] is not samples.labels:
            known = self._escaped[metric.name] = samples.labels, _with_escapes(samples.labels)
        step = max(1, PIECE_LINES * rows // samples.series)
        return [Piece(metric, known[1], first, samples.values.slice(first, step)) for first in range(0, rows, step)]


def _with_escapes(labels: pl.DataFrame) -> pl.DataFrame:
    """Labels as they are written: as they are, where nothing in them is special."""
    special = pl.all().str.contains_any(list(_ESCAPES)).any()
    names = [column.name for column in labels.select(special) if column.item()] if labels.width else []
    escaped = (pl.col(name).str.replace_many(list(_ESCAPES), list(_ESCAPES.values())) for name in names)
    return labels.with_columns(*escaped) if names else labels


def _lines(metric: Metric, labels: pl.DataFrame, values: pl.Series) -> memoryview:
    """The lines of some rows; a histogram has several for each, one after the other: its buckets, sum and count."""
    if metric.le:
        numbers = values.struct.unnest()
        numbers.columns = [_VALUE + name for name in numbers.columns]
    else:
        numbers = values.alias(_VALUE).to_frame()
    rows = pl.DataFrame([*labels, *numbers])
    if metric.le:
        rows = rows.with_columns(_text(metric.labels).alias(_TEXT))
    array = rows.select(_line(metric, values.dtype.is_float())).to_series().to_arrow(compat_level=_CONTIGUOUS)
    _, offsets, text = array.buffers()
    ends = memoryview(offsets).cast("q")[array.offset : array.offset + len(array) + 1]
    return memoryview(text)[ends[0] : ends[-1]]


@cache
def _text(labels: tuple[str, ...]) -> pl.Expr:
    """All labels of a row as they are written, each with a comma after it."""
    return _concatenated([part for name in labels for part in (f'{name}="', pl.col(name), '",')] or [""])


@cache
def _line(metric: Metric, is_float: bool) -> pl.Expr:
    """What a row is written as: built once, since that costs as much as to write some hundred rows."""
    if metric.le:
        return _concatenated(_histogram(metric))
    pairs = [part for name in metric.labels for part in (f',{name}="', pl.col(name), '"')]
    labels: list[str | pl.Expr] = ["{", str(pairs[0]).removeprefix(","), *pairs[1:], "}"] if pairs else []
    return _concatenated([metric.name, *labels, " ", _number(_VALUE, is_float), "\n"])


def _histogram(metric: Metric) -> list[str | pl.Expr]:
    """The parts of all lines of a row."""
    lines: list[str | pl.Expr] = []
    for bound in metric.le:
        number = _number(_VALUE + bound, is_float=False)
        lines += [f"{metric.name}_bucket{{", pl.col(_TEXT), f'le="{bound}"}} ', number, "\n"]
    text: list[str | pl.Expr] = ["{", pl.col(_TEXT).str.head(-1), "}"] if metric.labels else []
    for suffix, number in ((SUM, _number(_VALUE + SUM, is_float=True)), ("count", _number(_VALUE + metric.le[-1]))):
        lines += [f"{metric.name}_{suffix}", *text, " ", number, "\n"]
    return lines


def _concatenated(parts: list[str | pl.Expr]) -> pl.Expr:
    """One text a row of texts and columns; neighbouring texts are one literal."""
    merged: list[str | pl.Expr] = []
    for part in parts:
        if isinstance(part, str) and merged and isinstance(merged[-1], str):
            merged[-1] += part
        else:
            merged.append(part)
    return pl.concat_str([pl.lit(part) if isinstance(part, str) else part for part in merged])


def _number(name: str, is_float: bool = False) -> pl.Expr:
    """A column of numbers as the format writes them: integers exactly, floats so that they read back equal."""
    text = pl.col(name).cast(pl.String)
    return text.replace(_SPECIAL_FLOATS) if is_float else text


def _head(metric: Metric) -> bytes:
    text = metric.help.replace("\\", "\\\\").replace("\n", "\\n")
    return f"# HELP {metric.name} {text}\n# TYPE {metric.name} {metric.kind}\n".encode()


def _openmetrics_head(metric: Metric) -> bytes:
    """A counter's family is named without `_total`; quotes in the help are escaped; `unknown` is what 0.0.4 calls
    untyped."""
    name = metric.name.removesuffix("_total") if metric.kind == "counter" else metric.name
    kind = "unknown" if metric.kind == "untyped" else metric.kind
    text = "".join(_ESCAPES.get(character, character) for character in metric.help)
    return f"# TYPE {name} {kind}\n# HELP {name} {text}\n".encode()
