"""Text as codes: each distinct text is made once, and a row holds its number.

The history has some forty columns of text and few texts in each. Made row by row they cost more than all that comes
before; as codes (Polars' Categorical) they are gathered, sorted and written as integers are. The invariant: codes mean
something among frames of the same `Codes` alone, and these are forgotten when nobody holds such a frame.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, cast
from uuid import uuid4

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from ..aggregate.idwords import grouped
from ..attribution.keyindex import distinct
from ..inventory.addresses import text_of

Halves = NDArray[np.uint64]

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
    is_one = all(flows[name].null_count() == flows.height > 0 for name in ids)
    groups = None if is_one else grouped(flows, ids)
    told = texts((flows[:1].select(ids) if groups is None else groups.ids).lazy()).collect()
    told = told.cast(coded_schema(told.schema, codes))
    if groups is None:
        ones = [pl.lit(column).first() for column in told]  # a value is no column until it is written
        return flows.with_columns(ones).select(told.columns)
    return told[pl.Series(groups.numbers.astype(np.uint32))]


def thinly_told(texts: pl.Series, codes: Codes) -> pl.Series:
    """Text that most rows lack, as codes: rows where it is empty or null are told as empty without a look at them."""
    kind = codes.of(texts.name)
    rows = (texts.str.len_bytes() > 0).arg_true()
    if 2 * len(rows) > len(texts):
        return texts.fill_null("").cast(kind)
    words = pl.concat([pl.Series([""]), texts.gather(rows)]).cast(kind)
    places = np.zeros(len(texts), np.uint32)
    places[rows.to_numpy()] = np.arange(1, len(words), dtype=np.uint32)
    return words.gather(pl.Series(places)).alias(texts.name)


def words_told(numbers: pl.Series, words: Sequence[str], codes: Codes) -> pl.Series:
    """Numbers of a few words, or an Enum of these, as codes of the words; null is told as empty."""
    places = numbers.to_physical().cast(pl.UInt32)
    if places.null_count():
        places = places.fill_null(len(words))
    return pl.Series([*words, ""]).cast(codes.of(numbers.name)).gather(places).alias(numbers.name)


def addresses_told(flows: pl.DataFrame, ends: Mapping[str, str | None], codes: Codes) -> pl.DataFrame:
    """`{end}_ip` of each end, as codes, from the halves of its address; of each is told with which one before it it
    often shares that, for then only the others are looked up."""
    halves = {end: (flows[f"{end}_hi"].to_numpy(), flows[f"{end}_lo"].to_numpy()) for end in ends}
    rows: dict[str, NDArray[np.int64] | slice] = {
        end: slice(None) if other is None else _unlike(halves[end], halves[other]) for end, other in ends.items()
    }
    asked = [[half[rows[end]] for half in halves[end]] for end in ends]
    numbers, hi, lo = _distinct(*(np.concatenate(parts) for parts in zip(*asked, strict=True)))
    texts = text_of(pl.Series(hi), pl.Series(lo)).cast(codes.of(_ADDRESS))
    parts = np.split(numbers, np.cumsum([len(part) for _, part in asked[:-1]]))
    of_end: dict[str, NDArray[np.uint32]] = {}
    for (end, other), part in zip(ends.items(), parts, strict=True):
        of_end[end] = part
        if other is not None:
            of_end[end] = of_end[other].copy()
            of_end[end][rows[end]] = part
    return pl.DataFrame([texts.gather(pl.Series(part)).alias(f"{end}_ip") for end, part in of_end.items()])


def _unlike(one: tuple[Halves, Halves], other: tuple[Halves, Halves]) -> NDArray[np.int64]:
    """The rows of which two ends have not the same address."""
    return np.flatnonzero((one[0] != other[0]) | (one[1] != other[1]))


def _distinct(hi: Halves, lo: Halves) -> tuple[NDArray[np.uint32], Halves, Halves]:
    """By row the number of its address, and by number its halves."""
    if hi.any():
        numbers, first = distinct([hi, lo])
        return numbers.astype(np.uint32), hi[first], lo[first]
    told = pa.array(lo).dictionary_encode()
    known = told.dictionary.to_numpy()
    return told.indices.to_numpy().view(np.uint32), np.zeros(len(known), np.uint64), known


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
