"""The table of answered questions against a dictionary."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.attribution.policies.pairs import Words
from pipeline.attribution.policies.questions import QuestionTable


def questions_of(random: np.random.Generator, rows: int, few: int) -> Words:
    """Questions with few values a word, so that some differ in one word alone; no two are alike."""
    values = random.integers(0, 2**64 - 2, (2, few), dtype=np.uint64, endpoint=True)
    columns = [random.choice(values[place], rows) for place in range(2)]
    return np.unique(np.stack(columns, axis=1), axis=0)


def shuffled(random: np.random.Generator, words: Words) -> Words:
    return random.permutation(words, axis=0)


@pytest.mark.parametrize("shift", [0, 40], ids=["random", "only high bits"])
def test_what_was_added_is_found_and_nothing_else(shift: int) -> None:
    random = np.random.default_rng(7)
    table = QuestionTable()
    known: dict[tuple[int, int], int] = {}
    for _ in range(12):
        questions = shuffled(random, questions_of(random, 4_000, 200) >> np.uint64(shift) << np.uint64(shift))
        questions = np.unique(questions, axis=0)
        is_known, said = table.find(questions)
        for row, is_found, number in zip(questions.tolist(), is_known, said.tolist(), strict=True):
            assert is_found == (tuple(row) in known)
            if is_found:
                assert number == known[tuple(row)]
        fresh = questions[~is_known]
        numbers = np.arange(len(known), len(known) + len(fresh), dtype=np.uint64) + np.uint64(2**63)
        table.add(fresh, numbers)
        known |= dict(zip(map(tuple, fresh.tolist()), numbers.tolist(), strict=True))
    assert len(table) == len(known) > 30_000


def test_a_table_is_bounded_and_keeps_what_is_asked_for() -> None:
    random = np.random.default_rng(8)
    table = QuestionTable(most=1_000)
    asked = questions_of(random, 50, 50)
    numbers = np.arange(len(asked), dtype=np.uint64)
    table.add(asked, numbers)
    for _ in range(40):
        others = questions_of(random, 300, 300)
        table.add(others, np.zeros(len(others), np.uint64))
        is_known, said = table.find(asked)
        assert is_known.all()
        assert (said == numbers).all()
        assert len(table) <= 2 * 1_000 + 2 * 300


def test_a_question_that_comes_twice_at_once_is_held_once() -> None:
    questions = questions_of(np.random.default_rng(9), 10, 10)
    table = QuestionTable()
    numbers = np.arange(len(questions), dtype=np.uint64)
    table.add(np.concatenate([questions, questions]), np.concatenate([numbers, numbers]))
    assert len(table) == len(questions)
    assert (table.find(questions)[1] == numbers).all()
