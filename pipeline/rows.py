"""Rows as they were before they travelled: the other side of `collector.schema.wire`, for columns from foreign bytes.

Numbers come out of arithmetic modulo 2**bits and cannot be wrong as such; what is said of times and of places of text
is checked here. Whether values are in range is for `pipeline.decode` to say, of what comes out here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import polars as pl
import pyarrow as pa

from collector.schema import TIME_UNIT_NS, BatchError, Table

MANY_ROWS: Final = 2_000
"""From so many rows on it pays to look for planes that are 0 on every row, as the high bytes of most numbers are."""
LATEST_US: Final = np.iinfo(np.int64).max // TIME_UNIT_NS

Numbers = np.ndarray[Any, Any]


def restored_numbers(batch: pa.RecordBatch, table: Table, sizes: Sequence[int]) -> pa.RecordBatch:
    """The columns of batches of version 2 or later, numbers as they were; text as it came, without its places.

    `batch` has the rows of as many batches as there are `sizes`, one behind the other. Raises BatchError with reason
    `values`.
    """
    changed = {name: _from_planes(batch.column(name).to_numpy(), sizes) for name in table.planes}
    for name, other in table.relative.items():
        near, distance = (changed[end] if end in changed else batch.column(end).to_numpy() for end in (other, name))
        changed[name] = _from_distance(name, near, distance)
    arrays = [pa.array(changed[name]) if name in changed else batch.column(name) for name in table.columns]
    return pa.RecordBatch.from_arrays(arrays, names=list(table.columns))


def restored_text(batch: pa.RecordBatch, table: Table, sizes: Sequence[int]) -> list[pl.Expr]:
    """What makes columns of text whose values came once a batch as they were; for `sizes` see `restored_numbers`.

    Raises BatchError with reason `values`.
    """
    if not table.repeated:
        return []
    ends = np.cumsum(sizes)
    starts, own = np.repeat(ends - sizes, sizes), np.repeat(sizes, sizes)
    made = []
    for name in table.repeated:
        places = batch.column(f"{name}_row").to_numpy()
        if (places >= own).any():
            raise BatchError("values", f"{name} on row {places.max()} of {own.max()}")
        made.append(pl.col(name).gather(pl.lit(pl.Series(places + starts))))
    return made


def _from_planes(planes: Numbers, sizes: Sequence[int]) -> Numbers:
    width = planes.itemsize
    octets = planes.view(np.uint8)
    whole = np.zeros((len(planes), width), np.uint8)
    start = 0
    for rows in sizes:
        of_batch = octets[start * width : (start + rows) * width].reshape(width, rows)
        into = whole[start : start + rows]
        if rows < MANY_ROWS:
            into[:] = of_batch.T
        else:
            for place, plane in enumerate(of_batch):
                if plane.any():
                    into[:, place] = plane
        start += rows
    return whole.reshape(-1).view(planes.dtype)


def _from_distance(name: str, near: Numbers, distance: Numbers) -> Numbers:
    if distance.dtype != np.int64:
        difference: Numbers = near - distance
        return difference
    moment_us = near // TIME_UNIT_NS - distance
    if ((moment_us < 0) | (moment_us > LATEST_US)).any():
        raise BatchError("values", f"{name} before 1970 or after 2262")
    moment: Numbers = moment_us * TIME_UNIT_NS
    return moment
