"""Other engines that write to the history: rows deleted or changed, files packed, versions restored, new features."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import CommitFailedError

from pipeline.errors import ConfigError
from pipeline.lake.maintenance import compact, maintain
from pipeline.lake.tables import FLOWS, TABLES
from pipeline.outputs.lake import Lake
from pipeline.query import scan_flows, scan_policy_events, scan_rollup
from tests.pipeline.lake.care import LATER
from tests.pipeline.lake.histories import NOON, entries, flows, lake_of

APP = "flowatlas/0"
ADDRESS = "10.0.0.3"
IS_ADDRESS = " or ".join(f"{name} = '{ADDRESS}'" for name in ("src_ip", "nat_src_ip", "dst_ip", "backend_ip"))
"""As the how-to has it: most rows have no `nat_src_ip`."""


def more(root: Path, *seeds: int) -> None:
    """Commits of a pipeline that is started anew."""
    lake_of(root, *(flows(200, seed=seed) for seed in seeds), app=APP)


def canonical(rows: pl.LazyFrame | pl.DataFrame) -> int:
    return int(rows.lazy().filter(role="canonical").select(pl.sum("bytes")).collect().item())


def rolled_up(root: Path) -> list[int]:
    return [int(scan_rollup(root, every).select(pl.sum("bytes")).collect().item()) for every in ("1m", "1h")]


def delete(root: Path) -> None:
    assert DeltaTable(root / "flows").delete(IS_ADDRESS)["num_deleted_rows"]


def update(root: Path) -> None:
    assert DeltaTable(root / "flows").update(updates={"src_ip": "'0.0.0.0'"}, predicate=IS_ADDRESS)["num_updated_rows"]


def restore(root: Path) -> None:
    """What the care of the table did is undone."""
    DeltaTable(root / "flows").restore(3)


def pack(root: Path) -> None:
    table = DeltaTable(root / "flows")
    table.optimize.compact()
    table.optimize.z_order(["src_ip"])


@pytest.mark.parametrize("rewrite", [delete, update, restore, pack])
@pytest.mark.parametrize("is_cared_for", [False, True])
def test_what_others_rewrite_is_folded_as_it_was_counted_and_once(
    tmp_path: Path, rewrite: Callable[[Path], None], *, is_cared_for: bool
) -> None:
    more(tmp_path, 1, 2, 3)
    store = lake_of(tmp_path)
    maintain(store, LATER if is_cared_for else NOON)
    more(tmp_path, 4)
    rewrite(tmp_path)
    more(tmp_path, 5)
    for _ in range(2):
        maintain(store, LATER)
        assert rolled_up(tmp_path) == [canonical(pl.concat(flows(200, seed=seed) for seed in range(1, 6)))] * 2
    if rewrite in (update, pack):
        assert canonical(scan_flows(tmp_path)) == rolled_up(tmp_path)[0]


def test_rows_that_others_append_are_folded(tmp_path: Path) -> None:
    more(tmp_path, 1, 2)
    table = DeltaTable(tmp_path / "flows")
    write_deltalake(table, table.to_pyarrow_table(), mode="append")
    maintain(lake_of(tmp_path), LATER)
    assert rolled_up(tmp_path) == [2 * canonical(pl.concat(flows(200, seed=seed) for seed in (1, 2)))] * 2


def test_an_address_that_is_erased_as_the_how_to_says_stays_so_and_all_else_stays_too(tmp_path: Path) -> None:
    """Also where the newest rows were not folded yet, and through commits and care of later."""
    more(tmp_path, 1, 2)
    store = lake_of(tmp_path)
    maintain(store, LATER)
    more(tmp_path, 3)
    kept = scan_flows(tmp_path).filter(pl.col("src_ip") != ADDRESS).collect()
    counted = canonical(scan_flows(tmp_path))
    delete(tmp_path)
    maintain(store, LATER)
    assert not scan_policy_events(tmp_path).filter(src_ip=ADDRESS).collect().is_empty()
    DeltaTable(tmp_path / "policy_events").delete(IS_ADDRESS.replace("nat_src_ip", "src_ip"))
    later = flows(200, seed=4).filter(pl.col("src_ip") != ADDRESS)
    lake_of(tmp_path, later, app=APP)
    maintain(store, LATER + timedelta(days=1))
    left = scan_flows(tmp_path).collect().sort("flow_id")
    assert left.select("flow_id", "bytes").equals(pl.concat([kept, later]).sort("flow_id").select("flow_id", "bytes"))
    assert rolled_up(tmp_path) == [counted + canonical(later)] * 2
    for name in TABLES:
        DeltaTable(tmp_path / name).vacuum(0, dry_run=False, enforce_retention_duration=False, full=True)
    for name in ("flows", "policy_events"):
        files = list((tmp_path / name).glob("date=*/**/*.parquet"))
        assert pl.scan_parquet(files, hive_partitioning=False).filter(src_ip=ADDRESS).collect().is_empty()


def test_care_that_was_under_way_does_not_bring_back_what_was_deleted_meanwhile(tmp_path: Path) -> None:
    more(tmp_path, 1, 2)
    store = lake_of(tmp_path)
    at = store.open(FLOWS)
    assert at is not None
    delete(tmp_path)
    left = scan_flows(tmp_path).collect().height
    with pytest.raises(CommitFailedError):
        compact(store, FLOWS, at, LATER, at, [])
    maintain(store, LATER)
    assert scan_flows(tmp_path).collect().height == left < 400


@pytest.mark.parametrize(
    ("protocol", "named"),
    [
        ({"minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": ["deletionVectors"]}, "deletionVectors"),
        ({"minReaderVersion": 2, "minWriterVersion": 5}, "column mapping"),
    ],
)
def test_a_table_whose_files_say_something_else_is_neither_read_nor_cared_for(
    tmp_path: Path, protocol: dict[str, object], named: str
) -> None:
    """Else what deletion vectors leave out would be read, and sorted files would have it for good."""
    more(tmp_path, 1, 2)
    store = lake_of(tmp_path)
    assert scan_flows(tmp_path).collect().height
    last = entries(tmp_path, FLOWS)[-1]
    said = {**protocol, "writerFeatures": protocol["readerFeatures"]} if "readerFeatures" in protocol else protocol
    entry = last.with_name(f"{int(last.stem) + 1:020d}.json")
    entry.write_text(json.dumps({"protocol": said}))
    for ask in (lambda: scan_flows(tmp_path), lambda: maintain(store, LATER), Lake(tmp_path, app=APP).start):
        with pytest.raises(ConfigError, match=f"flows asks for version . of Delta's readers .{named}"):
            ask()
    assert scan_rollup(tmp_path).collect().is_empty()


def test_a_table_that_is_put_back_from_a_copy_with_fewer_commits_is_read_as_it_is_now(tmp_path: Path) -> None:
    """Also by a process that has read the other one."""
    more(tmp_path, 1)
    shutil.copytree(tmp_path / "flows", tmp_path / "copy")
    more(tmp_path, 2, 3)
    assert scan_flows(tmp_path).collect().height == 600
    shutil.rmtree(tmp_path / "flows")
    (tmp_path / "copy").rename(tmp_path / "flows")
    assert scan_flows(tmp_path).collect().height == 200
