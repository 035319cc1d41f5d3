"""What an entry of the catalogue says.

It knows no metric. The invariant: an entry tells every time series name and label that its metric can have.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

Kind = Literal["counter", "gauge", "histogram", "untyped"]
"""`untyped` is for names that others have made: a gauge that ends in `_total`."""
Cardinality = Literal["fine", "careful", "costly"]
Exposer = Literal["pipeline", "collector", "watcher"]


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric family. `unit` is the base unit that its name ends in (`bytes`, `seconds`), "" for plain counts.

    A histogram has `buckets`: their upper bounds in the metric's unit, which belong to them, in ascending order. The
    bucket without bound is always there and not among them; the label `le` is not among `labels`.
    `pipeline.aggregate.histogram` fills it.
    """

    name: str
    kind: Kind
    unit: str
    labels: tuple[str, ...]
    help: str
    cardinality: Cardinality = "fine"
    exposer: Exposer = "pipeline"
    buckets: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if (self.kind == "histogram") != bool(self.buckets):
            raise ValueError(f"{self.name}: a histogram has buckets, and nothing else has")
        if any(lower >= upper for lower, upper in pairwise(self.buckets)):
            raise ValueError(f"{self.name}: buckets {self.buckets} do not ascend")

    @property
    def le(self) -> tuple[str, ...]:
        """The values of a histogram's label `le`, in ascending order; empty for other kinds."""
        return (*(repr(float(bound)) for bound in self.buckets), "+Inf") if self.buckets else ()

    @property
    def series(self) -> Mapping[str, tuple[str, ...]]:
        """The names that its time series have, and the labels of each: what PromQL can ask for."""
        if self.kind != "histogram":
            return {self.name: self.labels}
        return {
            f"{self.name}_bucket": (*self.labels, "le"),
            f"{self.name}_sum": self.labels,
            f"{self.name}_count": self.labels,
        }
