"""Packed files: what was given comes back under the same types, in the fewest bytes, with encodings that all know."""

from __future__ import annotations

import io

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from polars.testing import assert_frame_equal

from pipeline.lake.packing import packed
from pipeline.lake.tables import TABLES, LakeTable, stored
from pipeline.outputs.coding import Codes, coded_schema
from tests.pipeline.lake.histories import flows

ROWS = 20_000
ANY_READER = {"PLAIN", "RLE", "RLE_DICTIONARY", "PLAIN_DICTIONARY", "BIT_PACKED"}


def in_dictionary(numbers: np.ndarray) -> bool:
    content = packed(pl.DataFrame({"port": numbers.astype(np.int32)}))
    encodings = pq.ParquetFile(io.BytesIO(content)).metadata.row_group(0).column(0).encodings
    assert set(encodings) <= ANY_READER
    return "RLE_DICTIONARY" in encodings


@pytest.mark.parametrize("table", TABLES.values(), ids=lambda table: table.name)
def test_types_are_those_of_the_table(table: LakeTable) -> None:
    coded = table.stored.to_frame().cast(coded_schema(table.stored, Codes()))
    back = pl.read_parquet(io.BytesIO(packed(coded)))
    assert back.schema == table.stored
    assert pq.read_schema(io.BytesIO(packed(coded))).field("time").type.tz == "UTC"


def test_rows_come_back_whether_text_is_codes_or_not() -> None:
    rows = stored(flows(500), TABLES["flows"])
    coded = rows.cast(coded_schema(rows.schema, Codes()))
    for given in (rows, coded):
        content = packed(given)
        assert_frame_equal(pl.read_parquet(io.BytesIO(content)), rows)
        columns = pq.ParquetFile(io.BytesIO(content)).metadata.row_group(0)
        assert {name for at in range(columns.num_columns) for name in columns.column(at).encodings} <= ANY_READER


def test_numbers_drawn_from_few_are_in_a_dictionary_and_those_that_repeat_beside_each_other_are_not() -> None:
    random = np.random.default_rng(1)
    few = random.integers(0, 2_000, ROWS)
    beside = np.repeat(random.integers(0, 1 << 30, ROWS // 4), 4)
    assert in_dictionary(few)
    assert not in_dictionary(beside)
    assert not in_dictionary(random.integers(0, 1 << 30, ROWS))
    assert in_dictionary(random.integers(0, 50, ROWS))
