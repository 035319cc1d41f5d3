"""Parquet of files that are kept for long: smaller than what is written as it comes, and read as fast.

Polars writes what comes, for it is the quickest; here pyarrow does, which can be told how to write each column. Texts
are in dictionaries. Numbers that repeat from row to row (ports, ids and begins of connections whose rows lie together)
are best written plainly, for then zstd finds them again, and those that are drawn at random from few are best in a
dictionary: in doubt both are tried. The invariant: pages are of the encodings that every reader of Parquet has known
from the first version of the format, and a column's type is as in any other file of its table.
"""

from __future__ import annotations

import io
from typing import Final

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

LEVEL: Final = 9
"""Of zstd: beyond it half as much time again saves less than a hundredth."""
_PAGE_BYTES: Final = 1 << 20
_DICTIONARY_BYTES: Final = 8 << 20
_FEW: Final = 1 / 64
_MANY: Final = 1 / 2
"""Shares of distinct numbers at which there is no doubt."""


def packed(rows: pl.DataFrame) -> memoryview:
    """The rows, whose text may be codes, as one row group with statistics."""
    columns, in_dictionaries = {}, []
    for column in rows:
        columns[column.name], path = _column(column)
        if path is not None:
            in_dictionaries.append(path)
    return _written(pa.table(columns), in_dictionaries, LEVEL)


def _column(column: pl.Series) -> tuple[pa.Array, str | None]:
    """A column of text, lists of text, numbers or times, and its path in the file where it is best in a dictionary."""
    if isinstance(column.dtype, pl.List):
        texts = column.cast(pl.List(pl.String)).to_arrow(compat_level=_PLAIN_TYPES)
        return texts, f"{column.name}.list.element"
    if column.dtype in (pl.Categorical, pl.String):
        return column.cast(pl.String).to_arrow(compat_level=_PLAIN_TYPES).dictionary_encode(), column.name
    array = column.to_arrow(compat_level=_PLAIN_TYPES)
    return array, column.name if _is_for_dictionary(column, array) else None


def _is_for_dictionary(column: pl.Series, array: pa.Array) -> bool:
    if column.dtype == pl.Boolean:
        return False
    share = column.n_unique() / max(len(column), 1)
    if not _FEW < share < _MANY:
        return share <= _FEW
    alone = pa.table({column.name: array})
    return len(_written(alone, [column.name], 1)) < len(_written(alone, [], 1))


def _written(table: pa.Table, in_dictionaries: list[str], level: int) -> memoryview:
    file = io.BytesIO()
    pq.write_table(
        table,
        file,
        row_group_size=max(table.num_rows, 1),
        compression="zstd",
        compression_level=level,
        use_dictionary=in_dictionaries,
        dictionary_pagesize_limit=_DICTIONARY_BYTES,
        data_page_size=_PAGE_BYTES,
        store_schema=False,  # else text would be read as Arrow's dictionaries
    )
    return file.getbuffer()


_PLAIN_TYPES: Final = pl.CompatLevel.oldest()
