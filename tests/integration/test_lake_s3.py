"""The lake in an object store, against a real S3 server: the same promises as on a disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import pytest
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError

from pipeline.errors import PermanentError, TransientError
from pipeline.lake.maintenance import maintain
from pipeline.lake.store import Store
from pipeline.lake.summary import summary_of
from pipeline.lake.tables import FLOWS, TABLES
from pipeline.outputs.lake import Lake
from pipeline.query import last_flows, scan_counters, scan_flows, scan_rollup
from tests.pipeline.lake.histories import NOON, counters, flows
from tests.s3_server import BUCKET, s3_server
from tests.s3_trouble import TroubledStore

T = TypeVar("T")
KEEP = {"flows": 9999, "counters": 9999}


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
    lake.add(flows(50, seed=4))
    lake.commit(4)
    care = maintain(Store(root, options), NOON + timedelta(hours=3), keep_days={"flows": 9999})
    assert care.folded_files == 1
    observed = scan_flows(root, options=options).filter(role="canonical").collect().height
    assert scan_rollup(root, "1m", options=options).collect()["observations"].sum() == observed
    assert started(root, options).committed() == 4
    assert summary_of(Store(root, options))["missing_files"].to_list() == [0] * len(TABLES)


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


def test_a_store_that_fails_one_request_in_twenty_gets_each_settle_once(options: dict[str, str]) -> None:
    """Also where the request was done and the answer never came; a writer is started anew in the midst of it."""
    root, settles = f"s3://{BUCKET}/trouble", 8
    parts = [flows(20, seed=number) for number in range(1, settles + 1)]
    with TroubledStore(options["aws_endpoint_url"], 0.05, slow_s=0.005) as store:
        troubled = options | {"aws_endpoint_url": store.url}
        lake = patiently(lambda: started(root, troubled))
        for number, part in enumerate(parts, 1):
            lake.add(part)
            lake.add(counters(NOON), "counters")
            patiently(lambda: committed(lake, number))  # noqa: B023 - called at once
            if number == settles // 2:
                lake = patiently(lambda: started(root, troubled))
                assert lake.committed() == number
        patiently(lambda: maintain(Store(root, troubled), NOON + timedelta(hours=3), keep_days=KEEP))
    troubles = store.requests
    assert min(troubles["refused PUT"], troubles["swallowed PUT"]) > 0, troubles
    expected = sorted(number for part in parts for number in part["flow_id"])
    assert sorted(scan_flows(root, options=options).collect()["flow_id"]) == expected
    assert scan_counters(root, options=options).collect().height == settles
    seen = [entry.get("flowatlas.settle") for entry in Store(root, options).opened(FLOWS).history()]
    assert sorted(int(number) for number in seen if number is not None) == list(range(1, settles + 1))
    minutes = scan_rollup(root, "1h", options=options).collect()["observations"].sum()
    assert minutes == sum(part.filter(role="canonical").height for part in parts)


def committed(lake: Lake, number: int) -> None:
    """As the pipeline does: what is not known to have gone through is tried again, what has is not."""
    if (lake.committed() or 0) < number:
        lake.commit(number)


def patiently(act: Callable[[], T]) -> T:
    """Again where the store refused, at most so often that a store which never answers is told apart."""
    for _ in range(20):
        try:
            return act()
        except TransientError:
            continue
    return act()
