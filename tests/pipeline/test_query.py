"""The read API: the same columns whatever there is, times and namespaces, and no folder opened for nothing."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import polars as pl
import pytest

from pipeline.errors import ConfigError
from pipeline.outputs.history import HISTORY, LATER
from pipeline.outputs.lake import Lake
from pipeline.query import first_flows, last_flows, newest_time, scan_dns, scan_flows, scan_rollup
from tests.pipeline.lake.histories import NOON, flows, lake_of

START = datetime(2026, 3, 1, 22, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)


def observations() -> pl.DataFrame:
    """Four, an hour apart over midnight, each of another namespace's doing."""
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
    return pl.DataFrame({**blank, **columns, **texts}, schema=HISTORY)


@pytest.fixture(params=["delta", "parquet"])
def lake(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The observations as this version writes them, and as those before Delta did."""
    return former(tmp_path) if request.param == "parquet" else written(tmp_path)


def written(root: Path) -> Path:
    writer = Lake(root)
    writer.start()
    writer.add(observations())
    writer.flush()
    return root


def former(root: Path, folder: str = "flows") -> Path:
    """Parquet as versions before Delta left it."""
    for number, row in enumerate(observations().iter_slices(1)):
        hour = root / folder / row["time"].dt.strftime("date=%Y-%m-%d/hour=%H").item()
        hour.mkdir(parents=True)
        row.write_parquet(hour / f"part-{number}.parquet")
    return root


@pytest.fixture
def old_lake(tmp_path: Path) -> Path:
    return former(tmp_path)


def ids(flows: pl.LazyFrame) -> list[int]:
    return flows.select("flow_id").collect()["flow_id"].sort().to_list()


def test_an_empty_lake_has_every_column(tmp_path: Path) -> None:
    Lake(tmp_path).start()
    assert scan_flows(tmp_path).collect_schema() == HISTORY
    assert scan_flows(tmp_path, namespace="shop").collect().height == 0


def test_a_file_that_lacks_columns_has_what_the_history_promises(old_lake: Path) -> None:
    """Of text, lists and numbers; and one folder may hold files of several versions."""
    (path, *_) = sorted(old_lake.rglob("part-*.parquet"))
    whole = pl.read_parquet(path)
    whole.drop(LATER).write_parquet(path.with_name("part-0-first.parquet"))
    whole.drop("source_asn").with_columns(dns_name=pl.lit("site.example")).write_parquet(path)
    old, new = (
        scan_flows(old_lake).filter(pl.col("flow_id") == whole["flow_id"][0]).sort("dns_name").collect().to_dicts()
    )
    promised = {pl.String: "", pl.List: [], pl.UInt32: 0}
    assert {name: old[name] for name in LATER} == {name: promised[HISTORY[name].base_type()] for name in LATER}
    assert (new["dns_name"], new["source_asn"]) == ("site.example", 0)
    assert scan_flows(old_lake).collect_schema() == HISTORY


def test_a_lake_that_does_not_exist_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="lake"):
        scan_flows(tmp_path / "nowhere")


def test_a_folder_without_a_history_is_said_so(tmp_path: Path) -> None:
    """The folder above a lake, say: there is nothing to be seen in it, and nobody would know why."""
    written(tmp_path / "lake")
    for ask in (scan_flows, scan_rollup, scan_dns):
        with pytest.raises(ConfigError, match="holds no history"):
            ask(tmp_path)
    with pytest.raises(ConfigError, match="holds no history"):
        last_flows(tmp_path, 1)


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
    (file,) = (lake / "flows").glob("date=2026-03-01/hour=22/*.parquet")
    file.write_bytes(b"not parquet")
    assert ids(scan_flows(lake, since=START.replace(minute=0) + HOUR)) == [1, 2, 3]
    assert last_flows(lake, 3)["flow_id"].to_list() == [1, 2, 3]


def test_a_pod_is_looked_for_at_both_ends(tmp_path: Path) -> None:
    writer = Lake(tmp_path)
    writer.start()
    names = {"source_name": ["a", "b", "b", "c"], "destination_name": ["b", "a", "c", "a"]}
    kinds = {"source_kind": ["Pod"] * 4, "destination_kind": ["Pod", "Pod", "Pod", "Node"]}
    columns = {name: pl.Series(values) for name, values in {**names, **kinds}.items()}
    writer.add(observations().with_columns(**columns))
    writer.flush()
    assert ids(scan_flows(tmp_path, pod="a")) == [0, 1]
    assert ids(scan_flows(tmp_path, pod="a", namespace="shop")) == [0, 1]
    assert ids(scan_flows(tmp_path, pod="a", namespace="bank")) == []


def test_a_pod_in_a_window_is_what_is_of_both(tmp_path: Path) -> None:
    lake_of(tmp_path, *(flows(300, NOON + number * HOUR, seed=number) for number in (1, 2)))
    every = scan_flows(tmp_path).collect()
    is_source, in_team = pl.col("source_name") == "pod-3", pl.col("source_namespace") == "team-1"
    after, before = NOON + 1.2 * HOUR, NOON + 2.2 * HOUR
    for since, until in ((None, None), (after, None), (None, before), (after, before)):
        is_within = (pl.col("time") >= (since or NOON)) & (pl.col("time") < (until or NOON + 9 * HOUR))
        wanted = every.filter(is_source & in_team & is_within)  # the other ends are of no kind
        assert 0 < wanted.height < every.filter(is_source | (pl.col("destination_name") == "pod-3")).height
        assert scan_flows(tmp_path, since, until, "team-1", "pod-3").collect().equals(wanted)


def test_a_table_that_is_made_anew_is_read_anew(tmp_path: Path) -> None:
    """What readers remember of a table is of that one alone, whether its log was longer or shorter."""
    for counts in ([3], [1, 1], [4, 4, 4], [2]):
        lake_of(tmp_path / "lake", *(flows(count, NOON, seed=count) for count in counts))
        assert scan_flows(tmp_path / "lake").collect().height == sum(counts)
        shutil.rmtree(tmp_path / "lake")


def test_parquet_of_before_is_moved_aside_and_read_along(old_lake: Path) -> None:
    writer = Lake(old_lake)
    writer.start()
    assert ids(scan_flows(old_lake)) == [0, 1, 2, 3]
    later = observations().with_columns(pl.col("flow_id") + 4, pl.col("time") + 2 * HOUR)
    writer.add(later.cast(HISTORY))
    writer.flush()
    assert ids(scan_flows(old_lake)) == list(range(8))
    assert last_flows(old_lake, 2)["flow_id"].to_list() == [6, 7]
    Lake(old_lake).start()
    assert ids(scan_flows(old_lake, since=START + 2 * HOUR, namespace="shop")) == [2, 4, 5, 6]


def test_unfinished_and_foreign_files_are_passed_over(old_lake: Path) -> None:
    hour = old_lake / "flows" / "date=2026-03-01" / "hour=22"
    (hour / ".part-1.parquet.tmp").write_bytes(b"half")
    (old_lake / "flows" / "date=2026-03-01" / "hour=late").mkdir()
    (old_lake / "flows" / "README").write_text("mine")
    assert ids(scan_flows(old_lake)) == [0, 1, 2, 3]


def test_files_of_an_older_and_a_newer_version_read_too(old_lake: Path) -> None:
    """A column that a file lacks is null, and one that only a file has is left out."""
    hour = old_lake / "flows" / "date=2026-03-01" / "hour=22"
    row = scan_flows(old_lake).head(1).collect().with_columns(flow_id=pl.lit(9, pl.UInt64), added=pl.lit(1)).drop("via")
    row.write_parquet(hour / "part-9.parquet")
    found = scan_flows(old_lake).filter(pl.col("flow_id") == 9).collect()
    assert found.schema == HISTORY
    assert found["via"].to_list() == [None]


def test_the_first_and_the_last_open_no_hour_beyond_those_that_they_are_of(lake: Path) -> None:
    """A history of weeks does not fit into memory, and these few do."""
    assert first_flows(lake, 2, since=START + timedelta(minutes=1))["flow_id"].to_list() == [1, 2]
    assert first_flows(lake, 9, pl.col("source_namespace") == "bank", until=START + 3 * HOUR)["flow_id"].to_list() == [
        1,
        2,
    ]
    hours = sorted(path for path in lake.glob("flows/date=*/hour=*"))
    for path in (*hours[:1], *hours[-1:]):
        shutil.rmtree(path)
    assert first_flows(lake, 1, since=START + HOUR)["flow_id"].to_list() == [1]
    assert last_flows(lake, 2, until=START + 3 * HOUR)["flow_id"].to_list() == [1, 2]


def test_the_newest_time_is_not_to_come_unless_all_are(tmp_path: Path) -> None:
    """A row of a node whose clock is ahead by years would be the newest for years."""
    sound, ahead = flows(50, NOON), flows(1, NOON + timedelta(days=9_000), 2)
    lake_of(tmp_path, sound, ahead)
    now, end = NOON + timedelta(days=1), sound["time"].max()
    assert newest_time(tmp_path, now) == newest_time(tmp_path, now, since=NOON) == end
    assert newest_time(tmp_path, now, until=NOON + MINUTE) == sound["time"][1]
    assert newest_time(tmp_path, now, since=now) == newest_time(tmp_path, NOON) == ahead["time"][0]
    assert newest_time(tmp_path, now, until=NOON) is None


def test_of_an_hour_only_the_times_are_read_beside_what_is_first_or_last(tmp_path: Path) -> None:
    """All rows of a busy hour do not fit into memory. In the file between, whoever reads more than times fails."""
    lake_of(tmp_path, *(flows(50, NOON + timedelta(minutes=20 * part), part + 1, 20 * MINUTE) for part in range(3)))
    (between,) = (
        path for path in tmp_path.glob("flows/*/*/*.parquet") if 2_000_000 in pl.read_parquet(path)["flow_id"]
    )
    pl.read_parquet(between).with_columns(packets=pl.lit("no number")).write_parquet(between)
    assert first_flows(tmp_path, 2)["flow_id"].to_list() == [1_000_000, 1_000_001]
    assert last_flows(tmp_path, 2)["flow_id"].to_list() == [3_000_048, 3_000_049]
    with pytest.raises(pl.exceptions.PolarsError):
        last_flows(tmp_path, 51)


def test_a_window_ends_to_the_microsecond_whether_or_not_a_file_is_wholly_in_it(tmp_path: Path) -> None:
    """Files that are all within are not asked for their times; one whose last row is at the end of the window is."""
    lake = Lake(tmp_path)
    lake.start()
    for begin in (NOON, NOON + timedelta(minutes=10)):
        lake.add(flows(50, begin, seed=begin.minute, span=timedelta(minutes=1)))
        lake.flush()
    every = scan_flows(tmp_path).collect()["time"].sort()
    for at in (0, 1, 49, 50, 99):
        for until in (every[at], every[at] + timedelta(microseconds=1)):
            found = scan_flows(tmp_path, NOON, until).collect()["time"]
            assert found.len() == (every < until).sum()
        assert scan_flows(tmp_path, every[at]).collect().height == 100 - at
