"""What a panel shows: the answers to its queries, with the names and order that its drawing needs.

A query that fails does not stop the page: the panel then says what the server said.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from ..asking import Asking
from ..prometheus import PrometheusError

_LEGEND_LABEL: Final = re.compile(r"\{\{\s*(\w+)\s*\}\}")

Json = dict[str, Any]
Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Series:
    """One series of one query; one that was asked for once has one point."""

    ref: str
    name: str
    labels: dict[str, str]
    points: tuple[Point, ...]

    @property
    def last(self) -> float:
        """The newest value."""
        return self.points[-1][1]


@dataclass(frozen=True, slots=True)
class Answer:
    """All series of a panel, and what was wrong with its queries (empty: nothing)."""

    series: tuple[Series, ...]
    problem: str = ""


def ask(panel: Json, asks: Asking) -> Answer:
    """Ask all of a panel's queries."""
    found: list[Series] = []
    try:
        for target in panel["targets"]:
            found += [_series(target, answer) for answer in asks.answer(target)]
    except PrometheusError as error:
        return Answer((), str(error))
    return Answer(tuple(found))


def _series(target: Json, answer: Json) -> Series:
    labels = {name: value for name, value in answer["metric"].items() if name != "__name__"}
    points = answer["values"] if "values" in answer else [answer["value"]]
    legend = target.get("legendFormat") or ""
    name = _LEGEND_LABEL.sub(lambda match: labels.get(match[1], ""), legend)
    return Series(
        target["refId"],
        " ".join(name.split()) or ", ".join(labels.values()) or "value",
        labels,
        tuple((float(at), float(value)) for at, value in points),
    )
