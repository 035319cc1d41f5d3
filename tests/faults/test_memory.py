"""Memory that is short: nothing is taken for damaged because of it, and a pipeline that dies of it loses nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from deltalake import DeltaTable

from pipeline.arrow_stream import validated
from pipeline.decode import decode
from pipeline.lake.mending import mend
from pipeline.lake.tables import FLOWS
from pipeline.snapshots import layout
from pipeline.snapshots.layout import Content, Encoder
from tests.pipeline.batches_for_tests import batch, message
from tests.pipeline.lake.histories import flows, lake_of


def of_a_batch(_: Path) -> None:
    decode(message(batch()))


def of_a_snapshot(_: Path) -> None:
    layout.decode(b"".join(Encoder().encode(Content({}, {"flows": pl.DataFrame({"bytes": [1, 2]})}))))


def of_a_checkpoint(root: Path) -> None:
    lake_of(root, flows(10, seed=1))
    DeltaTable(root / FLOWS.name).create_checkpoint()
    mend(root / FLOWS.name / "_delta_log")


@pytest.mark.parametrize(
    ("read", "call"),
    [
        (of_a_batch, "pyarrow.ipc.read_record_batch"),
        (of_a_snapshot, "pyarrow.ipc.open_stream"),
        (of_a_checkpoint, "pyarrow.parquet.read_metadata"),
    ],
)
def test_what_there_is_no_memory_to_read_is_not_taken_for_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: Callable[[Path], None], call: str
) -> None:
    """A batch would be put aside, an older snapshot would count, a checkpoint would be given up."""

    def refuse(*_: Any) -> None:
        raise pa.ArrowMemoryError("malloc of size 64 failed")

    monkeypatch.setattr(call, refuse)
    with pytest.raises(MemoryError):
        read(tmp_path)


def test_nor_where_batches_are_put_together(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise pa.ArrowMemoryError("realloc of size 64 failed")

    monkeypatch.setattr(pa, "concat_batches", refuse)
    one = pa.record_batch({"bytes": [1]})
    with pytest.raises(MemoryError):
        validated([one, one])
