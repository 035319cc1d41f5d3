"""How sure an observed share is: the interval of a proportion."""

from __future__ import annotations

from math import sqrt
from typing import Final, NamedTuple

Z_95: Final = 1.959964
"""Two-sided 95 % of the standard normal distribution."""


class Interval(NamedTuple):
    """A share and the bounds between which the true one lies, 0 to 1."""

    lower: float
    estimate: float
    upper: float

    def holds(self, share: float) -> bool:
        """Whether a share is within the bounds."""
        return self.lower <= share <= self.upper


def wilson(successes: int, total: int, z: float = Z_95) -> Interval:
    """Wilson's score interval of `successes` out of `total`; all of 0 to 1 where nothing was observed.

    It keeps its promise for few observations and for shares near 0 and 1, where the normal approximation does not.

    Source: E. B. Wilson, Probable inference, the law of succession, and statistical inference, JASA 22 (1927).
    """
    if total == 0:
        return Interval(0.0, 0.0, 1.0)
    share = successes / total
    spread = 1 + z * z / total
    centre = (share + z * z / (2 * total)) / spread
    half = z * sqrt(share * (1 - share) / total + z * z / (4 * total * total)) / spread
    # rounding must not put the estimate outside its own bounds
    return Interval(min(share, max(0.0, centre - half)), share, max(share, min(1.0, centre + half)))
