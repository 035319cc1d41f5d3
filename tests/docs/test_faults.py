"""The page of faults has a row for each, and every test that it names is there."""

from __future__ import annotations

import ast

from tests.faults.page import ROOT, rows

FAULTS = 26


def test_every_fault_has_a_row_and_one_without_a_test_says_so() -> None:
    assert [row.number for row in rows()] == list(range(1, FAULTS + 1))
    for row in rows():
        assert bool(row.tests) != (row.made_by == "none"), row.number
        assert row.tests or row.lacks, row.number


def test_every_test_that_is_named_is_there() -> None:
    for row in rows():
        for test in row.tests:
            path, _, name = test.partition("::")
            functions = [node.name for node in ast.parse((ROOT / path).read_text()).body if hasattr(node, "name")]
            assert name in functions, test
