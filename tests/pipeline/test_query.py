"""The read API: the same columns whatever there is, times and namespaces, and no folder opened for nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import polars as pl
import pytest

from pipeline.errors import ConfigError
from pipeline.outputs.history import HISTORY, LATER
from pipeline.outputs.lake import Lake
from pipeline.query import scan_flows

START = datetime(2026, 3, 1, 22, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    """Four observations, an hour apart over midnight, each of another namespace's doing."""
    writer = Lake(tmp_path)
    writer.start()
    texts = {
        "source_namespace": ["shop", "bank", "bank", "bank"],
        "destination_namespace": ["bank", "shop", "bank", "bank"],
        "service_namespace": ["", "", "shop", ""],
    }
    blank = {
        name: pl.repeat("" if dtype == pl.String else None, 4, dtype=dtype, eager=True)
        for name, dtype in HISTORY.items()
    }
    columns = {
        "time": pl.Series([START + i * HOUR for i in range(4)], dtype=HISTORY["time"]),
        "flow_id": pl.Series(range(4), dtype=pl.UInt64),
    }
    writer.add(pl.DataFrame({**blank, **columns, **texts}, schema=HISTORY))
    writer.flush()
    return tmp_path


def ids(flows: pl.LazyFrame) -> list[int]:
    return flows.select("flow_id").collect()["flow_id"].sort().to_list()


def test_an_empty_lake_has_every_column(tmp_path: Path) -> None:
    assert scan_flows(tmp_path).collect_schema() == HISTORY
    assert scan_flows(tmp_path, namespace="shop").collect().height == 0


def test_a_file_that_lacks_columns_has_what_the_history_promises(lake: Path) -> None:
    """Of text, lists and numbers; and one folder may hold files of several versions."""
    (path, *_) = sorted(lake.rglob("part-*.parquet"))
    whole = pl.read_parquet(path)
    whole.drop(LATER).write_parquet(path.with_name("part-0-first.parquet"))
    whole.drop("source_asn").with_columns(dns_name=pl.lit("site.example")).write_parquet(path)
    old, new = scan_flows(lake).filter(pl.col("flow_id") == whole["flow_id"][0]).sort("dns_name").collect().to_dicts()
    promised = {pl.String: "", pl.List: [], pl.UInt32: 0}
    assert {name: old[name] for name in LATER} == {name: promised[HISTORY[name].base_type()] for name in LATER}
    assert (new["dns_name"], new["source_asn"]) == ("site.example", 0)
    assert scan_flows(lake).collect_schema() == HISTORY


def test_a_lake_that_does_not_exist_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="lake"):
        scan_flows(tmp_path / "nowhere")


def test_since_is_included_and_until_is_not(lake: Path) -> None:
    assert ids(scan_flows(lake)) == [0, 1, 2, 3]
    assert ids(scan_flows(lake, since=START + HOUR)) == [1, 2, 3]
    assert ids(scan_flows(lake, until=START + HOUR)) == [0]
    assert ids(scan_flows(lake, since=START + HOUR, until=START + 3 * HOUR)) == [1, 2]
    assert ids(scan_flows(lake, since=START + 9 * HOUR)) == []


def test_times_may_be_in_any_zone_and_are_utc_without_one(lake: Path) -> None:
    east = timezone(timedelta(hours=9))
    assert ids(scan_flows(lake, until=(START + HOUR).astimezone(east))) == [0]
    assert ids(scan_flows(lake, until=(START + HOUR).replace(tzinfo=None))) == [0]


def test_a_namespace_is_looked_for_on_both_sides_and_in_the_service(lake: Path) -> None:
    assert ids(scan_flows(lake, namespace="shop")) == [0, 1, 2]


def test_folders_of_other_hours_are_not_opened(lake: Path) -> None:
    """A broken file in another hour does no harm."""
    broken = lake / "flows" / "date=2026-03-01" / "hour=22" / "part-0-broken.parquet"
    broken.write_bytes(b"not parquet")
    assert ids(scan_flows(lake, since=START.replace(minute=0) + HOUR)) == [1, 2, 3]


def test_unfinished_and_foreign_files_are_passed_over(lake: Path) -> None:
    hour = lake / "flows" / "date=2026-03-01" / "hour=22"
    (hour / ".part-1.parquet.tmp").write_bytes(b"half")
    (lake / "flows" / "date=2026-03-01" / "hour=late").mkdir()
    (lake / "flows" / "README").write_text("mine")
    assert ids(scan_flows(lake)) == [0, 1, 2, 3]


def test_files_of_an_older_and_a_newer_version_read_too(lake: Path) -> None:
    """A column that a file lacks is null, and one that only a file has is left out."""
    hour = lake / "flows" / "date=2026-03-01" / "hour=22"
    row = scan_flows(lake).head(1).collect().with_columns(flow_id=pl.lit(9, pl.UInt64), added=pl.lit(1)).drop("via")
    row.write_parquet(hour / "part-9.parquet")
    found = scan_flows(lake).filter(pl.col("flow_id") == 9).collect()
    assert found.schema == HISTORY
    assert found["via"].to_list() == [None]
