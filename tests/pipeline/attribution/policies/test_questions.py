"""The table of answered questions against a dictionary."""

from __future__ import annotations

import numpy as np
import polars as pl

from pipeline.attribution.policies.engine import QUESTION_WORDS
from pipeline.attribution.policies.questions import Keys, QuestionTable, Said


def questions_of(random: np.random.Generator, rows: int, few: int) -> pl.DataFrame:
    """Questions with few values a word, so that some differ in one word alone; no two are alike."""
    columns = {}
    for name in range(QUESTION_WORDS):
        values = random.integers(0, 2**64 - 1, few, dtype=np.uint64, endpoint=True)
        columns[str(name)] = pl.Series(random.choice(values, rows), dtype=pl.UInt64)
    return pl.DataFrame(columns).unique(maintain_order=True)


def keys_of(table: QuestionTable, questions: pl.DataFrame) -> Keys:
    return table.keys([column.to_numpy() for column in questions.get_columns()])


def said_of(questions: pl.DataFrame) -> Said:
    numbers = questions.with_row_index("n")["n"].to_numpy()
    return Said((numbers % 3).astype(np.uint8), numbers, numbers + np.uint32(1))


def test_what_was_added_is_found_and_nothing_else() -> None:
    random = np.random.default_rng(7)
    table = QuestionTable()
    known: dict[tuple[int, ...], int] = {}
    offset = np.uint32(0)
    for _ in range(12):
        questions = questions_of(random, 4_000, 32)
        keys = keys_of(table, questions)
        is_known, said = table.find(keys)
        for row, found, verdict, egress, ingress in zip(
            questions.rows(), is_known, said.verdict, said.egress, said.ingress, strict=True
        ):
            assert found == (row in known)
            if found:
                assert (verdict, egress, ingress) == (known[row] % 3, known[row], known[row] + 1)
        fresh = questions.filter(~pl.Series(is_known))
        numbers = np.arange(fresh.height, dtype=np.uint32) + offset
        offset += np.uint32(fresh.height)
        table.add(keys_of(table, fresh), Said((numbers % 3).astype(np.uint8), numbers, numbers + np.uint32(1)))
        known |= dict(zip(fresh.rows(), numbers.tolist(), strict=True))
    assert len(table) == len(known) > 30_000


def test_a_table_is_bounded_and_keeps_what_is_asked_for() -> None:
    random = np.random.default_rng(8)
    table = QuestionTable(most=1_000)
    asked = questions_of(random, 50, 50)
    table.add(keys_of(table, asked), said_of(asked))
    for _ in range(40):
        others = questions_of(random, 300, 300)
        table.add(keys_of(table, others), said_of(others))
        is_known, said = table.find(keys_of(table, asked))
        assert is_known.all()
        assert (said.egress == said_of(asked).egress).all()
        assert len(table) <= 2 * 1_000 + 2 * 300


def test_a_question_that_comes_twice_at_once_is_held_once() -> None:
    questions = questions_of(np.random.default_rng(9), 10, 10)
    table = QuestionTable()
    twice = pl.concat([questions, questions])
    said = said_of(questions)
    table.add(keys_of(table, twice), Said(*(np.concatenate([part, part]) for part in vars(said).values())))
    assert len(table) == questions.height
