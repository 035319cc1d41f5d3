"""Who holds how much, told of objects whose size is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from tests.bench.holdings import holdings

MANY = 100_000


@dataclass(slots=True)
class Holder:
    """One with a place for something."""

    kept: Any


def told(**roots: Any) -> dict[tuple[str, str], int]:
    """What is held, without what Python takes for the objects themselves."""
    return {key: size for key, size in holdings(roots).items() if key[1] != "objects" and size}


def test_columns_and_arrays_are_told_by_the_way_to_them() -> None:
    frame = pl.DataFrame({"a": np.zeros(MANY, np.uint32), "b": np.zeros(MANY, np.uint64)})
    held = told(one=Holder({"frame": frame}), other=Holder([np.zeros(MANY, np.uint16), bytes(7)]))
    assert held == {
        ("one.kept.frame", "columns"): 12 * MANY,
        ("other.kept", "arrays"): 2 * MANY,
        ("other.kept", "bytes"): 7,
    }


def test_what_two_hold_is_the_first_ones() -> None:
    column = pl.Series("a", np.arange(MANY))
    whole = np.zeros(MANY, np.uint8)
    held = told(first=[column, whole[:10]], second=[pl.DataFrame([column]), column.slice(1), whole])
    assert held == {("first", "columns"): 8 * MANY, ("first", "arrays"): MANY}


def test_long_text_counts_with_what_it_stands_on() -> None:
    texts = pl.Series([f"{number:050}" for number in range(1_000)])
    (size,) = told(texts=texts).values()
    assert size >= 1_000 * (16 + 50)


def test_what_refers_to_itself_comes_to_an_end() -> None:
    ring: list[Any] = [b"ring"]
    ring.append(Holder(ring))
    assert told(ring=ring) == {("ring", "bytes"): 4}
