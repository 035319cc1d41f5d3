"""Copies of a history that goes on meanwhile, as docs/how-to/backup-and-restore.md says to make them."""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from pipeline.lake.maintenance import maintain
from pipeline.lake.store import Store
from pipeline.lake.summary import summary_of
from pipeline.outputs.lake import Lake
from pipeline.query import scan_flows, scan_rollup
from tests.pipeline.lake.histories import NOON, flows, lake_of

LATER = NOON + timedelta(hours=2)


def copy(root: Path, to: Path, *without: str) -> None:
    shutil.copytree(root, to, ignore=shutil.ignore_patterns(*without), dirs_exist_ok=True)


def test_a_copy_whose_logs_were_taken_first_is_whole_and_goes_on(tmp_path: Path) -> None:
    """Flows are written, folded and merged between the two runs, and files of before are out of their table by then."""
    root, backup = tmp_path / "lake", tmp_path / "backup"
    store = lake_of(root, flows(100), flows(100, seed=2), app="flowatlas/0")
    maintain(store, NOON)
    copy(root, backup, "date=*")
    lake_of(root, flows(100, seed=3), app="flowatlas/0")
    maintain(store, LATER)
    copy(root, backup, "_delta_log")
    copied = Store(str(backup))
    assert summary_of(copied)["missing_files"].sum() == 0
    assert scan_flows(backup).collect().height == 200
    lake = Lake(backup, app="flowatlas/0")
    lake.start()
    assert lake.committed() == 2
    lake.add(flows(100, seed=4))
    lake.commit(3)
    maintain(copied, LATER)
    canonical = scan_flows(backup).filter(role="canonical").collect()
    assert scan_flows(backup).collect().height == 300
    for every in ("1m", "1h"):
        assert scan_rollup(backup, every).collect()["observations"].sum() == canonical.height


def test_files_that_a_copy_lacks_keep_no_others_from_being_folded(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """They came while it was made: its logs name them, and the roll-ups have none of them yet."""
    parts = [flows(100, seed=seed) for seed in (1, 2, 3)]
    store = lake_of(tmp_path, *parts)
    (lost,) = (file for file in tmp_path.glob("flows/*/*/*.parquet") if 2_000_000 in pl.read_parquet(file)["flow_id"])
    lost.unlink()
    maintain(store, NOON)
    assert "went before they were folded: 1" in caplog.text
    lake_of(tmp_path, flows(100, seed=4))
    care = maintain(store, NOON)
    assert care.folded_files == 1
    kept = pl.concat([parts[0], parts[2], flows(100, seed=4)]).filter(role="canonical")
    for every in ("1m", "1h"):
        assert scan_rollup(tmp_path, every).collect()["bytes"].sum() == kept["bytes"].sum()
