"""Keys are told apart and numbered in the order in which they first appear, however large their parts are."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.attribution.keyindex import distinct


@pytest.mark.parametrize("most", [1, 7, 300, 301, 1 << 40])
@pytest.mark.parametrize("parts", [1, 2])
def test_keys_are_numbered_by_their_first_row(most: int, parts: int) -> None:
    random = np.random.default_rng(most)
    columns = [random.integers(0, most, 300).astype(np.uint64) for _ in range(parts)]
    numbers, rows = distinct(columns)
    wanted: dict[tuple[int, ...], int] = {}
    for number, *key in zip(numbers, *columns, strict=True):
        assert wanted.setdefault(tuple(map(int, key)), len(wanted)) == number
    first = [tuple(int(column[row]) for column in columns) for row in rows]
    assert first == list(wanted)
    assert all(number not in numbers[:row] for number, row in enumerate(rows))


def test_no_rows_have_no_keys() -> None:
    numbers, rows = distinct([np.zeros(0, np.uint64)])
    assert not numbers.size
    assert not rows.size
