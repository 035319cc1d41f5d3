"""A table of questions that were answered, and what was said: a look-up costs the same whatever the table holds.

A question is the two words of `pairs.Packing`, and nothing else is kept of it. Where it lies in the table depends on
secret numbers, so nobody outside can crowd it. The invariant: the least lately asked go first; the table holds about
twice `most` questions at most, in 48 bytes each.
"""

from __future__ import annotations

import secrets
from typing import Final

import numpy as np
import numpy.typing as npt

from .pairs import NO_WORD, Mask, Words

Said = npt.NDArray[np.uint64]
"""What was said of questions: numbers, whatever they mean to the one who asks."""
Places = npt.NDArray[np.int64]

MOST_QUESTIONS: Final = 500_000
_FIRST_BITS: Final = 12


class QuestionTable:
    """Two generations: who is asked for again comes from the old one into the young one."""

    def __init__(self, most: int = MOST_QUESTIONS) -> None:
        self._most = most
        self._odd = tuple(np.uint64(secrets.randbits(64) | 1) for _ in range(2))
        self._young = _Generation(_FIRST_BITS, self._odd)
        self._old = _Generation(_FIRST_BITS, self._odd)

    def __len__(self) -> int:
        return self._young.held + self._old.held

    def find(self, words: Words) -> tuple[Mask, Said]:
        """Which questions are known, and what was said of them; anything of the others."""
        slots, known = self._young.find(words)
        said = self._young.said.take(slots)
        if self._old.held and not known.all():
            missed = np.flatnonzero(~known)
            older, were_known = self._old.find(words[missed])
            places, found = missed[were_known], self._old.said[older[were_known]]
            said[places], known[places] = found, True
            self.add(words[places], found)
        return known, said

    def add(self, words: Words, said: Said) -> None:
        """Remember what was said. A question may come more than once."""
        if self._young.held >= self._most:
            self._old, self._young = self._young, _Generation(_FIRST_BITS, self._odd)
        self._young = self._young.grown(len(words))
        self._young.add(words, said)


class _Generation:
    """Open addressing: an empty slot has NO_WORD, and at least half of them are empty."""

    def __init__(self, bits: int, odd: tuple[np.uint64, ...]) -> None:
        self.held = 0
        self.said = np.zeros(1 << bits, np.uint64)
        self._words = np.full((1 << bits, 2), NO_WORD)
        self._bits, self._odd = bits, odd

    def find(self, words: Words) -> tuple[Places, Mask]:
        """The slot of each question, or the empty one where it would be, and whether it is there."""
        mixed = words[:, 0] * self._odd[0]
        mixed += words[:, 1] * self._odd[1]
        mixed >>= np.uint64(64 - self._bits)
        slots = mixed.view(np.int64)
        held = self._words.take(slots, axis=0)
        known = _are_same(held, words)
        walking = np.flatnonzero(~known)
        walking = walking[held[walking, 0] != NO_WORD]
        while walking.size:
            slots[walking] = (slots[walking] + 1) & ((1 << self._bits) - 1)
            held = self._words[slots[walking]]
            met = _are_same(held, words[walking])
            known[walking[met]] = True
            walking = walking[~met & (held[:, 0] != NO_WORD)]
        return slots, known

    def add(self, words: Words, said: Said) -> None:
        while len(words):
            slots, known = self.find(words)
            words, said, slots = words[~known], said[~known], slots[~known]
            # Where several want one slot, the last has it, and the others look further.
            self._words[slots] = words
            rows = np.arange(len(slots), dtype=np.uint64)
            self.said[slots] = rows
            self.held += int(np.count_nonzero(self.said[slots] == rows))
            self.said[slots] = said
            has_lost = ~_are_same(self._words[slots], words)
            words, said = words[has_lost], said[has_lost]

    def grown(self, more: int) -> _Generation:
        """Itself, or with what it holds a larger one, so that so many more find room."""
        bits = self._bits
        while 2 * (self.held + more) > 1 << bits:
            bits += 1
        if bits == self._bits:
            return self
        larger = _Generation(bits, self._odd)
        used = np.flatnonzero(self._words[:, 0] != NO_WORD)
        larger.add(self._words[used], self.said[used])
        return larger


def _are_same(held: Words, words: Words) -> Mask:
    """Row by row, whether both words are: two bytes of truth, looked at as one number."""
    same: Mask = (held == words).view(np.uint16).ravel() == 0x0101
    return same
