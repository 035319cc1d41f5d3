"""The lake in an object store, against a real S3 server: the same promises as on a disk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path

import pytest
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError

from pipeline.errors import PermanentError
from pipeline.lake.maintenance import maintain
from pipeline.lake.store import Store
from pipeline.lake.tables import FLOWS
from pipeline.outputs.lake import Lake
from pipeline.query import last_flows, scan_counters, scan_flows, scan_rollup
from tests.pipeline.lake.histories import NOON, counters, flows
from tests.s3_server import BUCKET, s3_server


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with s3_server(tmp_path_factory.mktemp("s3")) as found:
        yield found


def started(root: str, options: Mapping[str, str], app: str = "flowatlas/0") -> Lake:
    lake = Lake(root, app=app, options=options)
    lake.start()
    return lake


def test_a_lake_in_a_bucket_is_written_cared_for_and_read(options: dict[str, str], tmp_path: Path) -> None:
    root = f"s3://{BUCKET}/history"
    lake = started(root, options)
    for version in (1, 2, 3):
        lake.add(flows(100, seed=version))
        lake.add(counters(NOON), "counters")
        lake.commit(version, {"flows/0": version})
    care = maintain(Store(root, options), NOON + timedelta(hours=3), keep_days={"flows": 9999})
    assert (care.folded_files, care.merged_files["flows"]) == (3, 3)
    assert scan_flows(root, options=options).collect().height == 300
    pods = scan_flows(root, NOON, NOON + timedelta(minutes=5), namespace="team-0", pod="pod-2", options=options)
    assert 0 < pods.collect().height < 50
    assert scan_counters(root, options=options).collect().height == 3
    assert scan_rollup(root, "1h", options=options).collect()["observations"].sum() > 200
    assert last_flows(root, 5, options=options).height == 5
    assert started(root, options).committed() == 3


def test_of_two_commits_of_one_version_the_store_refuses_one(options: dict[str, str]) -> None:
    """By its conditional put: neither writer looks what the other does."""
    root = f"s3://{BUCKET}/rivals"
    store = Store(root, options)
    store.opened(FLOWS)
    first, second, third = (DeltaTable(store.location(FLOWS), storage_options=options) for _ in range(3))
    store.commit(FLOWS, first, [], {"a": 1})
    store.commit(FLOWS, second, [], {"b": 1})
    with pytest.raises(CommitFailedError):
        store.commit(FLOWS, third, [], {"a": 1})
    now = DeltaTable(store.location(FLOWS), storage_options=options)
    assert (now.version(), now.transaction_version("a"), now.transaction_version("b")) == (2, 1, 1)


def test_a_zombie_is_shut_out_of_a_bucket_too(options: dict[str, str]) -> None:
    root = f"s3://{BUCKET}/zombie"
    zombie = started(root, options)
    zombie.add(flows(10))
    successor = started(root, options)
    with pytest.raises(PermanentError, match="taken over"):
        zombie.commit(1)
    successor.add(flows(10, seed=2))
    successor.commit(1)
    assert scan_flows(root, options=options).collect().height == 10
