"""The care of the tables: what is derived is derived once, rows are moved and not changed, readers find their files."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from deltalake.exceptions import CommitFailedError
from polars.testing import assert_frame_equal

from pipeline.errors import TransientError
from pipeline.lake.folding import fold
from pipeline.lake.maintenance import LOOSE_FILES, compact, maintain
from pipeline.lake.parts import files_of, removal
from pipeline.lake.store import Store, now_ms
from pipeline.lake.tables import COUNTERS, FLOWS, FLOWS_1M, SUMS
from pipeline.outputs.lake import Lake
from pipeline.query import scan_counters, scan_flows, scan_policy_events, scan_rollup
from tests.pipeline.lake.care import LATER, opened, oracle, sums
from tests.pipeline.lake.histories import NOON, counters, flows, lake_of


def paths(store: Store, table: Any = FLOWS) -> list[str]:
    at = store.open(table)
    assert at is not None
    return sorted(files_of(at)["path"].to_list())


def test_rollups_add_up_to_the_flows_however_often_they_are_made(tmp_path: Path) -> None:
    first, second, third = (flows(300, seed=seed) for seed in (1, 2, 3))
    store = lake_of(tmp_path, first, second)
    assert fold(store) == 2
    assert fold(store) == 0
    lake_of(tmp_path, third)
    maintain(store, LATER)
    maintain(store, LATER + timedelta(days=1))
    for every in ("1m", "1h"):
        assert sums(scan_rollup(tmp_path, every)) == oracle(pl.concat([first, second, third]))
    minutes = scan_rollup(tmp_path, "1m").collect()
    assert minutes["time"].n_unique() == 30
    assert minutes.select(pl.exclude(SUMS)).is_duplicated().sum() == 0
    assert scan_rollup(tmp_path, "1h").collect()["time"].unique().to_list() == [NOON]


def test_sums_of_an_hour_are_added_up_also_where_they_have_many_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many each time as are sorted at once, or nearly: else a large cluster would keep each hour twelve times."""
    parts = [flows(300, seed=seed) for seed in range(1, 7)]
    for part in parts:
        store = lake_of(tmp_path, part)
        fold(store)
    keys = scan_rollup(tmp_path, "1h").collect().select(pl.exclude(SUMS)).n_unique()
    monkeypatch.setattr("pipeline.lake.maintenance.RUN_ROWS", 150)
    maintain(store, NOON + timedelta(days=2))
    assert (scan_rollup(tmp_path, "1h").collect().height, sums(scan_rollup(tmp_path, "1h"))) == (
        keys,
        oracle(pl.concat(parts)),
    )
    minutes = [file["max.time"] - file["min.time"] for file in files_of(opened(store, FLOWS_1M)).to_dicts()]
    assert (len(minutes) > 5, max(minutes) <= timedelta(minutes=10)) == (True, True)


def test_policy_events_are_the_denied_flows_once(tmp_path: Path) -> None:
    rows = flows(200)
    store = lake_of(tmp_path, rows)
    maintain(store, LATER)
    maintain(store, LATER + timedelta(days=1))
    is_denied = (pl.col("verdict") == "denied") & (pl.col("role") == "canonical")
    events = scan_policy_events(tmp_path, namespace="team-0").collect()
    is_there = (pl.col("source_namespace") == "team-0") | (pl.col("destination_namespace") == "team-0")
    expected = rows.filter(is_denied & is_there)
    assert 0 < expected.height < 40
    assert sorted(events["flow_id"]) == sorted(expected["flow_id"])


def test_compaction_moves_rows_and_changes_none(tmp_path: Path) -> None:
    parts = [flows(100, NOON + timedelta(minutes=seed), seed) for seed in range(1, 6)]
    store = lake_of(tmp_path, *parts, app="flowatlas/0")
    maintain(store, LATER)
    (path,) = paths(store)
    assert path.startswith("date=2026-03-01/hour=12/sorted-")
    assert_frame_equal(scan_flows(tmp_path).collect().sort("flow_id"), pl.concat(parts).sort("flow_id"))
    file = pl.read_parquet(tmp_path / "flows" / path, hive_partitioning=False)
    assert file.equals(file.sort(FLOWS.order, maintain_order=True))
    maintain(store, LATER)
    assert paths(store) == [path]


def test_an_hour_that_goes_on_is_merged_when_its_files_are_many(tmp_path: Path) -> None:
    parts = [flows(5, seed=seed) for seed in range(LOOSE_FILES)]
    store = lake_of(tmp_path, *parts[:-1])
    maintain(store, NOON + timedelta(minutes=40))
    assert len(paths(store)) == LOOSE_FILES - 1
    lake_of(tmp_path, parts[-1])
    maintain(store, NOON + timedelta(minutes=40))
    assert len(paths(store)) == 1


def test_rows_of_an_unfinished_settle_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are taken back by the next start, which must find them as they were written."""
    lake = Lake(tmp_path, app="flowatlas/0")
    lake.start()
    lake.add(counters(NOON), "counters")
    lake.commit(1)
    real = Store.commit

    def killed(self: Store, table: Any, *arguments: Any) -> None:
        if table is FLOWS:
            raise KeyboardInterrupt
        real(self, table, *arguments)

    lake.add(counters(NOON), "counters")
    with monkeypatch.context() as patched:
        patched.setattr(Store, "commit", killed)
        with pytest.raises(KeyboardInterrupt):
            lake.commit(2)
    store = Store(str(tmp_path))
    maintain(store, LATER)
    assert len(paths(store, COUNTERS)) == 2
    Lake(tmp_path, app="flowatlas/0").start()
    assert scan_counters(tmp_path).collect().height == 1


def test_what_is_old_is_forgotten_by_table(tmp_path: Path) -> None:
    old, new = flows(50), flows(50, NOON + timedelta(days=3), seed=2)
    store = lake_of(tmp_path, old, new)
    former = tmp_path / "flows_former" / "date=2026-03-01" / "hour=12"
    former.mkdir(parents=True)
    care = maintain(store, NOON + timedelta(days=4), keep_days={"flows": 2})
    assert sorted(scan_flows(tmp_path).collect()["flow_id"]) == sorted(new["flow_id"])
    assert (care.forgotten_files["flows"], former.exists()) == (1, False)
    days = tmp_path / "flows" / "date=2026-03-01", tmp_path / "flows" / "date=2026-03-04"
    assert all(day.exists() for day in days)  # readers may still want the files
    maintain(store, NOON + timedelta(days=4), keep_days={"flows": 2}, readers_hours=0)
    assert [day.exists() for day in days] == [False, True]
    assert sums(scan_rollup(tmp_path, "1h")) == oracle(pl.concat([old, new]))


def test_rows_of_a_time_to_come_are_forgotten_as_long_after_they_were_written(tmp_path: Path) -> None:
    """A node's clock may be ahead by years: what it tells is kept no longer for that."""
    now = datetime.now(UTC)
    ahead, sound = flows(20, now + timedelta(days=9_000)), flows(20, now - timedelta(days=1), seed=2)
    store = lake_of(tmp_path, ahead, sound)
    maintain(store, now + timedelta(days=12))
    assert scan_flows(tmp_path).collect().height == 40
    maintain(store, now + timedelta(days=15))
    assert scan_flows(tmp_path).collect().is_empty()
    assert sums(scan_rollup(tmp_path, "1h")) == oracle(pl.concat([ahead, sound]))


def test_readers_find_their_files_until_their_time_is_over(tmp_path: Path) -> None:
    """A frame that was asked for before compaction and vacuum is read after them; later its files are deleted."""
    parts = [flows(100, seed=seed) for seed in range(1, 4)]
    store = lake_of(tmp_path, *parts)
    before = scan_flows(tmp_path)
    maintain(store, LATER)
    assert before.collect().height == scan_flows(tmp_path).collect().height == 300
    orphan = tmp_path / "flows" / "date=2026-03-01" / "hour=12" / "part-being-written.parquet"
    orphan.write_bytes(b"half")
    maintain(store, LATER)
    assert orphan.exists()
    long_ago = LATER.timestamp() - 10 * 86_400
    os.utime(orphan, (long_ago, long_ago))
    maintain(store, LATER)
    assert not orphan.exists()
    maintain(store, LATER, readers_hours=0)
    on_disk = [file for file in (tmp_path / "flows").rglob("*.parquet") if "_delta_log" not in str(file)]
    assert len(on_disk) == len(paths(store)) == 1
    assert scan_flows(tmp_path).collect().height == 300


def test_files_stay_for_readers_of_weeks_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one that was taken out eight days ago, and written long before, the log still knows when that was."""
    store = lake_of(tmp_path, flows(50), flows(50, seed=2))
    old = min((tmp_path / "flows").glob("date=*/hour=*/*.parquet"))
    os.utime(old, (0, 0))
    maintain(store, NOON, readers_hours=720)
    at = opened(store)
    (file,) = (file for file in files_of(at).to_dicts() if file["path"].endswith(old.name))
    monkeypatch.setattr("pipeline.lake.parts.now_ms", lambda: now_ms() - 8 * 86_400_000)
    store.commit(FLOWS, at, [removal(file, FLOWS, is_change=True)], {})
    at.create_checkpoint()
    maintain(store, NOON, readers_hours=720)
    assert old.exists()
    maintain(store, NOON, readers_hours=24)
    assert not old.exists()


def test_of_two_that_merge_the_same_files_one_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = lake_of(tmp_path, *(flows(50, seed=seed) for seed in range(1, 4)))
    rival = opened(store)
    maintain(store, LATER)
    with pytest.raises(Exception, match="Concurrent"):
        compact(store, FLOWS, rival, LATER, rival, [])
    assert scan_flows(tmp_path).collect().height == 150
    (only,) = paths(store)
    on_disk = (tmp_path / "flows").rglob("sorted-*.parquet")
    assert [str(file.relative_to(tmp_path / "flows")) for file in on_disk] == [only]


def test_of_two_that_fold_the_same_flows_one_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = flows(100)
    store = lake_of(tmp_path, rows)
    real = Store.commit

    def after_rival(self: Store, *arguments: Any) -> None:
        monkeypatch.setattr(Store, "commit", real)
        assert fold(store) == 1
        real(self, *arguments)

    monkeypatch.setattr(Store, "commit", after_rival)
    with pytest.raises(TransientError, match="fold"):
        fold(store)
    assert sums(scan_rollup(tmp_path)) == oracle(rows)


def test_a_lake_goes_on_writing_while_it_is_cared_for(tmp_path: Path) -> None:
    """Neither refuses the other, and no row is lost: the lake's own view is older than what care committed."""
    lake = Lake(tmp_path, app="flowatlas/0")
    lake.start()
    store = Store(str(tmp_path))
    for version in range(1, 8):
        lake.add(flows(20, seed=version))
        lake.commit(version)
        maintain(store, LATER)
    assert sorted(scan_flows(tmp_path).collect()["flow_id"]) == sorted(
        pl.concat(flows(20, seed=version) for version in range(1, 8))["flow_id"]
    )
    assert sums(scan_rollup(tmp_path)) == oracle(pl.concat(flows(20, seed=version) for version in range(1, 8)))


@pytest.mark.parametrize("is_forgotten", [False, True])
def test_a_writer_is_not_refused_for_what_is_taken_out_meanwhile(tmp_path: Path, *, is_forgotten: bool) -> None:
    """After the first weeks that is so each hour, and every time all was written twice, with a warning."""
    lake = Lake(tmp_path, app="flowatlas/0")
    lake.start()
    for number in (1, 2, 3):
        begin = NOON + timedelta(days=number)
        lake.add(flows(20, begin, seed=number))
        lake.add(counters(begin), "counters")
        lake.commit(number)
        store = Store(str(tmp_path))
        if is_forgotten:
            maintain(store, begin + timedelta(hours=2), keep_days={"flows": 1, "counters": 1})
        else:
            opened(store).delete(f"flow_id = {number}000000")
    assert scan_flows(tmp_path).collect().height == (20 if is_forgotten else 57)


def test_what_is_merged_of_rows_that_others_have_deleted_meanwhile_is_refused(tmp_path: Path) -> None:
    store = lake_of(tmp_path, flows(20), flows(20, seed=2), app="flowatlas/0")
    before = opened(store)
    opened(store).delete("flow_id = 1000000")
    with pytest.raises(CommitFailedError):
        compact(store, FLOWS, before, LATER, before, [])
    assert scan_flows(tmp_path).collect().height == 39


def test_a_file_that_cannot_be_read_keeps_no_other_from_its_care(tmp_path: Path) -> None:
    """Neither those of other hours nor those of other tables."""
    lake = Lake(tmp_path)
    lake.start()
    for hour in range(3):
        lake.add(flows(20, NOON + timedelta(hours=hour), hour + 1))
        lake.add(counters(NOON + timedelta(hours=hour)), "counters")
        lake.flush()
    store = Store(str(tmp_path))
    fold(store)
    (tmp_path / "counters" / paths(store, COUNTERS)[0]).unlink()
    (tmp_path / "flows" / paths(store)[1]).write_bytes(b"half of it")
    care = maintain(store, NOON + timedelta(days=1))
    assert [problem.partition(" ")[0] for problem in care.unreadable] == ["counters:", "flows:"]
    assert all("/part-" in problem for problem in care.unreadable)
    for table in (FLOWS, COUNTERS):
        assert sum("sorted-" in path for path in paths(store, table)) == 2


def full(*_: Any) -> None:
    raise OSError(28, "No space left on device")


def on_disk(root: Path) -> list[str]:
    folder = root / "flows"
    return sorted(str(file.relative_to(folder)) for file in folder.glob("date=*/hour=*/*.parquet"))


def test_where_there_is_no_room_to_fold_what_is_old_goes_nevertheless(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a disk that is full would stay so. Flows stay until they are folded."""
    first, second = (flows(100, seed=seed) for seed in (1, 2))
    store = lake_of(tmp_path, first)
    lake = Lake(tmp_path)
    lake.start()
    lake.add(counters(NOON), "counters")
    lake.flush()
    maintain(store, LATER)
    lake_of(tmp_path, second)
    assert len(on_disk(tmp_path)) == 1 + len(paths(store)) == 3
    long_after = NOON + timedelta(days=20)
    with monkeypatch.context() as patched:
        patched.setattr("pipeline.lake.folding.write_parts", full)
        with pytest.raises(TransientError, match="No space"):
            maintain(store, long_after, readers_hours=0)
    assert on_disk(tmp_path) == paths(store)
    assert (scan_flows(tmp_path).collect().height, scan_counters(tmp_path).collect().height) == (200, 0)
    maintain(store, long_after)
    assert scan_flows(tmp_path).collect().height == 0
    for every in ("1m", "1h"):
        assert sums(scan_rollup(tmp_path, every)) == oracle(pl.concat([first, second]))


def test_files_that_are_still_to_be_folded_outlive_a_round_that_makes_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They were written after the fold of a round, and merged with others in the same."""
    first, second = (flows(100, seed=seed) for seed in (1, 2))
    store = lake_of(tmp_path, first)

    def and_one_more(store: Store) -> int:
        folded = fold(store)
        lake_of(tmp_path, second)
        return folded

    with monkeypatch.context() as patched:
        patched.setattr("pipeline.lake.maintenance.fold", and_one_more)
        maintain(store, LATER)
    assert len(paths(store)) == 1
    with monkeypatch.context() as patched:
        patched.setattr("pipeline.lake.folding.write_parts", full)
        with pytest.raises(TransientError, match="No space"):
            maintain(store, LATER, readers_hours=0)
    maintain(store, LATER)
    assert sums(scan_rollup(tmp_path)) == oracle(pl.concat([first, second]))
