"""Metrics as Prometheus text, format 0.0.4, or as OpenMetrics text, built in columns.

A renderer keeps the text before each value (name and labels, escaped), since labels change seldom and values always. It
opens no socket. The lines of samples are the same in both formats, and what is said of a family differs. The invariant:
whatever text a label holds, a parser reads back the same text, and no line is ours but those that the samples ask for.

Sources: prometheus.io, "Exposition formats", text-based format; OpenMetrics 1.0, "Text format".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, Literal

import polars as pl

from ..aggregate.samples import SUM, Samples
from ..catalog import Metric

Format = Literal["text", "openmetrics"]

CONTENT_TYPES: Final[dict[Format, str]] = {
    "text": "text/plain; version=0.0.4; charset=utf-8",
    "openmetrics": "application/openmetrics-text; version=1.0.0; charset=utf-8",
}

_ESCAPES: Final = {"\\": "\\\\", '"': '\\"', "\n": "\\n"}
_SPECIAL_FLOATS: Final = {"inf": "+Inf", "-inf": "-Inf"}


class Renderer:
    """Turns samples into exposition text. Used by one thread at a time."""

    def __init__(self) -> None:
        self._prefixes: dict[str, tuple[pl.DataFrame, pl.Series]] = {}

    def render(self, metrics: Iterable[Samples], form: Format = "text") -> bytes:
        """The text of `metrics`, in their order and in the order of their rows; metrics without a row are left out."""
        head = _head if form == "text" else _openmetrics_head
        parts = [
            part for samples in metrics if len(samples.values) for part in (head(samples.metric), self._body(samples))
        ]
        return b"".join(parts if form == "text" else [*parts, b"# EOF\n"])

    def _body(self, samples: Samples) -> bytes:
        name = samples.metric.name
        known = self._prefixes.get(name)
        if known is None or known[0] is not samples.labels:
            known = (samples.labels, line_prefixes(samples.metric, samples.labels))
            self._prefixes[name] = known
        lines = known[1] + value_texts(samples.values)
        text: str = lines.str.join("\n").item()
        return (text + "\n").encode()


def line_prefixes(metric: Metric, labels: pl.DataFrame) -> pl.Series:
    """What stands before the value in each line: the name, and the labels in braces with their text escaped.

    A histogram has several lines for each row of `labels`, one after the other: its buckets, the sum and the count.
    """
    if metric.kind != "histogram":
        return _prefixes(metric.name, labels)
    buckets = [_prefixes(f"{metric.name}_bucket", labels, f'le="{bound}"') for bound in metric.le]
    return _interleaved([*buckets, *(_prefixes(f"{metric.name}_{total}", labels) for total in (SUM, "count"))])


def value_texts(values: pl.Series) -> pl.Series:
    """Numbers as the format writes them: integers exactly, floats so that they read back equal."""
    if isinstance(values.dtype, pl.Struct):
        fields = {field: value_texts(values.struct.field(field)) for field in values.struct.fields}
        total = fields.pop(SUM)
        *_, count = fields.values()
        return _interleaved([*fields.values(), total, count])
    text = values.cast(pl.String)
    return text.replace(_SPECIAL_FLOATS) if values.dtype.is_float() else text


def _prefixes(name: str, labels: pl.DataFrame, last: str = "") -> pl.Series:
    """The name and labels of one line for each row of `labels`; `last` is a label more, as text."""
    if not labels.columns:
        return pl.Series([f"{name}{{{last}}} " if last else f"{name} "])
    parts: list[pl.Expr] = []
    for i, label in enumerate(labels.columns):
        parts.append(pl.lit((f"{name}{{" if i == 0 else '",') + f'{label}="'))
        parts.append(pl.col(label).str.replace_many(list(_ESCAPES), list(_ESCAPES.values())))
    return labels.select(pl.concat_str(*parts, pl.lit(f'",{last}}} ' if last else '"} '))).to_series()


def _interleaved(columns: Sequence[pl.Series]) -> pl.Series:
    """The first element of each, then the second of each, and so on."""
    rows = pl.DataFrame([column.alias(str(place)) for place, column in enumerate(columns)])
    return rows.select(pl.concat_list(pl.all())).to_series().explode()


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
