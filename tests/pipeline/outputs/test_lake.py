"""The Parquet history: where rows lie, that files are whole, and that no row is lost when the disk refuses."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from pipeline.errors import ConfigError, TransientError
from pipeline.outputs.history import HISTORY, filled
from pipeline.outputs.lake import Lake
from pipeline.query import scan_flows

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
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def test_rows_lie_in_the_hour_of_their_time(lake: Lake, tmp_path: Path) -> None:
    lake.add(rows(NOON, NOON + timedelta(minutes=59, seconds=59), NOON + timedelta(hours=12)))
    lake.flush()
    folders = [Path(file).parent.as_posix() for file in files(tmp_path)]
    assert folders == ["flows/date=2026-03-01/hour=12", "flows/date=2026-03-02/hour=00"]


def test_what_is_flushed_reads_back_equal_and_in_order_of_time(lake: Lake, tmp_path: Path) -> None:
    written = rows(NOON + timedelta(seconds=2), NOON, NOON + timedelta(seconds=1))
    lake.add(written)
    assert lake.held_rows == 3
    lake.flush()
    assert lake.held_rows == 0
    assert_frame_equal(scan_flows(tmp_path).collect(), written.sort("time"))


def test_files_are_bounded_in_size(tmp_path: Path) -> None:
    lake = Lake(tmp_path, max_file_rows=10)
    lake.start()
    lake.add(rows(*[NOON] * 25))
    lake.flush()
    assert [pl.read_parquet(tmp_path / file).height for file in files(tmp_path)].count(10) == 2
    assert scan_flows(tmp_path).collect().height == 25


def test_a_flush_without_rows_writes_nothing(lake: Lake, tmp_path: Path) -> None:
    lake.add(rows())
    lake.flush()
    assert files(tmp_path) == []


def test_no_row_is_lost_or_doubled_when_the_disk_refuses(lake: Lake, tmp_path: Path) -> None:
    """The second hour's folder cannot be made; the first hour is written, the second held and written later."""
    obstacle = tmp_path / "flows" / "date=2026-03-01" / "hour=13"
    obstacle.parent.mkdir(parents=True)
    obstacle.touch()
    written = rows(NOON, NOON + timedelta(hours=1), NOON + timedelta(hours=2))
    lake.add(written)
    with pytest.raises(TransientError, match="lake"):
        lake.flush()
    assert lake.held_rows == 2
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


def test_other_columns_are_our_own_mistake(lake: Lake) -> None:
    with pytest.raises(ValueError, match="columns"):
        lake.add(pl.DataFrame({"time": [1]}))


def test_a_folder_that_cannot_be_made_is_a_wrong_setting(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"pipeline\.lake"):
        Lake(tmp_path / "file").start()
