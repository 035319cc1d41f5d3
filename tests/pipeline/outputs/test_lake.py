"""The writer of the history: where rows lie, that a settle counts once whoever dies when, and who is shut out."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from deltalake import DeltaTable
from polars.testing import assert_frame_equal

from pipeline.errors import ConfigError, PermanentError, TransientError
from pipeline.lake.parts import write_parts
from pipeline.lake.store import CHECKPOINT_COMMITS, Store
from pipeline.lake.tables import COUNTERS, FLOWS, LakeTable, stored
from pipeline.outputs.history import HISTORY, filled
from pipeline.outputs.lake import Lake
from pipeline.query import scan_counters, scan_flows
from tests.pipeline.lake.histories import age, entries

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def rows(*times: datetime) -> pl.DataFrame:
    """One observation for each time, told apart by `flow_id`."""
    columns = {
        "time": pl.Series(times, dtype=HISTORY["time"]),
        "flow_id": pl.Series(range(len(times)), dtype=pl.UInt64),
    }
    blank = {
        name: pl.repeat("" if dtype == pl.String else None, len(times), dtype=dtype, eager=True)
        for name, dtype in HISTORY.items()
    }
    return filled(pl.DataFrame({**blank, **columns}, schema=HISTORY).lazy()).collect()


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    it = Lake(tmp_path)
    it.start()
    return it


def files(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*.parquet") if "_delta_log" not in str(path))


def ids(root: Path) -> list[int]:
    return sorted(scan_flows(root).collect()["flow_id"].to_list())


def counters(*times: datetime) -> pl.DataFrame:
    return pl.DataFrame({"time": pl.Series(times, dtype=HISTORY["time"])}).match_to_schema(
        COUNTERS.columns, missing_columns="insert"
    )


def app(root: Path) -> Lake:
    it = Lake(root, app="flowatlas/0")
    it.start()
    return it


def test_rows_lie_in_the_hour_of_their_time(lake: Lake, tmp_path: Path) -> None:
    lake.add(rows(NOON, NOON + timedelta(minutes=59, seconds=59), NOON + timedelta(hours=12)))
    lake.flush()
    folders = [Path(file).parent.as_posix() for file in files(tmp_path)]
    assert folders == ["flows/date=2026-03-01/hour=12", "flows/date=2026-03-02/hour=0"]


def test_what_is_flushed_reads_back_equal_whatever_the_order_of_times(lake: Lake, tmp_path: Path) -> None:
    hour = timedelta(hours=1)
    written = rows(NOON + hour, NOON + timedelta(seconds=2), NOON, NOON + 2 * hour, NOON + timedelta(seconds=1))
    lake.add(written)
    assert lake.held_rows == 5
    lake.flush()
    assert lake.held_rows == 0
    assert_frame_equal(scan_flows(tmp_path).collect().sort("time"), written.sort("time"))
    assert [
        pl.read_parquet(tmp_path / file)["time"].dt.hour().unique().to_list() for file in sorted(files(tmp_path))
    ] == [
        [12],
        [13],
        [14],
    ]


def test_files_are_bounded_in_size(tmp_path: Path) -> None:
    lake = Lake(tmp_path, max_file_rows=10)
    lake.start()
    lake.add(rows(*[NOON] * 25))
    lake.flush()
    assert sorted(pl.read_parquet(tmp_path / file).height for file in files(tmp_path)) == [5, 10, 10]
    assert scan_flows(tmp_path).collect().height == 25


def test_a_flush_without_rows_writes_nothing(lake: Lake, tmp_path: Path) -> None:
    lake.add(rows())
    lake.flush()
    assert files(tmp_path) == []


def test_no_row_is_lost_or_doubled_when_the_disk_refuses(lake: Lake, tmp_path: Path) -> None:
    """The second hour's folder cannot be made: nothing of the flush is seen, and nothing of it stays behind."""
    obstacle = tmp_path / "flows" / "date=2026-03-01" / "hour=13"
    obstacle.parent.mkdir(parents=True)
    obstacle.touch()
    written = rows(NOON, NOON + timedelta(hours=1), NOON + timedelta(hours=2))
    lake.add(written)
    with pytest.raises(TransientError, match="lake"):
        lake.flush()
    assert (lake.held_rows, files(tmp_path), ids(tmp_path)) == (3, [], [])
    obstacle.unlink()
    lake.flush()
    assert_frame_equal(scan_flows(tmp_path).collect(), written)


def test_a_failed_write_leaves_no_file(lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    lake.add(rows(NOON))
    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", refuse)
        with pytest.raises(TransientError, match="No space"):
            lake.flush()
    assert files(tmp_path) == []
    assert lake.held_rows == 1


def test_a_commit_of_which_the_answer_was_lost_is_not_written_again(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log has it, and only then an error comes."""
    real = Store.commit

    def commit_and_fail(self: Store, *arguments: Any) -> None:
        real(self, *arguments)
        raise OSError(110, "Connection timed out")

    lake.add(rows(NOON))
    with monkeypatch.context() as patched:
        patched.setattr(Store, "commit", commit_and_fail)
        lake.flush()
    lake.flush()
    assert (lake.held_rows, ids(tmp_path)) == (0, [0])


@pytest.mark.parametrize("name", [None, "flowatlas/0"], ids=["flush", "settle"])
def test_a_commit_of_which_the_answer_was_lost_and_the_table_too_for_a_while_is_not_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str | None
) -> None:
    """The log has it; what came later is written beside it, and no file goes that the log names."""
    lake = Lake(tmp_path, app=name)
    lake.start()

    def be_away(self: DeltaTable) -> None:
        raise OSError(110, "Connection timed out")

    def write(version: int) -> None:
        if name is None:
            lake.flush()
        else:
            lake.commit(version)

    lake.add(rows(NOON))
    with monkeypatch.context() as patched:
        patched.setattr(DeltaTable, "update_incremental", be_away)
        for version in (1, 2):
            with pytest.raises(TransientError, match="timed out"):
                write(version)
    assert ids(tmp_path) == [0]
    lake.add(rows(NOON + timedelta(minutes=1), NOON + timedelta(minutes=2)))
    write(3)
    assert (lake.held_rows, ids(tmp_path)) == (0, [0, 0, 1])


def test_a_table_that_cannot_be_read_for_a_while_stops_nobody_for_good(tmp_path: Path) -> None:
    lake = app(tmp_path)
    lake.add(rows(NOON))
    lake.add(counters(NOON), "counters")
    (tmp_path / "flows").rename(tmp_path / "away")
    for version in (1, 2):
        with pytest.raises(TransientError, match="flows"):
            lake.commit(version)
    (tmp_path / "away").rename(tmp_path / "flows")
    lake.commit(3)
    assert (ids(tmp_path), scan_counters(tmp_path).collect().height) == ([0], 1)


def test_a_writer_that_was_silent_while_the_log_was_cleaned_up_goes_on(tmp_path: Path) -> None:
    """Of two shares one has had nothing to write for so long that the entries it has read are gone."""
    silent, other = (Lake(tmp_path, app=f"flowatlas/{ordinal}") for ordinal in (0, 1))
    silent.start()
    other.start()
    for version in (1, 2, 3):
        other.add(rows(NOON))
        other.commit(version)
    store = Store(str(tmp_path))
    flows = store.open(FLOWS)
    assert flows is not None
    flows.create_checkpoint()
    age(tmp_path, FLOWS)
    flows.cleanup_metadata()
    assert len(entries(tmp_path, FLOWS)) == 1
    silent.add(rows(NOON))
    silent.commit(1)
    other.commit(4)
    assert (scan_flows(tmp_path).collect().height, silent.committed(), other.committed()) == (4, 1, 4)


def test_a_commit_reads_few_entries_of_the_log_however_many_there_are(tmp_path: Path) -> None:
    """Also of a table of a version that let a hundred come together: Delta reads them all at once, a thread each."""
    lake = app(tmp_path)
    DeltaTable(tmp_path / "flows").alter.set_table_properties({"delta.checkpointInterval": "100"})
    lake = app(tmp_path)
    for version in range(1, 25):
        lake.add(rows(NOON))
        lake.commit(version)
    newest = max(path.name for path in (tmp_path / "flows/_delta_log").glob("*.checkpoint.parquet"))
    assert DeltaTable(tmp_path / "flows").version() - int(newest.partition(".")[0]) <= CHECKPOINT_COMMITS


def test_a_settle_is_on_record_with_its_offsets_also_without_a_row(tmp_path: Path) -> None:
    lake = app(tmp_path)
    assert lake.committed() is None
    lake.commit(7, {"flows/0": 41})
    assert (lake.committed(), app(tmp_path).committed(), Lake(tmp_path).held_rows) == (7, 7, 0)
    (info, *_) = [c for c in DeltaTable(tmp_path / "flows").history() if "flowatlas.settle" in c]
    assert (info["flowatlas.settle"], info["flowatlas.offsets"]) == ("7", '{"flows/0": 41}')
    with pytest.raises(PermanentError, match="7"):
        lake.commit(7)


def test_who_wrote_before_for_the_same_application_is_shut_out(tmp_path: Path) -> None:
    """By the next one's start alone, of every table; another application goes on."""
    zombie, other = app(tmp_path), Lake(tmp_path, app="flowatlas/1")
    other.start()
    zombie.add(rows(NOON))
    zombie.add(counters(NOON), "counters")
    successor = app(tmp_path)
    with pytest.raises(PermanentError, match="taken over"):
        zombie.commit(1)
    assert (ids(tmp_path), scan_counters(tmp_path).collect().height) == ([], 0)
    successor.add(rows(NOON, NOON))
    other.add(rows(NOON))
    successor.commit(1)
    other.commit(1)
    with pytest.raises(PermanentError, match="taken over"):
        zombie.commit(2)
    assert ids(tmp_path) == [0, 0, 1]


def test_a_zombie_that_is_past_its_own_check_is_refused_by_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stops between its check and its commit, and its successor starts and commits meanwhile."""
    zombie = app(tmp_path)
    zombie.add(rows(NOON))
    real = Store.commit

    def wait_for_successor(self: Store, *arguments: Any) -> None:
        monkeypatch.setattr(Store, "commit", real)
        app(tmp_path).commit(1)
        real(self, *arguments)

    monkeypatch.setattr(Store, "commit", wait_for_successor)
    with pytest.raises(PermanentError, match="taken over"):
        zombie.commit(1)
    assert (ids(tmp_path), files(tmp_path)) == ([], [])


def test_what_an_unfinished_settle_left_in_other_tables_is_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after the counters and before the flows: what comes again is there once, whatever its settle's number."""
    lake = app(tmp_path)
    lake.add(rows(NOON))
    lake.add(counters(NOON), "counters")
    lake.commit(1)
    lake.add(rows(NOON))
    lake.add(counters(NOON + timedelta(minutes=1)), "counters")
    real = Store.commit

    def killed(self: Store, table: LakeTable, *arguments: Any) -> None:
        if table is FLOWS:
            raise KeyboardInterrupt
        real(self, table, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(Store, "commit", killed)
        with pytest.raises(KeyboardInterrupt):
            lake.commit(2)
    assert scan_counters(tmp_path).collect().height == 2
    successor = app(tmp_path)
    assert (successor.committed(), scan_counters(tmp_path).collect().height) == (1, 1)
    successor.add(counters(NOON + timedelta(minutes=1), NOON + timedelta(minutes=2)), "counters")
    successor.commit(2)
    assert scan_counters(tmp_path).collect().height == 3


def test_held_rows_go_out_and_come_back(tmp_path: Path) -> None:
    lake = app(tmp_path)
    lake.add(rows(NOON))
    lake.add(counters(NOON), "counters")
    successor = app(tmp_path)
    assert successor.restore(lake.state()) == 0
    successor.commit(1)
    assert (ids(tmp_path), scan_counters(tmp_path).collect().height) == ([0], 1)


def test_a_table_of_a_version_before_gets_the_columns_that_it_lacks(tmp_path: Path) -> None:
    short = replace(COUNTERS, columns=pl.Schema({n: t for n, t in COUNTERS.columns.items() if n != "scope"}))
    store = Store(str(tmp_path))
    at = store.opened(short)
    store.commit(short, at, write_parts(store, short, stored(counters(NOON), short), "part"), {})
    lake = app(tmp_path)
    lake.add(counters(NOON).with_columns(scope=pl.lit("pod")), "counters")
    lake.commit(1)
    assert scan_counters(tmp_path).collect()["scope"].to_list() == [None, "pod"]


def test_a_table_of_other_types_is_a_wrong_setting(tmp_path: Path) -> None:
    other = replace(COUNTERS, columns=pl.Schema({**COUNTERS.columns, "scope": pl.Int64()}))
    Store(str(tmp_path)).opened(other)
    with pytest.raises(ConfigError, match=r"counters\.scope"):
        Lake(tmp_path).start()


def test_other_columns_are_our_own_mistake(lake: Lake) -> None:
    with pytest.raises(ValueError, match="columns"):
        lake.add(pl.DataFrame({"time": [1]}))


def test_a_folder_that_cannot_be_made_is_a_wrong_setting(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"pipeline\.lake"):
        Lake(tmp_path / "file").start()
