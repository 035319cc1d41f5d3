"""Answers of policies by number, for as long as the pipeline runs: sets of policies come and go, the numbers stay.

An answer is a direction's verdict and all that is responsible for it; two sets of policies that say the same give one
answer. The invariant: a number never changes its meaning.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from .engine import SIDE_VERDICT, SIDES, Judgement
from .evaluation import VERDICTS
from .side import REFERENCES

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
        self._answers: dict[tuple[str, int, tuple[int, ...]], int] = {}
        self._references: dict[tuple[str | None, ...], int] = {}

    def numbers(self, judgement: Judgement) -> npt.NDArray[np.uint32]:
        """The number of each row of the judgement's answers; those that are new are written down."""
        meant = {
            direction: self._refer(direction, judgement, judgement.references[direction])
            for direction in judgement.references
        }
        before = len(self._answers)
        keys = [
            (direction, verdict, tuple(meant[direction][reference] for reference in references))
            for direction, verdict, references in judgement.answers.iter_rows()
        ]
        numbers = [self._answers.setdefault(key, len(self._answers)) for key in keys]
        if len(self._answers) > before:
            self._write(list(self._answers)[before:])
        return np.array(numbers, dtype=np.uint32)

    def _refer(self, direction: str, judgement: Judgement, references: pl.DataFrame) -> dict[int, int]:
        """The numbers here of the references that the judgement's answers make."""
        own = judgement.answers.filter(pl.col("direction") == direction)["reference"]
        used = own.explode().drop_nulls().unique()
        before = len(self._references)
        rows: Iterable[tuple[str | None, ...]] = references[used.to_numpy()].iter_rows()
        numbers = [self._references.setdefault((direction, *row), len(self._references)) for row in rows]
        if len(self._references) > before:
            new = pl.DataFrame(list(self._references)[before:], schema=_NAMED, orient="row")
            self.references = pl.concat([self.references, new], rechunk=True)
        return dict(zip(used.to_list(), numbers, strict=True))

    def _write(self, keys: list[tuple[str, int, tuple[int, ...]]]) -> None:
        directions, verdicts, references = zip(*keys, strict=True)
        rows = pl.DataFrame(
            {
                "direction": pl.Series(directions, dtype=DIRECTION),
                "verdict": pl.Series([VERDICTS[verdict] for verdict in verdicts], dtype=SIDE_VERDICT),
                "references": pl.Series(list(map(list, references)), dtype=pl.List(pl.UInt32)),
            }
        ).with_row_index("row")
        effects, texts = self.references["effect"], self._texts()
        named = rows.explode("references").select(
            "row",
            effect=pl.lit(effects).gather(pl.col("references")),
            text=pl.lit(texts).gather(pl.col("references")),
        )
        named = named.group_by("row", maintain_order=True).agg(
            is_explicit=(pl.col("effect") == "allow").any(), texts=pl.col("text").drop_nulls()
        )
        answers = rows.join(named, on="row", how="left", maintain_order="left").with_columns(
            coverage=_coverage(pl.col("verdict"), pl.col("is_explicit").fill_null(value=False)),
            texts=pl.col("texts").fill_null([]),
        )
        self.answers = pl.concat([self.answers, answers.select(ANSWERS.names()).cast(ANSWERS)], rechunk=True)

    def _texts(self) -> pl.Series:
        """By reference: `EFFECT KIND/NAMESPACE/NAME/RULE`; whatever does not apply is empty."""
        parts = (pl.col(name).fill_null("") for name in ("kind", "namespace", "name", "rule"))
        text = pl.concat_str(pl.col("effect"), pl.lit(" "), pl.concat_str(*parts, separator="/"))
        return self.references.select(text.alias("text"))["text"]


def _coverage(verdict: pl.Expr, is_explicit: pl.Expr) -> pl.Expr:
    return (
        pl.when(verdict == "denied")
        .then(pl.lit("denied"))
        .when(verdict == "unprotected")
        .then(pl.lit("unprotected"))
        .when(verdict == "not judged")
        .then(pl.lit("not_judged"))
        .when(is_explicit)
        .then(pl.lit("explicit"))
        .otherwise(pl.lit("default_allow"))
        .cast(COVERAGE)
    )
