"""The samples of one answer of /metrics that somebody asks for, by name and labels.

The invariant: only lines of the names wanted are parsed, so that an answer of 100,000 series costs what is read of it.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

_NAME: Final = re.compile(r"[A-Za-z_:][A-Za-z0-9_:]*")

Sample = tuple[Mapping[str, str], float]
"""Labels and value."""


class Scrape:
    """Samples by metric name."""

    def __init__(self, samples: Mapping[str, Sequence[Sample]]) -> None:
        self._samples = samples

    def of(self, name: str, **labels: str) -> list[Sample]:
        """The samples of a name that have these labels."""
        return [
            (has, value)
            for has, value in self._samples.get(name, ())
            if all(has.get(key) == wanted for key, wanted in labels.items())
        ]

    def value(self, name: str) -> float | None:
        """The sum of a name's samples; None where it has none."""
        found = self._samples.get(name)
        return sum(value for _, value in found) if found else None

    def by(self, name: str, *keys: str, **labels: str) -> dict[tuple[str, ...], float]:
        """Sums of a name's samples by some of its labels, in the order in which they came."""
        sums: dict[tuple[str, ...], float] = defaultdict(float)
        for has, value in self.of(name, **labels):
            sums[tuple(has.get(key, "") for key in keys)] += value
        return dict(sums)


def parse(text: str, names: Iterable[str]) -> Scrape:
    """The samples of `names` in an exposition text. Raises ValueError where a line of theirs is none."""
    from prometheus_client.parser import text_string_to_metric_families

    samples: dict[str, list[Sample]] = defaultdict(list)
    for family in text_string_to_metric_families("".join(_lines(text, frozenset(names)))):
        for sample in family.samples:
            samples[sample.name].append((sample.labels, sample.value))
    return Scrape(samples)


def _lines(text: str, names: frozenset[str]) -> Iterator[str]:
    for line in text.splitlines(keepends=True):
        match = _NAME.match(line)
        if match is not None and match[0] in names:
            yield line
