"""What the pipeline wrote, read by others: DuckDB, pyarrow, deltalake; and features that all engines of Delta read."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import duckdb
import polars as pl
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from pipeline.lake.maintenance import maintain
from pipeline.lake.tables import FLOWS, TABLES
from tests.pipeline.lake.histories import NOON, flows, lake_of

ROWS = pl.concat([flows(200, seed=seed) for seed in (1, 2)])


@pytest.fixture(params=["as written", "cared for"])
def lake(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    store = lake_of(tmp_path, *(flows(200, seed=seed) for seed in (1, 2)), app="flowatlas/0")
    if request.param == "cared for":
        maintain(store, NOON + timedelta(days=1), keep_days={"flows": 9999})
    return tmp_path


def expected() -> list[tuple[str, int]]:
    by_source = ROWS.group_by("src_ip").agg(pl.col("bytes").cast(pl.Int64).sum()).sort("bytes", "src_ip")
    return by_source.rows()


def test_duckdb_reads_the_files_that_the_log_names(lake: Path) -> None:
    table = DeltaTable(lake / "flows")
    rows = duckdb.execute(
        "select src_ip, sum(bytes)::bigint as total from read_parquet(?) group by src_ip order by total, src_ip",
        [table.file_uris()],
    ).fetchall()
    assert rows == expected()
    types = duckdb.execute("describe select * from read_parquet(?)", [table.file_uris()]).fetchall()
    kinds = {name: kind for name, kind, *_ in types}
    assert (kinds["time"], kinds["src_ip"], kinds["src_port"]) == ("TIMESTAMP WITH TIME ZONE", "VARCHAR", "INTEGER")
    assert kinds["egress_policies"] == "VARCHAR[]"


def test_pyarrow_reads_the_files_and_the_table(lake: Path) -> None:
    table = DeltaTable(lake / "flows")
    read = sum(pq.ParquetFile(path).read(columns=["flow_id"]).num_rows for path in table.file_uris())
    dataset = table.to_pyarrow_dataset()
    assert read == dataset.count_rows() == ROWS.height
    found = dataset.to_table(columns=["src_ip", "bytes", "date", "hour"]).to_pydict()
    assert sum(found["bytes"]) == ROWS["bytes"].sum()
    assert {(f"{day}", hour) for day, hour in zip(found["date"], found["hour"], strict=True)} == {("2026-03-01", 12)}


def test_no_feature_is_used_that_some_engine_does_not_read(lake: Path) -> None:
    """Reader version 1: no deletion vectors, no column mapping; and no type of Parquet that Spark refuses."""
    for name in TABLES:
        protocol = DeltaTable(lake / name).protocol()
        assert (protocol.min_reader_version, protocol.min_writer_version) == (1, 2)
        assert not protocol.reader_features
    for path in DeltaTable(lake / "flows").file_uris():
        for column in pq.ParquetFile(path).schema:
            assert "uint" not in str(column.logical_type).lower()
            assert "nanoseconds" not in str(column.logical_type).lower()


def test_the_log_says_of_each_file_how_many_rows_of_which_time(lake: Path) -> None:
    said = 0
    for log in sorted((lake / "flows" / "_delta_log").glob("*.json")):
        for action in map(json.loads, log.read_text().splitlines()):
            if "add" in action:
                rows = pl.read_parquet(lake / "flows" / action["add"]["path"], hive_partitioning=False)
                stats = json.loads(action["add"]["stats"])
                assert stats["numRecords"] == rows.height
                told = [stats[f"{which}Values"]["time"].rstrip("Z") for which in ("min", "max")]
                bounds = rows["time"].sort().dt.strftime("%Y-%m-%dT%H:%M:%S.%6f")
                assert told == [bounds[0], bounds[-1]]
                assert rows.columns == FLOWS.stored.names()
                said += 1
    assert said >= 2
