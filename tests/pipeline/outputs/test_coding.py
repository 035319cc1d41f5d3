"""Codes are numbers of texts: the same text comes back whatever they are told as."""

from __future__ import annotations

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from pipeline.outputs.coding import Codes, coded_schema, worded

FEW = [f"word-{number % 5}" for number in range(200)]
MANY = [f"word-{number}" for number in range(200)]


@pytest.mark.parametrize(
    ("texts", "is_enum"),
    [(FEW, True), ([""] * 200, True), (MANY, False), ([None, *FEW], False), ([], False)],
    ids=["few", "one", "many", "with null", "none"],
)
def test_words_are_those_of_the_codes(texts: list[str], is_enum: bool) -> None:
    rows = pl.DataFrame({"name": texts, "number": range(len(texts))}, schema={"name": pl.String, "number": pl.Int64})
    coded = rows.cast(coded_schema(rows.schema, Codes()))
    for given in (coded, pl.concat([coded[:7], coded[7:]], rechunk=False)):
        told = worded(given)
        assert isinstance(told["name"].dtype, pl.Enum) == is_enum
        assert_frame_equal(told.cast(rows.schema), rows)


def test_each_column_counts_from_0_and_addresses_share_theirs() -> None:
    codes = Codes()
    schema = pl.Schema(dict.fromkeys(("role", "via", "src_ip", "dst_ip"), pl.String()))
    rows = pl.DataFrame([["a", "b", "c"]] * 2 + [["1", "2", "1"], ["2", "3", "3"]], schema=schema, orient="col")
    numbers = rows.cast(coded_schema(schema, codes)).select(pl.all().to_physical())
    assert numbers["role"].to_list() == numbers["via"].to_list() == [0, 1, 2]
    assert numbers["src_ip"][1] == numbers["dst_ip"][0]
    assert Codes().of("role") != codes.of("role") == codes.of("role")
