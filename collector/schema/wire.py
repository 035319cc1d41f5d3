"""The form in which a table's columns travel: what `Table.relative`, `planes` and `repeated` say, done.

Most of a flow is told elsewhere already: NAT changes few addresses, a connection began not long before its row was
made, names repeat, and numbers that differ have most of their high bytes in common. A general compressor sees little
of that in rows as they are. The invariant: `pipeline.rows` gets back what went in, but for what is less than a
microsecond of relative times.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..text import Text
from .tables import TIME_UNIT_NS, UTF8, Table

Numbers = np.ndarray[Any, Any]


def wire_form(table: Table, columns: Mapping[str, Numbers | Sequence[str]]) -> dict[str, Numbers | Text]:
    """The columns of `table.wire_columns` of the newest version, from those of `table.columns` in their true types."""
    wired: dict[str, Numbers | Text] = {}
    places: dict[str, Numbers] = {}
    for name, kind in table.columns.items():
        column = columns[name]
        if kind == UTF8:
            text = Text.of([] if isinstance(column, np.ndarray) else column)
            if name in table.repeated:
                text, places[f"{name}_row"] = _once(text)
            wired[name] = text
            continue
        numbers = np.asarray(column)
        if name in table.relative:
            numbers = _difference(np.asarray(columns[table.relative[name]]), numbers)
        wired[name] = _planes(numbers) if name in table.planes else numbers
    return {**wired, **places}


def _difference(other: Numbers, column: Numbers) -> Numbers:
    return other // TIME_UNIT_NS - column // TIME_UNIT_NS if column.dtype == np.int64 else other - column


def _planes(column: Numbers) -> Numbers:
    octets = np.ascontiguousarray(column).view(np.uint8).reshape(len(column), column.itemsize)
    return np.ascontiguousarray(octets.T).reshape(-1).view(column.dtype)


def _once(text: Text) -> tuple[Text, Numbers]:
    """Each value that occurs, on a row of its own from the first on; and on which row the value of each row is."""
    if len(text.values) == 1:  # as where nothing is told
        numbers = np.ones(len(text), np.uint32)
        numbers[:1] = 0
        return Text((*text.values, ""), numbers), np.zeros(len(text), np.uint32)
    occurs = np.zeros(len(text.values), np.bool_)
    occurs[text.numbers] = True
    used = np.flatnonzero(occurs)
    row_of = np.cumsum(occurs, dtype=np.uint32) - np.uint32(1)
    numbers = np.full(len(text), len(text.values), np.uint32)  # behind the last value is ""
    numbers[: len(used)] = used
    return Text((*text.values, ""), numbers), row_of[text.numbers]
