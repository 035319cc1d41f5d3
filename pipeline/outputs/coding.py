"""Text as codes: each distinct text is made once, and a row holds its number.

The history has some forty columns of text and few texts in each. Made row by row they cost more than all that comes
before; as codes (Polars' Categorical) they are gathered, sorted and written as integers are. The invariant: codes mean
something among frames of the same `Codes` alone, and these are forgotten when nobody holds such a frame.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, cast
from uuid import uuid4

import numpy as np
import polars as pl

from ..aggregate.idwords import grouped
from ..attribution.keyindex import distinct
from ..inventory.addresses import text_of

_ADDRESS: Final = "_ip"
_FEW: Final = 1 / 16
"""Words to a row, at most: to make an Enum of more costs more than it saves."""


@dataclass(frozen=True, slots=True)
class Codes:
    """The numbers of texts: each column has its own, from 0 on, and those of addresses share theirs."""

    namespace: str = field(default_factory=lambda: uuid4().hex)

    def of(self, column: str) -> pl.Categorical:
        """The type of a column's codes."""
        name = _ADDRESS if column.endswith(_ADDRESS) else column
        return pl.Categorical(pl.Categories(name, self.namespace))


def coded_schema(schema: pl.Schema, codes: Codes) -> pl.Schema:
    """The schema with codes in place of text."""
    return pl.Schema({name: _coded_type(name, dtype, codes) for name, dtype in schema.items()})


def told_of(
    flows: pl.DataFrame,
    ids: tuple[str, ...],
    texts: Callable[[pl.LazyFrame], pl.LazyFrame],
    codes: Codes,
) -> pl.DataFrame:
    """What `texts` makes of the columns `ids` of each row, with text as codes: it sees each combination once.

    `texts` gives a row for each that it is given, in order, and no column of the flows.
    """
    groups = grouped(flows, ids)
    told = texts(groups.ids.lazy()).collect()
    return told.cast(coded_schema(told.schema, codes))[groups.numbers]


def addresses_told(flows: pl.DataFrame, ends: tuple[str, ...], codes: Codes) -> pl.DataFrame:
    """`{end}_ip` of each end, as codes, from the halves of its address."""
    halves = [pl.concat([flows[f"{end}_{half}"] for end in ends]) for half in ("hi", "lo")]
    numbers, first = distinct([half.to_numpy() for half in halves if (half != 0).any()] or [halves[1].to_numpy()])
    texts = text_of(*(half.gather(first) for half in halves)).cast(codes.of(_ADDRESS))
    parts = np.split(numbers, len(ends))
    return pl.DataFrame([texts.gather(part).alias(f"{end}_ip") for end, part in zip(ends, parts, strict=True)])


def worded(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows whose columns of codes are an Enum of these codes' words: Polars writes such a one's numbers as they are,
    and looks up those of a Categorical one by one. Columns with null or of many words are left as they are."""
    return rows.with_columns(map(_worded, (column for column in rows if isinstance(column.dtype, pl.Categorical))))


def _worded(column: pl.Series) -> pl.Series:
    if column.null_count() or not len(column):
        return column
    numbers = column.to_physical()
    count = cast("int", numbers.max()) + 1
    if count > len(column) * _FEW:
        return column
    words = pl.Series(np.arange(count, dtype=np.uint32)).cat.to(column.dtype).cast(pl.String)
    if count == 1:
        return pl.repeat(words[0], len(column), dtype=pl.Enum(words), eager=True).alias(column.name)
    return words.cast(pl.Enum(words)).gather(numbers).alias(column.name)


def _coded_type(name: str, dtype: pl.DataType, codes: Codes) -> pl.DataType:
    if dtype == pl.String:
        return codes.of(name)
    return pl.List(codes.of(name)) if dtype == pl.List(pl.String) else dtype
