"""Text as codes: each distinct text is made once, and a row holds its number.

The history has some forty columns of text and few texts in each. Made row by row they cost more than all that comes
before; as codes (Polars' Categorical) they are gathered, sorted and written as integers are. The invariant: codes mean
something among frames of the same categories alone, and these are forgotten when nobody holds such a frame.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl

from ..aggregate.idwords import grouped
from ..attribution.keyindex import distinct
from ..inventory.addresses import text_of


def coded_schema(schema: pl.Schema, categories: pl.Categories) -> pl.Schema:
    """The schema with codes in place of text."""
    return pl.Schema({name: _coded_type(dtype, categories) for name, dtype in schema.items()})


def told_of(
    flows: pl.DataFrame,
    ids: tuple[str, ...],
    texts: Callable[[pl.LazyFrame], pl.LazyFrame],
    categories: pl.Categories,
) -> pl.DataFrame:
    """What `texts` makes of the columns `ids` of each row, with text as codes: it sees each combination once.

    `texts` gives a row for each that it is given, in order, and no column of the flows.
    """
    groups = grouped(flows, ids)
    told = texts(groups.ids.lazy()).collect()
    return told.cast(coded_schema(told.schema, categories))[groups.numbers]


def addresses_told(flows: pl.DataFrame, ends: tuple[str, ...], categories: pl.Categories) -> pl.DataFrame:
    """`{end}_ip` of each end, as codes, from the halves of its address."""
    halves = [pl.concat([flows[f"{end}_{half}"] for end in ends]) for half in ("hi", "lo")]
    numbers, first = distinct([half.to_numpy() for half in halves if (half != 0).any()] or [halves[1].to_numpy()])
    texts = text_of(*(half.gather(first) for half in halves)).cast(pl.Categorical(categories))
    parts = np.split(numbers, len(ends))
    return pl.DataFrame([texts.gather(part).alias(f"{end}_ip") for end, part in zip(ends, parts, strict=True)])


def _coded_type(dtype: pl.DataType, categories: pl.Categories) -> pl.DataType:
    if dtype == pl.String:
        return pl.Categorical(categories)
    return pl.List(pl.Categorical(categories)) if dtype == pl.List(pl.String) else dtype
