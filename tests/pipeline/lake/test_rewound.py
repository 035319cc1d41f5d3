"""Tables that were deleted, or put back from an older copy: the others stay as they are, and go on together."""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from pipeline.lake.maintenance import maintain
from pipeline.lake.tables import FLOWS_1M, POLICY_EVENTS, LakeTable
from pipeline.outputs.lake import Lake
from pipeline.query import scan_counters, scan_flows, scan_policy_events, scan_rollup
from tests.pipeline.lake.histories import NOON, counters, flows, lake_of

LATER = NOON + timedelta(hours=2)
APPS = ("flowatlas/0", "flowatlas/1")


def lakes(root: Path, *parts: pl.DataFrame) -> None:
    """What two shares write, whose pipelines are started anew each time."""
    for part in parts:
        for name in APPS:
            lake = Lake(root, app=name)
            lake.start()
            lake.add(part)
            lake.add(counters(NOON), "counters")
            lake.commit((lake.committed() or 0) + 1)


def parts(first: int, count: int) -> list[pl.DataFrame]:
    return [flows(40, seed=seed) for seed in range(first, first + count)]


def canonical(rows: pl.LazyFrame | pl.DataFrame) -> int:
    """Bytes that roll-ups have too."""
    return int(rows.lazy().filter(role="canonical").select(pl.sum("bytes")).collect().item())


def rolled_up(root: Path) -> list[int]:
    return [int(scan_rollup(root, every).select(pl.sum("bytes")).collect().item()) for every in ("1m", "1h")]


@pytest.mark.parametrize("is_cared_for", [False, True])
def test_where_the_flows_were_deleted_the_other_tables_stay_and_new_flows_are_folded(
    tmp_path: Path, *, is_cared_for: bool
) -> None:
    """Also those that nobody has folded or sorted yet, and of every share."""
    before, after = parts(1, 3), parts(11, 2)
    lakes(tmp_path, *before)
    if is_cared_for:
        maintain(lake_of(tmp_path), LATER)
    shutil.rmtree(tmp_path / "flows")
    lakes(tmp_path, *after)
    assert scan_counters(tmp_path).collect().height == 2 * 5
    assert scan_flows(tmp_path).collect().height == 2 * 80
    maintain(lake_of(tmp_path), LATER)
    assert rolled_up(tmp_path) == [2 * canonical(pl.concat([*(before if is_cared_for else []), *after]))] * 2
    assert scan_counters(tmp_path).collect().height == 2 * 5


def test_where_an_older_copy_of_the_flows_was_put_back_what_comes_is_folded_once(tmp_path: Path) -> None:
    first, lost, later = parts(1, 2), parts(11, 3), parts(21, 4)
    lakes(tmp_path, *first)
    store = lake_of(tmp_path)
    shutil.copytree(tmp_path / "flows", tmp_path / "copy")
    lakes(tmp_path, *lost)
    maintain(store, LATER)
    shutil.rmtree(tmp_path / "flows")
    (tmp_path / "copy").rename(tmp_path / "flows")
    lakes(tmp_path, *later)
    maintain(store, LATER)
    assert canonical(scan_flows(tmp_path)) == 2 * canonical(pl.concat([*first, *later]))
    assert rolled_up(tmp_path) == [2 * canonical(pl.concat([*first, *lost, *later]))] * 2


@pytest.mark.parametrize("table", [FLOWS_1M, POLICY_EVENTS], ids=lambda table: table.name)
def test_a_derived_table_that_was_deleted_is_made_of_the_flows_that_there_are(tmp_path: Path, table: LakeTable) -> None:
    lakes(tmp_path, *parts(1, 3))
    store = lake_of(tmp_path)
    maintain(store, LATER)
    events = scan_policy_events(tmp_path).collect().height
    shutil.rmtree(tmp_path / table.name)
    lakes(tmp_path, *parts(11, 1))
    maintain(store, LATER)
    assert rolled_up(tmp_path) == [canonical(scan_flows(tmp_path))] * 2
    assert scan_policy_events(tmp_path).collect().height > events > 0


def test_counters_that_were_deleted_begin_anew(tmp_path: Path) -> None:
    lakes(tmp_path, *parts(1, 2))
    shutil.rmtree(tmp_path / "counters")
    lakes(tmp_path, *parts(11, 1))
    assert scan_counters(tmp_path).collect().height == 2
    assert scan_flows(tmp_path).collect().height == 2 * 120
