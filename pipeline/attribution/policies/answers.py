"""Answers of policies by number, for as long as the pipeline runs: sets of policies come and go, the numbers stay.

An answer is a direction's verdict and all that is responsible for it; two sets of policies that say the same give one
answer. The invariant: a number never changes its meaning.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from .engine import SIDE_VERDICT, SIDES, Judgement, SideAnswers
from .evaluation import VERDICTS
from .lists import Ids
from .side import REFERENCES
from .terms import Direction

DIRECTION: Final[pl.Enum] = pl.Enum(list(SIDES))
COVERAGE: Final[pl.Enum] = pl.Enum(["explicit", "default_allow", "unprotected", "denied", "not_judged"])
"""How policies cover traffic in one direction: a rule allows it; policies select the pod and leave it to the default;
no policy selects the pod; it is denied; a policy that is not understood may apply."""

ANSWERS: Final = pl.Schema(
    {
        "direction": DIRECTION,
        "verdict": SIDE_VERDICT,
        "coverage": COVERAGE,
        "references": pl.List(pl.UInt32),  # rows of `AnswerBook.references`
        "texts": pl.List(pl.String),  # the same as people and files read them
    }
)
_NAMED: Final = pl.Schema({"direction": DIRECTION, **REFERENCES})


class AnswerBook:
    """Every answer that was ever given, and what answers refer to. Both frames only grow."""

    def __init__(self) -> None:
        self.answers = pl.DataFrame(schema=ANSWERS)
        self.references = pl.DataFrame(schema=_NAMED)
        """`direction`, and the columns of `side.REFERENCES`."""
        self._answers: dict[tuple[Direction, int, tuple[int, ...]], int] = {}
        self._references: dict[tuple[str | None, ...], int] = {}
        self._texts: list[str] = []
        """By reference: `EFFECT KIND/NAMESPACE/NAME/RULE`; whatever does not apply is empty."""
        self._allows: list[bool] = []
        """By reference."""

    def numbers(self, judgement: Judgement) -> dict[Direction, npt.NDArray[np.uint32]]:
        """By direction the number of each of the judgement's answers; those that are new are written down."""
        before = len(self._answers)
        numbers = {
            direction: self._numbers(direction, answers, judgement.references[direction])
            for direction, answers in judgement.distinct.items()
        }
        if len(self._answers) > before:
            self._write(list(islice(self._answers, before, None)))
        return numbers

    def _numbers(self, direction: Direction, answers: SideAnswers, references: pl.DataFrame) -> npt.NDArray[np.uint32]:
        used, places = np.unique(answers.references.items, return_inverse=True)
        meant = self._refer(direction, references, used)[places].tolist()
        ends = answers.references.offsets.tolist()
        keys = zip(answers.verdicts.tolist(), ends, ends[1:], strict=False)
        known = self._answers
        numbers = [known.setdefault((direction, verdict, tuple(meant[a:b])), len(known)) for verdict, a, b in keys]
        return np.array(numbers, dtype=np.uint32)

    def _refer(self, direction: Direction, references: pl.DataFrame, used: Ids) -> Ids:
        """The numbers here of these rows of `references`."""
        before = len(self._references)
        rows: Iterable[tuple[str | None, ...]] = references[used].iter_rows() if used.size else ()
        known = self._references
        numbers = [known.setdefault((direction, *row), len(known)) for row in rows]
        if len(known) > before:
            new = pl.DataFrame(list(islice(known, before, None)), schema=_NAMED, orient="row")
            self.references = pl.concat([self.references, new], rechunk=True)
            for _, kind, namespace, name, rule, effect, _ in islice(known, before, None):
                self._texts.append(f"{effect} {'/'.join(part or '' for part in (kind, namespace, name, rule))}")
                self._allows.append(effect == "allow")
        return np.array(numbers, dtype=np.uint32)

    def _write(self, keys: list[tuple[Direction, int, tuple[int, ...]]]) -> None:
        rows = [
            (
                direction,
                VERDICTS[verdict],
                _coverage(VERDICTS[verdict], is_explicit=any(self._allows[number] for number in references)),
                list(references),
                [self._texts[number] for number in references],
            )
            for direction, verdict, references in keys
        ]
        new = [
            pl.Series(name, values, dtype=dtype)
            for (name, dtype), values in zip(ANSWERS.items(), zip(*rows, strict=True), strict=True)
        ]
        self.answers = pl.concat([self.answers, pl.DataFrame(new)], rechunk=True)


def _coverage(verdict: str, *, is_explicit: bool) -> str:
    if verdict == "allowed":
        return "explicit" if is_explicit else "default_allow"
    return verdict.replace(" ", "_")
