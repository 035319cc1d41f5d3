"""Numbers in place of pods' names: rows that are kept for minutes take a third of the memory, and joins are of numbers.

The invariant: a number means the same pod of the same node until `keep` gives new ones.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ..attribution import arrays

POD: Final = ("node", "namespace", "pod")
NAMES: Final = pl.Schema(dict.fromkeys(POD, pl.String()))


class PodNumbers:
    """The pods that were asked for, numbered from 0; `names` are those of the first ones."""

    def __init__(self, names: pl.DataFrame | None = None) -> None:
        self._numbered = _counted(pl.DataFrame(schema=NAMES) if names is None else names, 0)

    def __len__(self) -> int:
        return self._numbered.height

    @property
    def names(self) -> pl.DataFrame:
        """Node, namespace and name of each pod, by its number."""
        return self._numbered.select(POD)

    def of(self, pods: pl.DataFrame) -> pl.Series:
        """The number (UInt32) of the pod in each row, which is a new one where the pod is."""
        numbers = self._found(pods)
        if numbers.null_count():
            new = pods.select(POD).filter(numbers.is_null()).unique(maintain_order=True)
            self._numbered = pl.concat([self._numbered, _counted(new, len(self))])
            numbers = self._found(pods)
        return numbers

    def keep(self, numbers: NDArray[np.uint32]) -> NDArray[np.uint32]:
        """Forget all pods but these. By number until now, the new one: NO_ID where the pod is forgotten."""
        kept = np.unique(numbers)
        renumbered = np.full(len(self), arrays.NO_ID, np.uint32)
        renumbered[kept] = np.arange(kept.size, dtype=np.uint32)
        self._numbered = _counted(self.names[kept], 0)
        return renumbered

    def _found(self, pods: pl.DataFrame) -> pl.Series:
        return pods.select(POD).join(self._numbered, on=POD, how="left", maintain_order="left")["number"]


def _counted(pods: pl.DataFrame, first: int) -> pl.DataFrame:
    return pods.with_columns(number=pl.int_range(first, first + pl.len(), dtype=pl.UInt32))
