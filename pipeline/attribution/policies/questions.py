"""A table of questions that were answered, and what was said: a look-up costs the same whatever the table holds.

A question (the words of `Policies.words`) is known by two words, each a sum of its parts times secret odd numbers, so
that two of millions of questions meet but by a chance of less than one in 10^12, and nobody outside can make them meet.
The invariant: the least lately asked go first; the table holds about twice `most` questions at most.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from .engine import QUESTION_WORDS

Words = npt.NDArray[np.uint64]
Places = npt.NDArray[np.int64]

MOST_QUESTIONS: Final = 500_000
_FIRST_SLOTS: Final = 1 << 12


@dataclass(frozen=True)
class Keys:
    """Questions by two words each."""

    first: Words
    second: Words

    def at(self, places: Places | npt.NDArray[np.bool_]) -> Keys:
        """Some of the questions."""
        return Keys(self.first[places], self.second[places])


@dataclass(frozen=True)
class Said:
    """What was said of questions, in columns: numbers, whatever they mean to the one who asks."""

    verdict: npt.NDArray[np.uint8]
    egress: npt.NDArray[np.uint32]
    ingress: npt.NDArray[np.uint32]

    def at(self, places: Places | npt.NDArray[np.bool_]) -> Said:
        """What was said of some of the questions."""
        return Said(self.verdict[places], self.egress[places], self.ingress[places])

    def taken(self, places: Places) -> Said:
        """The same for many places, faster."""
        return Said(self.verdict.take(places), self.egress.take(places), self.ingress.take(places))

    def put(self, places: Places, said: Said) -> None:
        """Write into the places."""
        self.verdict[places], self.egress[places], self.ingress[places] = said.verdict, said.egress, said.ingress


def said_of(size: int) -> Said:
    """Room for as many questions."""
    return Said(np.zeros(size, np.uint8), np.zeros(size, np.uint32), np.zeros(size, np.uint32))


class QuestionTable:
    """Open addressing over both words: an empty slot has the first word 0."""

    def __init__(self, most: int = MOST_QUESTIONS) -> None:
        self._most = most
        self._odd = [[secrets.randbits(64) | 1 for _ in range(QUESTION_WORDS)] for _ in range(2)]
        self._young = _Generation(_FIRST_SLOTS)
        self._old = _Generation(_FIRST_SLOTS)

    def __len__(self) -> int:
        return self._young.held + self._old.held

    def keys(self, words: Sequence[Words]) -> Keys:
        """The keys of questions, of which `words` are the parts."""
        first, second = (_mixed(words, odd) for odd in self._odd)
        return Keys(np.maximum(first, np.uint64(1)), second)

    def find(self, keys: Keys) -> tuple[npt.NDArray[np.bool_], Said]:
        """Which questions are known, and what was said of them; anything of the others."""
        slots, known = self._young.find(keys)
        said = self._young.said.taken(slots)
        missed = np.flatnonzero(~known)
        if missed.size and self._old.held:
            older, were_known = self._old.find(keys.at(missed))
            places, found = missed[were_known], self._old.said.at(older[were_known])
            said.put(places, found)
            known[places] = True
            self.add(keys.at(places), found)
        return known, said

    def add(self, keys: Keys, said: Said) -> None:
        """Remember what was said. A question may come more than once."""
        if self._young.held >= self._most:
            self._old, self._young = self._young, _Generation(_FIRST_SLOTS)
        if 2 * (self._young.held + keys.first.size) > self._young.size:
            self._young = self._young.grown(keys.first.size)
        self._young.add(keys, said)


class _Generation:
    """One table. It is at most half full."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.held = 0
        self.keys = Keys(np.zeros(size, np.uint64), np.zeros(size, np.uint64))
        self.said = said_of(size)

    def find(self, keys: Keys) -> tuple[Places, npt.NDArray[np.bool_]]:
        """The slot of each key, or the empty one where it would be, and whether it is there."""
        slots = (keys.first & np.uint64(self.size - 1)).astype(np.int64)
        known = self._holds(slots, keys)
        walking = np.flatnonzero(~known)
        walking = walking[self.keys.first.take(slots[walking]) != 0]
        while walking.size:
            slots[walking] = (slots[walking] + 1) & (self.size - 1)
            here = slots[walking]
            met = self._holds(here, keys.at(walking))
            known[walking[met]] = True
            walking = walking[~met & (self.keys.first[here] != 0)]
        return slots, known

    def add(self, keys: Keys, said: Said) -> None:
        waiting = np.arange(keys.first.size)
        while waiting.size:
            slots, known = self.find(keys.at(waiting))
            waiting, slots = waiting[~known], slots[~known]
            # Where several want one slot, the last has it, and the others look further.
            self.keys.first[slots], self.keys.second[slots] = keys.first[waiting], keys.second[waiting]
            won = self._holds(slots, keys.at(waiting))
            self.said.put(slots[won], said.at(waiting[won]))
            self.held += np.unique(slots).size
            waiting = waiting[~won]

    def grown(self, more: int) -> _Generation:
        size = self.size
        while 2 * (self.held + more) > size:
            size *= 2
        larger = _Generation(size)
        used = np.flatnonzero(self.keys.first)
        larger.add(self.keys.at(used), self.said.at(used))
        return larger

    def _holds(self, slots: Places, keys: Keys) -> npt.NDArray[np.bool_]:
        held: npt.NDArray[np.bool_] = self.keys.first.take(slots) == keys.first
        held &= self.keys.second.take(slots) == keys.second
        return held


def _mixed(parts: Sequence[Words], odd: Sequence[int]) -> Words:
    """One word of each row: a sum of products with odd numbers, its high bits brought down to where slots are told."""
    mixed = parts[0] * np.uint64(odd[0])
    for part, factor in zip(parts[1:], odd[1:], strict=True):
        mixed += part * np.uint64(factor)
    mixed ^= mixed >> np.uint64(32)
    mixed *= np.uint64(odd[0])
    mixed ^= mixed >> np.uint64(29)
    return mixed
