"""What one set of policies says of connections: numbers of answers in columns, each question asked of it once.

Rows are looked up some at a time, and only what is not known yet is looked at again. The invariant: what is said of a
connection does not depend on what was asked before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from .. import arrays
from ..keyindex import distinct
from .answers import AnswerBook
from .engine import NO_VERDICT, SIDES, VERDICT, Judgement, Policies
from .pairs import Pairs, Words
from .questions import Places, QuestionTable

_BLOCK: Final = 1 << 14
"""Rows that are looked up at once: what is made on the way stays in the processor's cache, in memory that is there."""
_ANSWER_BITS: Final = np.uint64(28)
"""Room for the number of an answer, of which there are never many more than MOST_ANSWERS."""
_LOW_BITS: Final = np.uint64((1 << 28) - 1)


@dataclass(frozen=True)
class Said:
    """What was said of flows, in columns: codes of VERDICT or NO_VERDICT, and numbers of answers where there is one."""

    verdict: npt.NDArray[np.uint8]
    egress: npt.NDArray[np.uint32]
    ingress: npt.NDArray[np.uint32]

    @classmethod
    def room(cls, size: int) -> Said:
        """Of as many flows, not said yet."""
        return cls(np.empty(size, np.uint8), np.empty(size, np.uint32), np.empty(size, np.uint32))

    def columns(self) -> list[pl.Series]:
        """`verdict` (VERDICT), and `egress` and `ingress_policy` (UInt32, rows of `PolicyTimeline.book.answers`). All
        three are null where a Service was dialled and the backend is not known."""
        is_judged = self.verdict != NO_VERDICT
        return [
            arrays.enumerated(self.verdict, VERDICT, is_judged).alias("verdict"),
            arrays.nullable(self.egress, is_judged).alias("egress"),
            arrays.nullable(self.ingress, is_judged).alias("ingress_policy"),
        ]

    def at(self, places: npt.NDArray[np.integer]) -> Said:
        """What was said of some of the flows."""
        return Said(self.verdict[places], self.egress[places], self.ingress[places])

    def put(self, places: npt.NDArray[np.integer] | slice, said: Said) -> None:
        """Write into the places."""
        self.verdict[places], self.egress[places], self.ingress[places] = said.verdict, said.egress, said.ingress

    def unpack(self, places: npt.NDArray[np.integer] | slice, packed: npt.NDArray[np.uint64]) -> None:
        """Write into the places what `_packed` made one number of."""
        self.ingress[places] = packed & _LOW_BITS
        packed = packed >> _ANSWER_BITS
        self.egress[places] = packed & _LOW_BITS
        self.verdict[places] = packed >> _ANSWER_BITS


class Compiled:
    """One set of policies, and what it said."""

    def __init__(self, policies: Policies) -> None:
        self.policies = policies
        self.forget()

    def forget(self) -> None:
        """Take nothing for known of what was said."""
        self.table = QuestionTable()

    def say(self, pairs: Pairs, book: AnswerBook) -> Said:
        """What the policies say of each pair; those that are new are asked of them, once each."""
        said = Said.room(len(pairs))
        waiting = []
        for first in range(0, len(pairs), _BLOCK):
            block = slice(first, first + _BLOCK)
            words = self.policies.packing.words(pairs.at(block))
            known, packed = self.table.find(words)
            said.unpack(block, packed)
            if not known.all():
                places = np.flatnonzero(~known)
                words = words[places]
                numbers, asked = distinct(list(words.T))
                waiting.append(_Unknown(places + first, numbers, asked, words[asked]))
        if waiting:
            self._ask(waiting, pairs, book, said)
        return said

    def _ask(self, waiting: Sequence[_Unknown], pairs: Pairs, book: AnswerBook, said: Said) -> None:
        words = np.concatenate([block.words for block in waiting])
        numbers, asked = distinct(list(words.T))
        places = np.concatenate([block.places[block.asked] for block in waiting])[asked]
        packed = _packed(self.policies.ask(pairs.at(places)), book)
        self.table.add(words[asked], packed)
        ends = np.cumsum([len(block.words) for block in waiting])[:-1]
        for block, mine in zip(waiting, np.split(packed[numbers], ends), strict=True):
            said.unpack(block.places, mine[block.numbers])


@dataclass(frozen=True)
class _Unknown:
    """What is not known yet of a block of pairs."""

    places: Places
    """Where they are among the pairs."""
    numbers: Places
    """By place, which of the distinct questions it is."""
    asked: Places
    """By distinct question, the first of `places` that asks it."""
    words: Words
    """By distinct question."""


def _packed(judgement: Judgement, book: AnswerBook) -> npt.NDArray[np.uint64]:
    """Verdict and both answers, by the book's numbers, as one number a row."""
    numbers = book.numbers(judgement)
    packed = judgement.verdicts.astype(np.uint64)
    for direction in SIDES:
        packed <<= _ANSWER_BITS
        packed |= numbers[direction].take(judgement.said[direction])
    return packed
