"""Pieces of memory are what slices of it are, and nothing beyond it is read."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.pieces import alike, joined


def test_pieces_are_slices_in_any_order() -> None:
    """Short ones lie in Arrow's views themselves, up to 12 bytes."""
    random = np.random.default_rng(0)
    memory = random.integers(0, 256, 1000).astype(np.uint8)
    for most in (3, 12, 13, 200):
        sizes = random.integers(0, most + 1, 300)
        starts = random.integers(0, len(memory) - sizes + 1)
        pieces = [memory[start : start + size] for start, size in zip(starts, sizes, strict=True)]
        assert joined(memory, starts, sizes).tobytes() == np.concatenate(pieces).tobytes()


def test_the_last_bytes_of_a_memory_are_a_piece() -> None:
    memory = np.arange(20, dtype=np.uint8)
    for size in (1, 11, 12, 13, 20):
        assert joined(memory, np.array([20 - size]), np.array([size])).tolist() == list(range(20 - size, 20))


@pytest.mark.parametrize("memory", [np.zeros(0, np.uint8), np.zeros(20, np.uint8)])
def test_nothing_is_taken_from_anywhere(memory: np.ndarray) -> None:
    """Where a piece without bytes is said to begin may be a lie."""
    for starts in ([], [0], [-1, 2**62, 5]):
        assert not len(joined(memory, np.array(starts, np.int64), np.zeros(len(starts), np.int64)))


@pytest.mark.parametrize(
    ("start", "size"), [(-1, 5), (16, 5), (20, 1), (21, 1), (0, 21), (0, -1), (2**62, 2**62), (2**63 - 1, 1)]
)
def test_what_is_not_inside_is_not_read(start: int, size: int) -> None:
    with pytest.raises(IndexError):
        joined(np.zeros(20, np.uint8), np.array([0, start]), np.array([3, size]))


def test_pieces_of_one_size_are_slices_in_any_order() -> None:
    random = np.random.default_rng(0)
    memory = random.integers(0, 256, 1000).astype(np.uint8)
    for size in (1, 4, 13, 999, 1000):
        starts = random.integers(0, len(memory) - size + 1, 50)
        assert alike(memory, starts, size).tolist() == [memory[start : start + size].tolist() for start in starts]
    assert alike(memory, np.zeros(0, np.int64), 7).shape == (0, 7)


@pytest.mark.parametrize(("start", "size"), [(-1, 5), (16, 5), (20, 1), (0, 21), (2**63 - 1, 1)])
def test_pieces_of_one_size_that_are_not_inside_are_not_read(start: int, size: int) -> None:
    with pytest.raises(IndexError):
        alike(np.zeros(20, np.uint8), np.array([0, start]), size)
