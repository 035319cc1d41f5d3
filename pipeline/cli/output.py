"""Rows for people and for programs: one writer for every sub-command that prints rows.

JSON Lines by default when piped, a table on a terminal. Nested columns stay nested in JSON and Parquet; tables and CSV
show them as `column.field`. A table is for people: bytes as sizes, whose unit takes the place
of `_bytes` in the heading, times to the second, and no control character of somebody's names.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Sequence
from typing import BinaryIO, Final

import polars as pl

from .terminal import CONTROL, size

_BYTES: Final = ("bytes", "sent", "received")


def form_of(asked: str | None) -> str:
    """The format that was asked for, else a table on a terminal and JSON Lines in a pipe."""
    return asked or ("table" if sys.stdout.isatty() else "jsonl")


def full_name(namespace: pl.Expr, name: pl.Expr) -> pl.Expr:
    """NAMESPACE/NAME; the name alone where there is no namespace."""
    space = namespace.cast(pl.String).fill_null("")
    return pl.when(space == "").then(name).otherwise(space + "/" + name)


def write(
    rows: pl.DataFrame, form: str | None, to: BinaryIO | None = None, mend_json: Callable[[str], str] = str
) -> None:
    """Write rows in the format asked for to `to` (default: standard output).

    `mend_json` sees JSON text before it is written, for what a column of one type cannot say.
    """
    out = sys.stdout.buffer if to is None else to
    chosen = form or ("table" if out.isatty() else "jsonl")
    if chosen == "table":
        out.write(_table(flat(rows)).encode())
    elif chosen == "json":
        out.write(mend_json(rows.write_json()).encode() + b"\n")
    elif chosen == "jsonl":
        out.write(mend_json(rows.write_ndjson()).encode())
    elif chosen == "csv":
        out.write(csv(rows).encode())
    else:
        whole = io.BytesIO()
        rows.write_parquet(whole)
        out.write(whole.getbuffer())
    out.flush()


def flat(rows: pl.DataFrame) -> pl.DataFrame:
    """Struct columns as columns named `column.field`, at any depth; lists as JSON text."""
    while any(isinstance(kind, pl.Struct) for kind in rows.dtypes):
        columns: list[pl.Series] = []
        for column in rows.iter_columns():
            if isinstance(column.dtype, pl.Struct):
                columns += [
                    field.alias(f"{column.name}.{field.name}") for field in column.struct.unnest().iter_columns()
                ]
            else:
                columns.append(column)
        rows = pl.DataFrame(columns)
    return rows.with_columns(
        pl.Series(name, [None if value is None else _json(value) for value in rows[name]], dtype=pl.String)
        for name, kind in rows.schema.items()
        if isinstance(kind, pl.List)
    )


def _json(values: pl.Series) -> str:
    return json.dumps(values.to_list(), ensure_ascii=False)


def csv(rows: pl.DataFrame, *, include_header: bool = True) -> str:
    """Rows as CSV: flat, with times in RFC 3339."""
    times = pl.selectors.datetime().dt.to_string("iso:strict")
    return flat(rows).with_columns(times).write_csv(include_header=include_header)


def _cell(name: str, kind: pl.DataType) -> pl.Expr:
    if kind.is_integer() and (name in _BYTES or name.endswith("_bytes")):
        return pl.col(name).map_elements(size, return_dtype=pl.String)
    if isinstance(kind, pl.Datetime):
        return pl.col(name).dt.to_string("%Y-%m-%d %H:%M:%S")
    text = pl.col(name).cast(pl.String)
    return pl.when(text != "").then(text.str.replace_all(CONTROL, "\N{REPLACEMENT CHARACTER}"))


def _table(rows: pl.DataFrame) -> str:
    cells = rows.select(_cell(name, kind).fill_null("-") for name, kind in rows.schema.items())
    lines = [[name.removesuffix("_bytes") for name in cells.columns], *cells.iter_rows()]
    widths = [max(len(line[i]) for line in lines) for i in range(cells.width)]
    is_number = [kind.is_numeric() for kind in rows.dtypes]

    def aligned(line: Sequence[str]) -> str:
        parts = (
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, is_number, strict=True)
        )
        return "  ".join(parts).rstrip() + "\n"

    return "".join(aligned(line) for line in lines)
