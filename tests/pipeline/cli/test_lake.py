"""`flowatlas lake`: what there is, and the care of it; and the pipeline's own care, in a process beside it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from deltalake import DeltaTable

from pipeline.cli.main import main
from pipeline.lake.upkeep import Turn, Upkeep
from pipeline.query import scan_flows, scan_rollup
from tests.pipeline.lake.histories import flows, lake_of


def test_info_tells_what_is_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lake_of(tmp_path, flows(30), flows(20, seed=2), app="flowatlas/0")
    assert main(["lake", "info", "--lake", str(tmp_path), "-o", "jsonl"]) == 0
    said = capsys.readouterr()
    tables = {row["table"]: row for row in map(json.loads, said.out.splitlines())}
    assert (tables["flows"]["rows"], tables["flows"]["files"]) == (50, 2)
    assert tables["flows"]["since"].startswith("2026-03-01T12:00")
    assert tables["dns"]["rows"] == 0
    assert "flowatlas/0 has written up to its settle 2" in said.err


def test_info_tells_what_a_copy_lacks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """A file that is not there, and one that was cut short."""
    lake_of(tmp_path, flows(30), flows(20, seed=2), flows(10, seed=3))
    absent, short, _ = (tmp_path / "flows").glob("date=*/hour=*/*.parquet")
    absent.unlink()
    short.write_bytes(short.read_bytes()[:-1])
    assert main(["lake", "info", "--lake", str(tmp_path), "-o", "jsonl"]) == 1
    tables = {row["table"]: row for row in map(json.loads, capsys.readouterr().out.splitlines())}
    assert (tables["flows"]["missing_files"], tables["dns"]["missing_files"]) == (2, 0)
    for file in (absent, short):
        assert f"{file.relative_to(tmp_path)} is not there, or not of the size" in caplog.text


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (Path.unlink, "if not, `flowatlas lake info` says what it lacks"),
        (lambda file: file.write_bytes(file.read_bytes()[:-1]), "names files of a history that are cut short"),
    ],
)
def test_rows_of_a_file_that_is_lacking_or_damaged_are_refused_in_a_line(
    harm: Callable[[Path], object], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lake_of(tmp_path, flows(30))
    (file,) = (tmp_path / "flows").glob("date=*/hour=*/*.parquet")
    harm(file)
    assert main(["top", "--lake", str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("flowatlas top: ")
    assert line.endswith(told)


def test_of_a_file_that_went_while_it_was_asked_for_it_is_said_that_to_ask_again_helps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is told of a lacking file would have nobody look for a fault of the history: it has none."""
    lake_of(tmp_path, flows(30), flows(20, seed=2))

    def scan_and_wait(*arguments: Any) -> pl.LazyFrame:
        found = scan_flows(*arguments)
        main(["lake", "maintain", "--lake", str(tmp_path), "--keep", "flows=9999"])
        DeltaTable(tmp_path / "flows").vacuum(0, dry_run=False, enforce_retention_duration=False)
        return found

    with monkeypatch.context() as patch:
        patch.setattr("pipeline.query.scan_flows", scan_and_wait)
        assert main(["top", "--lake", str(tmp_path), "--since", "2026-03-01"]) == 2
    assert "it has an answer when it is asked again" in capsys.readouterr().err
    assert main(["lake", "info", "--lake", str(tmp_path)]) == 0
    assert main(["top", "--lake", str(tmp_path)]) == 0


def test_maintain_makes_roll_ups_and_forgets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lake_of(tmp_path, flows(30))
    keep = ["--keep", "flows_1m=1", "--keep", "flows_1h=99999"]
    assert main(["lake", "maintain", "--lake", str(tmp_path), *keep]) == 0
    assert scan_rollup(tmp_path, "1h").collect().height > 0
    assert main(["lake", "maintain", "--lake", str(tmp_path), "--keep", "flows_2m=1"]) == 2
    assert "flows_2m=1" in capsys.readouterr().err
    assert main(["lake", "info", "--lake", str(tmp_path / "absent")]) == 2
    assert main(["lake", "info", "--lake", str(tmp_path / "flows")]) == 2
    assert "holds no history" in capsys.readouterr().err
    assert main(["lake", "maintain", "--lake", str(tmp_path / "flows")]) == 1


@pytest.mark.parametrize(("flag", "value"), [("--every", "0"), ("--every", "nan"), ("--readers", "0")])
def test_a_number_that_cannot_be_meant_is_refused(
    flag: str, value: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Care without a pause would keep a processor busy for good."""
    lake_of(tmp_path, flows(30))
    assert main(["lake", "maintain", "--lake", str(tmp_path), flag, value]) == 2
    assert f"{flag}: {value} is not within 1 and" in capsys.readouterr().err


def test_a_pipeline_has_its_lake_cared_for_in_a_process_of_its_own(tmp_path: Path) -> None:
    lake_of(tmp_path, flows(30))
    command = Upkeep.command_of(str(tmp_path), (), ("flows=99999", "flows_1h=99999"), 24)
    with Upkeep(command, 0.05) as upkeep:
        until = time.monotonic() + 180
        while not upkeep.rounds and time.monotonic() < until:
            time.sleep(0.05)
    assert upkeep.rounds >= 1
    assert scan_rollup(tmp_path, "1h").collect().height > 0


def test_care_that_is_for_another_to_take_is_not_taken() -> None:
    answers, is_over = iter([False] * 3), threading.Event()

    def is_ours() -> bool:
        answer = next(answers, None)
        if answer is None:
            is_over.set()
        return bool(answer)

    with Upkeep(["false"], 0.001, is_ours) as upkeep:
        assert is_over.wait(60)
    assert upkeep.rounds == 0


def test_of_pipelines_each_cares_for_the_folder_that_is_its_own_and_one_for_a_folder_that_they_share(
    tmp_path: Path,
) -> None:
    """Replicas with a volume each, of which one alone is the first of the group; and workers over one folder."""
    own, shared = tmp_path / "own", str(tmp_path / "shared")
    later = Turn(str(own), lambda: False)
    assert not later()
    own.mkdir()
    assert later()
    Path(shared).mkdir()
    turns = [Turn(shared, lambda: False), Turn(shared, lambda: True)]
    assert [turn() for turn in turns] == [True, False]
    turns[0].give_up()
    assert [turn() for turn in reversed(turns)] == [True, False]
    for turn in (later, *turns):
        turn.give_up()


@pytest.mark.parametrize("is_first", [True, False])
def test_a_lake_in_an_object_store_is_cared_for_by_the_first(is_first: bool) -> None:
    assert Turn("s3://telemetry/flowatlas", lambda: is_first)() is is_first


def test_a_round_that_is_under_way_is_ended_with_the_pipeline() -> None:
    upkeep = Upkeep(["sleep", "600"], 0.0)
    with upkeep:
        time.sleep(0.2)
        began = time.monotonic()
    assert time.monotonic() - began < 30
