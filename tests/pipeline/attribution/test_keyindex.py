"""Keys are told apart and numbered in the order in which they first appear, however large their parts are."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.attribution import keyindex
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


def test_keys_that_were_made_to_collide_are_told_apart() -> None:
    """Their hashes begin alike under one of the multipliers."""
    inverse = {multiplier: np.uint64(pow(int(multiplier), -1, 1 << 64)) for multiplier in keyindex._MULTIPLIERS}
    for own in inverse.values():
        key = np.arange(1, 400, dtype=np.uint64) * own  # small numbers again, once they are multiplied
        numbers, rows = distinct([np.concatenate([key, key])])
        assert numbers.tolist() == [*range(399), *range(399)]
        assert rows.tolist() == [*range(399)]


def test_turns_end_where_no_hash_tells_keys_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyindex, "_hashed", lambda columns, *_: np.zeros(len(columns[0]), np.int64))
    columns = [np.array([7, 7, 8, 9, 8, 1 << 40, 7], np.uint64), np.array([0, 1, 0, 0, 0, 0, 0], np.uint64)]
    numbers, rows = distinct(columns)
    assert numbers.tolist() == [0, 1, 2, 3, 2, 4, 0]
    assert rows.tolist() == [0, 1, 2, 3, 5]


def test_no_rows_have_no_keys() -> None:
    numbers, rows = distinct([np.zeros(0, np.uint64)])
    assert not numbers.size
    assert not rows.size
