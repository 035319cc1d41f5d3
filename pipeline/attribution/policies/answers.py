"""Answers of policies by number, for as long as the pipeline runs: sets of policies come and go, the numbers stay.

An answer is a direction's verdict and all that is responsible for it; two sets of policies that say the same give one
answer. The invariant: a number never changes its meaning.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain, islice
from typing import Final

import numpy as np
import polars as pl

from .. import arrays
from .engine import SIDE_VERDICT, SIDES, Judgement, SideAnswers
from .evaluation import VERDICTS
from .lists import Ids, Lists
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
_DIRECTIONS: Final = {name: code for code, name in enumerate(DIRECTION.categories)}
_COVERAGES: Final = {name: code for code, name in enumerate(COVERAGE.categories)}
_UNMET: Final = np.uint32(2**32 - 1)
_MOST_MET: Final = 32
"""Frames of which it is known what their rows mean: two for each set of policies that is compiled, and some."""


class AnswerBook:
    """Every answer that was ever given, and what answers refer to. It only grows."""

    def __init__(self) -> None:
        self.directions, self.verdicts, self.coverages = (np.zeros(0, np.uint8) for _ in range(3))
        """By answer: codes of DIRECTION, SIDE_VERDICT and COVERAGE."""
        self.responsible = Lists(np.zeros(1, np.int64), np.zeros(0, np.uint32))
        """By answer: rows of `references`."""
        self._frame = pl.DataFrame(schema=ANSWERS)
        self._named = pl.DataFrame(schema=_NAMED)
        self._answers: dict[tuple[Direction, int, tuple[int, ...]], int] = {}
        self._references: dict[tuple[str | None, ...], int] = {}
        self._texts: list[str] = []
        """By reference: `EFFECT KIND/NAMESPACE/NAME/RULE`; whatever does not apply is empty."""
        self._allows: list[bool] = []
        """By reference."""
        self._met: dict[int, tuple[pl.DataFrame, Ids]] = {}
        """By the identity of a frame of REFERENCES: the frame, and the numbers here of its rows, _UNMET at first."""

    def __len__(self) -> int:
        return len(self._answers)

    @property
    def answers(self) -> pl.DataFrame:
        """All answers with their texts (ANSWERS), made when it is asked for."""
        first = self._frame.height
        if first < len(self):
            new = list(islice(self._answers, first, None))
            columns = (
                arrays.enumerated(self.directions[first:], DIRECTION),
                arrays.enumerated(self.verdicts[first:], SIDE_VERDICT),
                arrays.enumerated(self.coverages[first:], COVERAGE),
                pl.Series([list(references) for *_, references in new], dtype=pl.List(pl.UInt32)),
                pl.Series([[self._texts[it] for it in references] for *_, references in new], dtype=pl.List(pl.String)),
            )
            rows = pl.DataFrame(dict(zip(ANSWERS, columns, strict=True)))
            self._frame = pl.concat([self._frame, rows], rechunk=True)
        return self._frame

    @property
    def references(self) -> pl.DataFrame:
        """`direction`, and the columns of `side.REFERENCES`; made when it is asked for."""
        first = self._named.height
        if first < len(self._references):
            new = pl.DataFrame(list(islice(self._references, first, None)), schema=_NAMED, orient="row")
            self._named = pl.concat([self._named, new], rechunk=True)
        return self._named

    def numbers(self, judgement: Judgement) -> dict[Direction, Ids]:
        """By direction the number of each of the judgement's answers; those that are new are written down."""
        before = len(self)
        numbers = {
            direction: self._numbers(direction, answers, judgement.references[direction])
            for direction, answers in judgement.distinct.items()
        }
        if len(self) > before:
            self._write(list(islice(self._answers, before, None)))
        return numbers

    def _numbers(self, direction: Direction, answers: SideAnswers, references: pl.DataFrame) -> Ids:
        meant = self._refer(direction, references, answers.references.items).tolist()
        ends = answers.references.offsets.tolist()
        keys = zip(answers.verdicts.tolist(), ends, ends[1:], strict=False)
        known = self._answers
        numbers = [known.setdefault((direction, verdict, tuple(meant[a:b])), len(known)) for verdict, a, b in keys]
        return np.array(numbers, dtype=np.uint32)

    def _refer(self, direction: Direction, references: pl.DataFrame, used: Ids) -> Ids:
        """The numbers here of these rows of `references`."""
        if id(references) not in self._met:
            self._met[id(references)] = references, np.full(references.height, _UNMET)
            if len(self._met) > _MOST_MET:
                del self._met[next(iter(self._met))]
        met = self._met[id(references)][1]
        unmet = np.unique(used[met.take(used) == _UNMET]) if used.size else used
        if unmet.size:
            before, known = len(self._references), self._references
            rows: Iterable[tuple[str | None, ...]] = arrays.taken(references, unmet, *REFERENCES).iter_rows()
            met[unmet] = [known.setdefault((direction, *row), len(known)) for row in rows]
            for _, kind, namespace, name, rule, effect, _ in islice(known, before, None):
                self._texts.append(f"{effect} {'/'.join(part or '' for part in (kind, namespace, name, rule))}")
                self._allows.append(effect == "allow")
        return met[used]

    def _write(self, new: Sequence[tuple[Direction, int, tuple[int, ...]]]) -> None:
        directions, verdicts, references = zip(*new, strict=True)
        coverages = [
            _coverage(VERDICTS[verdict], is_explicit=any(self._allows[number] for number in numbers))
            for _, verdict, numbers in new
        ]
        self.directions = np.append(self.directions, [_DIRECTIONS[it] for it in directions]).astype(np.uint8)
        self.verdicts = np.append(self.verdicts, verdicts).astype(np.uint8)
        self.coverages = np.append(self.coverages, [_COVERAGES[it] for it in coverages]).astype(np.uint8)
        lengths = [len(numbers) for numbers in references]
        before = self.responsible
        self.responsible = Lists(
            np.append(before.offsets, before.offsets[-1] + np.cumsum(lengths, dtype=np.int64)),
            np.append(before.items, np.array(list(chain.from_iterable(references)), dtype=np.uint32)),
        )


def _coverage(verdict: str, *, is_explicit: bool) -> str:
    if verdict == "allowed":
        return "explicit" if is_explicit else "default_allow"
    return verdict.replace(" ", "_")
