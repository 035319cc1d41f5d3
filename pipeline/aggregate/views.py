"""Metrics as views of totals: which measure is which metric's value, and which labels a view adds.

A view computes no total. The invariant: while the set of series stays the same, a view gives the same `labels` object,
so that whoever renders them can keep the text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import polars as pl

from ..catalog import BY_NAME
from .samples import Samples
from .totals import Totals


class View(Protocol):
    """One metric, computed from totals on demand."""

    def samples(self) -> Samples:
        """The metric's series and values now."""


class Plain:
    """One measure as it is, under the labels of its totals."""

    def __init__(self, metric: str, totals: Totals, measure: str) -> None:
        self._metric = BY_NAME[metric]
        self._totals = totals
        self._measure = measure

    def samples(self) -> Samples:
        """The metric's series and values now."""
        return Samples(self._metric, self._totals.labels, self._totals.measure(self._measure))


class BothWays:
    """Two measures under one name, told apart by the label `flow_direction`: request and reply."""

    def __init__(self, metric: str, totals: Totals, request: str, reply: str) -> None:
        self._metric = BY_NAME[metric]
        self._totals = totals
        self._measures = {"request": request, "reply": reply}
        self._source = self._labels = pl.DataFrame()

    def samples(self) -> Samples:
        """The metric's series and values now."""
        source = self._totals.labels
        if source is not self._source:
            self._source = source
            self._labels = _labelled(dict.fromkeys(self._measures, source), "flow_direction", self._metric.labels)
        values = pl.concat([self._totals.measure(measure) for measure in self._measures.values()])
        return Samples(self._metric, self._labels, values)


class Nonzero:
    """Several measures under one name, told apart by the label `reason`, where they are above zero.

    Most label sets never fail, so a series for each would be mostly zeros. A series that is there stays, since totals
    never fall.
    """

    def __init__(self, metric: str, totals: Totals, measures: Sequence[str]) -> None:
        self._metric = BY_NAME[metric]
        self._totals = totals
        self._measures = tuple(measures)
        self._source = self._labels = pl.DataFrame()

    def samples(self) -> Samples:
        """The metric's series and values now."""
        source = self._totals.labels
        values = {measure: self._totals.measure(measure) for measure in self._measures}
        positive = {measure: series > 0 for measure, series in values.items()}
        count = sum(int(mask.sum()) for mask in positive.values())
        if source is not self._source or count != self._labels.height:
            self._source = source
            rows = {measure: source.filter(mask) for measure, mask in positive.items()}
            self._labels = _labelled(rows, "reason", self._metric.labels)
        kept = [values[measure].filter(mask) for measure, mask in positive.items()]
        return Samples(self._metric, self._labels, pl.concat(kept))


class Share:
    """What measures of one family have come to beside those of another, as one number; 0 while there is nothing.

    Series that went count on: those of one family may go sooner than those of the other, and a part is no more than
    its whole."""

    def __init__(self, metric: str, part: tuple[Totals, Sequence[str]], whole: tuple[Totals, Sequence[str]]) -> None:
        self._metric = BY_NAME[metric]
        self._part = part
        self._whole = whole
        self._labels = pl.DataFrame()

    def samples(self) -> Samples:
        """The metric's value now."""
        part, whole = (
            sum(totals.ever(measure) for measure in measures) for totals, measures in (self._part, self._whole)
        )
        return Samples(self._metric, self._labels, pl.Series([part / whole if whole else 0.0], dtype=pl.Float64))


def _labelled(frames: dict[str, pl.DataFrame], label: str, order: Sequence[str]) -> pl.DataFrame:
    parts = [frame.with_columns(pl.lit(text).alias(label)) for text, frame in frames.items()]
    return pl.concat(parts).select(order)
