"""How fast something grows, and how sure that is: Theil and Sen's slope, which a few peaks do not bend.

The interval is Sen's (by the variance of Kendall's S), wider by how much each level says of the next one: levels of
neighbouring minutes are not independent. The invariant: a slope is told with what can be known of it, never alone.
Source: P. K. Sen, Estimates of the regression coefficient based on Kendall's tau, 1968.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

LEAST_LEVELS: Final = 5
_TWO_SIDED_95: Final = 1.96
_MOST_ALIKE: Final = 0.9
"""How much neighbours may be alike before an interval is no use."""


@dataclass(frozen=True, slots=True)
class Slope:
    """Of so many hours: what there is more of in an hour, and between which two it is, 19 times of 20."""

    an_hour: float
    low: float
    high: float
    hours: float

    def is_flat(self, most: float, slack: float) -> bool:
        """Whether it is not certainly above `most` an hour, and not possibly by more than `slack` in all that time."""
        return self.low <= most and (self.high - most) * self.hours <= slack

    def __str__(self) -> str:
        told = f"{self.an_hour:+.2f} MB/h, 95 % within {self.low:+.2f} and {self.high:+.2f}"
        return f"{told}, of {60 * self.hours:.0f} min"


def slope_of(at_s: Sequence[float], levels: Sequence[float]) -> Slope:
    """The slope of levels that were seen at these seconds; LEAST_LEVELS are needed."""
    count = len(levels)
    if count < LEAST_LEVELS:
        raise ValueError(f"{count} levels say nothing of a slope")
    hours, heights = np.array(at_s) / 3600, np.array(levels, float)
    first, second = np.triu_indices(count, 1)
    slopes = np.sort((heights[second] - heights[first]) / (hours[second] - hours[first]))
    middle = float(np.median(slopes))
    rest = heights - middle * hours
    rest = rest - rest.mean()
    alike = float((rest[1:] * rest[:-1]).sum() / (rest @ rest)) if rest.any() else 0.0
    alike = min(max(alike, 0.0), _MOST_ALIKE)
    deviation = math.sqrt(count * (count - 1) * (2 * count + 5) / 18 * (1 + alike) / (1 - alike))
    apart = (slopes.size - _TWO_SIDED_95 * deviation) / 2
    low, high = max(math.floor(apart), 0), min(math.ceil(slopes.size - 1 - apart), slopes.size - 1)
    return Slope(middle, float(slopes[low]), float(slopes[high]), float(hours[-1] - hours[0]))
