"""A log that a power cut has torn: what nobody was told of is set aside and written again, and nothing else is lost."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from deltalake import DeltaTable

from pipeline.errors import PermanentError
from pipeline.lake.maintenance import maintain
from pipeline.lake.mending import is_whole, mend
from pipeline.lake.store import Store
from pipeline.lake.tables import FLOWS
from pipeline.outputs.lake import Lake
from pipeline.query import scan_flows
from tests.pipeline.lake.histories import NOON, flows, lake_of

APP = "flowatlas/0"
TEARS: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "half": lambda entry: entry[: len(entry) // 2],
    "without its last line": lambda entry: entry[: entry.rindex(b"\n")],
    "first line alone": lambda entry: entry.splitlines()[0],
    "zeros": lambda entry: bytes(len(entry)),
    "zeros at the end": lambda entry: entry[:-20] + bytes(20),
}


def log_of(root: Path) -> Path:
    return root / FLOWS.name / "_delta_log"


def entries(root: Path) -> list[Path]:
    return sorted(log_of(root).glob("*.json"))


def tear(path: Path, how: str) -> None:
    path.write_bytes(TEARS[how](path.read_bytes()))


def started(root: Path) -> Lake:
    lake = Lake(root, app=APP)
    lake.start()
    return lake


def read(root: Path) -> list[int]:
    return sorted(scan_flows(root).collect()["flow_id"].to_list())


@pytest.mark.parametrize("how", TEARS)
def test_a_settle_of_which_half_an_entry_is_there_is_written_again_and_counts_once(tmp_path: Path, how: str) -> None:
    parts = [flows(10, seed=seed) for seed in (1, 2, 3)]
    lake_of(tmp_path, *parts, app=APP)
    tear(entries(tmp_path)[-1], how)
    lake = started(tmp_path)
    assert lake.committed() == 2
    lake.add(parts[-1])
    lake.commit(3)
    assert read(tmp_path) == sorted(number for part in parts for number in part["flow_id"])
    assert started(tmp_path).committed() == 3
    assert len(list(log_of(tmp_path).glob("*.torn"))) == 1


def test_several_at_the_end_are_set_aside_and_a_log_that_is_whole_is_left_alone(tmp_path: Path) -> None:
    lake_of(tmp_path, *(flows(10, seed=seed) for seed in (1, 2, 3)), app=APP)
    before = [path.read_bytes() for path in entries(tmp_path)]
    assert mend(log_of(tmp_path)) == []
    assert [path.read_bytes() for path in entries(tmp_path)] == before
    for path in entries(tmp_path)[-2:]:
        tear(path, "half")
    assert started(tmp_path).committed() == 1
    assert len(read(tmp_path)) == 10


def test_what_was_told_to_be_done_is_not_given_up_for_an_entry_before_it(tmp_path: Path) -> None:
    """Somebody may have been told of the later one: no writer starts, and the error says what is to be done."""
    lake_of(tmp_path, *(flows(10, seed=seed) for seed in (1, 2, 3)), app=APP)
    kept = entries(tmp_path)[-2].read_bytes()
    tear(entries(tmp_path)[-2], "half")
    names = sorted(path.name for path in log_of(tmp_path).iterdir())
    with pytest.raises(PermanentError, match=r"0003\.json is torn, and later entries were made after it"):
        started(tmp_path)
    assert sorted(path.name for path in log_of(tmp_path).iterdir()) == names
    entries(tmp_path)[-2].write_bytes(kept)
    assert started(tmp_path).committed() == 3


@pytest.mark.parametrize("how", ["empty", "half", "gone"])
def test_entries_do_in_place_of_a_torn_checkpoint(tmp_path: Path, how: str) -> None:
    lake_of(tmp_path, *(flows(10, seed=seed) for seed in (1, 2, 3)), app=APP)
    DeltaTable(tmp_path / FLOWS.name).create_checkpoint()
    (checkpoint,) = log_of(tmp_path).glob("*.checkpoint.parquet")
    checkpoint.unlink() if how == "gone" else tear(checkpoint, how)
    assert started(tmp_path).committed() == 3
    assert len(read(tmp_path)) == 30


def test_a_checkpoint_without_which_rows_would_be_lost_is_not_given_up(tmp_path: Path) -> None:
    lake_of(tmp_path, *(flows(10, seed=seed) for seed in (1, 2, 3)), app=APP)
    DeltaTable(tmp_path / FLOWS.name).create_checkpoint()
    entries(tmp_path)[0].unlink()
    assert started(tmp_path).committed() == 3
    (checkpoint,) = log_of(tmp_path).glob("*.checkpoint.parquet")
    tear(checkpoint, "half")
    with pytest.raises(PermanentError, match="that would do in its place is gone"):
        started(tmp_path)


def test_care_mends_too(tmp_path: Path) -> None:
    store = lake_of(tmp_path, flows(10), flows(10, seed=2), app=APP)
    maintain(store, NOON + timedelta(hours=2))
    minutes = sorted((tmp_path / "flows_1m" / "_delta_log").glob("*.json"))
    tear(minutes[-1], "half")
    maintain(Store(str(tmp_path)), NOON + timedelta(hours=2))
    assert (minutes[-1].parent / f"{minutes[-1].name}.torn").exists()


def test_entries_of_others_are_whole_where_they_can_be_read() -> None:
    assert is_whole(b'{"commitInfo":{}}\n{"add":{}}')
    assert is_whole(b'{"commitInfo":{"flowatlas.actions":"1"}}\n{"add":{}}\n{"metaData":{}}\n')
    assert not is_whole(b'{"commitInfo":{"flowatlas.actions":"2"}}\n{"add":{}}\n')
    assert not is_whole(b"null")
