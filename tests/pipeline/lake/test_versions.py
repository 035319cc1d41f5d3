"""Tables that a later version has written to: what it has added stays, whoever cares for them meanwhile."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import polars as pl
from deltalake import Field
from deltalake.schema import PrimitiveType

from pipeline.lake.maintenance import maintain
from pipeline.lake.parts import write_parts
from pipeline.lake.tables import FLOWS, stored
from pipeline.query import scan_flows
from tests.pipeline.lake.histories import NOON, flows, lake_of

LATER = NOON + timedelta(hours=2)


def test_columns_of_a_later_version_outlive_the_care_of_this_one(tmp_path: Path) -> None:
    """It was rolled back, and packs the last hours of the later one, with its own rows of the same hours."""
    store = lake_of(tmp_path, flows(20))
    at = store.open(FLOWS)
    assert at is not None
    at.alter.add_columns([Field("later_text", PrimitiveType("string")), Field("later_count", PrimitiveType("long"))])
    at.update_incremental()
    rows = stored(flows(30, seed=2), FLOWS).with_columns(later_text=pl.lit("kept"), later_count=pl.lit(7, pl.Int64))
    store.commit(FLOWS, at, write_parts(store, FLOWS, rows, "part"), {})
    lake_of(tmp_path, flows(20, seed=3))
    assert maintain(store, LATER).merged_files["flows"] == 3
    whole = pl.scan_delta(str(tmp_path / "flows"))
    added = whole.select("later_text", "later_count").drop_nulls().collect()
    assert (added.height, *added.unique().row(0)) == (30, "kept", 7)
    assert scan_flows(tmp_path).collect().height == 70
