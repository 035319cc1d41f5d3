"""Codes are numbers of texts: the same text comes back whatever they are told as."""

from __future__ import annotations

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from pipeline.inventory.addresses import parse
from pipeline.outputs.coding import Codes, addresses_told, coded_schema, thinly_told, told_of, worded, words_told

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


@pytest.mark.parametrize("texts", [["", "a", None, "", "b", "", "a"], ["b", "", "a", None], ["", None], []])
def test_text_is_told_whether_few_rows_have_it_or_most(texts: list[str | None]) -> None:
    told = thinly_told(pl.Series("path", texts, pl.String), Codes())
    assert told.name == "path"
    assert told.cast(pl.String).to_list() == [text or "" for text in texts]


def test_numbers_of_words_are_told_as_these() -> None:
    codes = Codes()
    enum = pl.Series("via", ["near", None, "far"], pl.Enum(["far", "near"]))
    assert words_told(enum, ["far", "near"], codes).cast(pl.String).to_list() == ["near", "", "far"]
    numbers = pl.Series("outcome", [2, 0, 2], pl.UInt8)
    assert words_told(numbers, ["open", "closed", "refused"], codes).cast(pl.String).to_list() == [
        "refused",
        "open",
        "refused",
    ]


@pytest.mark.parametrize("other", ["10.0.0.9", "fd00::9", "0.0.0.0"])  # noqa: S104 - an address among others
def test_an_end_that_often_shares_an_address_is_told_its_own_where_it_does_not(other: str) -> None:
    ends = {"dst": ["10.0.0.1", "fd00::1", other, "10.0.0.1"], "backend": ["10.0.0.1", "10.0.0.2", other, "fd00::1"]}
    halves = {
        f"{end}_{half}": pl.Series([getattr(parse(text), half) for text in texts], dtype=pl.UInt64)
        for end, texts in ends.items()
        for half in ("hi", "lo")
    }
    for some in (slice(0, 4), slice(0, 1), slice(0, 0)):
        flows = pl.DataFrame(halves)[some]
        told = addresses_told(flows, {"dst": None, "backend": "dst"}, Codes())
        expected = {f"{end}_ip": texts[some] for end, texts in ends.items()}
        assert told.select(pl.all().cast(pl.String)).to_dict(as_series=False) == expected


def test_what_depends_on_nothing_is_told_once() -> None:
    """Of ids that are all null there is one combination, however many rows; of no rows there is none."""
    asked: list[int] = []

    def texts(ids: pl.LazyFrame) -> pl.LazyFrame:
        asked.append(ids.collect().height)
        return ids.select(service=pl.when(pl.col("id").is_null()).then(pl.lit("none")).otherwise(pl.lit("some")))

    for ids, expected in (([None] * 3, ["none"] * 3), ([None, 1], ["none", "some"]), ([], [])):
        told = told_of(pl.DataFrame({"id": pl.Series(ids, dtype=pl.UInt32)}), ("id",), texts, Codes())
        assert told["service"].cast(pl.String).to_list() == expected
    assert asked == [1, 2, 0]
