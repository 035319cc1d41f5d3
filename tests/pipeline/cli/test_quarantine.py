"""`flowatlas quarantine` on a folder of segments: what is told of it, and what is sent back once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from collector.schema import VERSION
from pipeline.bus import Message, open_reader
from pipeline.bus.quarantine import QuarantineFolder
from pipeline.cli.main import main
from pipeline.intake import Intake
from pipeline.outputs.meters import Meters
from tests.pipeline.batches_for_tests import batch, counters, message, of_version_after
from tests.pipeline.state_batches import state


@pytest.fixture
def bus(tmp_path: Path) -> str:
    return f"file://{tmp_path}"


def put_aside(bus: str, *messages: tuple[Message, str]) -> None:
    """As a pipeline does that cannot read them."""
    folder = QuarantineFolder(Path(bus.removeprefix("file://")) / ".quarantine")
    for one, reason in messages:
        folder.put(one, reason)


def listed(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, Any]]:
    assert main(["quarantine", "list", *arguments]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def replayed(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    assert main(["quarantine", "replay", *arguments]) == 0
    return capsys.readouterr().out.splitlines()


def test_what_lies_there_is_told_by_reason_node_table_and_version(bus: str, capsys: pytest.CaptureFixture[str]) -> None:
    newer = [of_version_after(batch(node="n1", seq=seq)) for seq in range(3)]
    cut = message(counters(node="n2"), flaw="oversized", value=b"cut")
    put_aside(bus, *((one, "schema_version") for one in newer), (cut, "oversized"))
    oversized, unknown = listed(capsys, "--bus", bus)
    assert (oversized["reason"], oversized["node"], oversized["batches"], oversized["can_be_sent"]) == (
        "oversized",
        "n2",
        1,
        0,
    )
    assert unknown["reason"] == "schema_version"
    assert unknown["topic"] == newer[0].topic
    assert unknown["version"] == str(VERSION + 1)
    assert (unknown["batches"], unknown["bytes"]) == (3, sum(len(one.value) for one in newer))
    assert unknown["first"] <= unknown["last"]
    assert [row["node"] for row in listed(capsys, "--bus", bus, "--reason", "oversized")] == ["n2"]
    assert [row["node"] for row in listed(capsys, "--bus", bus, "--node", "n1")] == ["n1"]
    assert len(listed(capsys, "--bus", bus, "--since", "1h")) == 2
    assert listed(capsys, "--bus", bus, "--until", "1h") == []


def test_what_can_be_read_by_now_goes_back_once_and_is_counted(bus: str, capsys: pytest.CaptureFixture[str]) -> None:
    """As after an update of the pipelines: these were of a version that the one before did not know."""
    sent = [batch(node="n1", seq=seq) for seq in range(3)]
    unknown = of_version_after(batch(node="n1", seq=7))
    put_aside(bus, *((message(one), "schema_version") for one in sent), (unknown, "schema_version"))
    reader = open_reader(bus, "group", [sent[0].topic])
    reader.start()
    assert reader.poll(0) == []
    assert replayed(capsys, "--bus", bus) == ["in their topics again: 3 batches", "left: 1 batch, schema_version"]
    came = reader.poll(0)
    expected = [(one.key, one.headers(), one.value) for one in sent]
    assert [(one.key, dict(one.headers), one.value) for one in came] == expected
    intake = Intake(Meters())
    assert sum(rows.frame.height for chunk in intake.take(came) for rows in chunk) == sum(one.rows for one in sent)
    assert replayed(capsys, "--bus", bus) == ["in their topics again: 0 batches", "left: 1 batch, schema_version"]
    assert reader.poll(0) == []
    assert [row["batches"] for row in listed(capsys, "--bus", bus)] == [1]
    reader.stop()


def test_what_an_earlier_version_has_put_aside_goes_back_where_it_is_sound(
    bus: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """It noted neither when that was nor whether it kept the whole."""
    sent = [batch(node="n1", seq=seq) for seq in range(2)]
    odd = {**batch().headers(), "node": b"x" * 5_000}
    put_aside(
        bus,
        *((message(one), "schema_version") for one in sent),
        (message(sent[0], offset=5, value=sent[0].value[:-1]), "schema_version"),
        (message(sent[0], offset=6, headers=odd), "schema_version"),
    )
    for path in (tmp_path / ".quarantine").glob("*.json"):
        note = json.loads(path.read_text())
        path.write_text(json.dumps({name: note[name] for name in note.keys() - {"at_ns", "is_whole"}}))
    reader = open_reader(bus, "group", [sent[0].topic])
    reader.start()
    assert len(listed(capsys, "--bus", bus, "--since", "1h")) > 0
    assert replayed(capsys, "--bus", bus)[0] == "in their topics again: 2 batches"
    assert [(dict(one.headers), one.value) for one in reader.poll(0)] == [(one.headers(), one.value) for one in sent]
    reader.stop()


def test_what_is_not_whole_and_what_is_the_clusters_state_stays(bus: str, capsys: pytest.CaptureFixture[str]) -> None:
    sound = batch(node="n1")
    odd = {**sound.headers(), "later": b"x" * 5_000}
    put_aside(
        bus,
        (message(sound, flaw="segment"), "segment"),
        (message(sound, offset=1, headers=odd), "schema_version"),
        (message(sound, offset=2, headers={**sound.headers(), "later": b"\xff"}), "schema_version"),
        (message(state(1, 0, [])), "schema_version"),
    )
    assert replayed(capsys, "--bus", bus) == [
        "in their topics again: 0 batches",
        "left: 3 batches, not all of it was kept",
        "left: 1 batch, the cluster's state is told anew by the watcher",
    ]
    assert sum(row["batches"] for row in listed(capsys, "--bus", bus)) == 4


def test_an_empty_quarantine_and_notes_that_are_none(
    bus: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert listed(capsys, "--bus", bus) == []
    assert replayed(capsys, "--bus", bus) == ["in their topics again: 0 batches"]
    folder = tmp_path / ".quarantine"
    put_aside(bus, (message(batch()), "schema_version"))
    (value,) = folder.glob("*.value")
    value.unlink()
    (folder / "other.json").write_text("{")
    (folder / "another.json").write_text('{"reason": 5}')
    assert listed(capsys, "--bus", bus) == []


def test_a_bus_that_is_none_is_wrong_use(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["quarantine", "list", "--bus", "ftp://x"]) == 2
    assert "neither file://DIR nor kafka://" in capsys.readouterr().err


def test_what_nobody_vouches_for_goes_back_where_it_is_asked_for_alone(
    bus: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """As what collectors had sent before they were given keys."""
    put_aside(bus, (message(batch(seq=1)), "unsigned"), (message(batch(seq=2)), "forged"))
    assert [row["can_be_sent"] for row in listed(capsys, "--bus", bus)] == [0, 0]
    assert replayed(capsys, "--bus", bus) == [
        "in their topics again: 0 batches",
        "left: 1 batch, forged: sent with --reason forged alone",
        "left: 1 batch, unsigned: sent with --reason unsigned alone",
    ]
    assert replayed(capsys, "--bus", bus, "--reason", "unsigned") == ["in their topics again: 1 batch"]
