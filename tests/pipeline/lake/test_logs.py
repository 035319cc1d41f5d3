"""The logs of the tables are kept short, and nothing is lost of what they tell alone."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from deltalake import Field
from deltalake.schema import PrimitiveType

from pipeline.lake.folding import fold
from pipeline.lake.maintenance import maintain
from pipeline.lake.store import LOG_HOURS, Store, log_name, now_ms
from pipeline.lake.tables import FLOWS
from pipeline.outputs.lake import Lake
from pipeline.query import scan_flows, scan_rollup
from tests.pipeline.lake.care import LATER, opened, oracle, sums
from tests.pipeline.lake.histories import age, entries, flows, lake_of


def test_a_log_keeps_entries_for_hours_also_of_a_table_that_was_made_to_keep_them_for_weeks(tmp_path: Path) -> None:
    """In a folder every commit lists them all: after a month they would take seconds."""
    store = lake_of(tmp_path, flows(10))
    opened(store).alter.set_table_properties({"delta.logRetentionDuration": "interval 30 days"})
    lake_of(tmp_path, *(flows(10, seed=seed) for seed in range(2, 8)), app="flowatlas/0")
    maintain(store, LATER)
    age(tmp_path, FLOWS, LOG_HOURS + 1)
    maintain(store, LATER)
    assert len(entries(tmp_path, FLOWS)) == 1
    assert scan_flows(tmp_path).collect().height == 70


def test_a_log_that_nobody_writes_to_keeps_the_places_on_the_bus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are all that a pipeline has that lost its snapshots, however long it was away."""
    lake = Lake(tmp_path, app="flowatlas/0")
    lake.start()
    lake.add(flows(10))
    lake.commit(1, {"flows": {"0": 42}})
    store = Store(str(tmp_path))
    maintain(store, LATER)
    monkeypatch.setattr("pipeline.lake.maintenance.now_ms", lambda: now_ms() + (LOG_HOURS * 3600 + 1) * 1000)
    age(tmp_path, FLOWS)
    maintain(store, LATER)
    again = Lake(tmp_path, app="flowatlas/0")
    again.start()
    assert again.places() == {"flows": {"0": 42}}


def test_commits_of_others_and_new_columns_leave_entries_that_are_still_to_be_folded(tmp_path: Path) -> None:
    """Delta's own clean-up goes with any commit, and the care of a lake may be once a day."""
    parts = [flows(10, seed=seed) for seed in range(1, 15)]
    store = lake_of(tmp_path, *parts[:2], app="flowatlas/0")
    fold(store)
    lake_of(tmp_path, *parts[2:], app="flowatlas/0")
    age(tmp_path, FLOWS)
    opened(store).alter.add_columns([Field("later", PrimitiveType("string"))])
    opened(store).delete("flow_id < 0")
    maintain(store, LATER)
    assert sums(scan_rollup(tmp_path, "1h")) == oracle(pl.concat(parts))


def test_a_log_that_others_have_cleaned_up_keeps_no_table_from_its_care(tmp_path: Path) -> None:
    """Other engines do so by themselves: of a history to which nobody writes, nothing tells any more who did."""
    store = lake_of(tmp_path, flows(10), app="flowatlas/0")
    maintain(store, LATER)
    age(tmp_path, FLOWS)
    opened(store).create_checkpoint()
    opened(store).cleanup_metadata()
    assert len(entries(tmp_path, FLOWS)) == 1
    care = maintain(store, LATER + timedelta(days=1_000))
    assert (care.forgotten_files["flows"], care.forgotten_files["flows_1h"]) == (1, 1)


def test_flows_of_which_the_log_tells_no_more_are_told_and_keep_no_others_from_the_rollups(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    parts = [flows(10, seed=seed) for seed in (1, 2, 3)]
    store = lake_of(tmp_path, parts[0], app="flowatlas/0")
    fold(store)
    lake_of(tmp_path, *parts[1:], app="flowatlas/0")
    at = opened(store)
    at.create_checkpoint()
    (tmp_path / "flows" / "_delta_log" / log_name(at.version() - 1)).unlink()
    maintain(store, LATER)
    assert "entries of the log that went before they were folded, so that roll-ups lack them: 1" in caplog.text
    assert sums(scan_rollup(tmp_path, "1h")) == oracle(pl.concat([parts[0], parts[2]]))
