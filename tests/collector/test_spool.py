"""The spool: on disk, with the bus, or counted as lost; whatever bus, disk and process do."""

from __future__ import annotations

import os
import random
import threading
import time
import tracemalloc
from pathlib import Path

import pytest

from collector.errors import ConfigError
from collector.schema import PREFIX, Batch, pack_record, parse_headers
from collector.sinks import spool
from collector.sinks.segments import SegmentFolder, segment_name
from pipeline.batches import MAX_EPOCHS, BatchLedger
from tests.collector.spools import EPOCH, Bus, Rig, away, batch, files
from tests.faults.counts import often, tell
from tests.pipeline import batches_for_tests

DAMAGED = often(400, 4_000)
"""Segments, of which half are damaged."""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "_RETRY_S", (0.01, 0.02))


def test_what_the_bus_has_is_no_longer_on_the_disk(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    for seq in range(5):
        rig.sink.send(batch(seq))
    assert rig.sink.flush(60)
    rig.sink.stop()
    assert rig.bus.got == [0, 1, 2, 3, 4]
    assert files(tmp_path) == []
    assert rig.metrics.value("spool_bytes") == 0


def test_a_bus_that_comes_later_gets_everything_in_order(tmp_path: Path) -> None:
    rig = Rig(tmp_path, prepare=away)
    for seq in range(5):
        rig.sink.send(batch(seq))
    assert not rig.sink.flush(0.05)
    assert len(files(tmp_path)) == 5
    assert rig.metrics.value("spool_bytes") == sum(path.stat().st_size for path in files(tmp_path))
    rig.bus.is_there = True
    assert rig.sink.flush(60)
    assert rig.bus.got == [0, 1, 2, 3, 4]
    rig.sink.stop()


def test_the_next_agent_sends_what_the_last_one_could_not(tmp_path: Path) -> None:
    first = Rig(tmp_path, prepare=away)
    for seq in range(3):
        first.sink.send(batch(seq))
    first.sink.stop()
    second = Rig(tmp_path)
    assert second.sink.flush(60)
    second.sink.stop()
    assert (first.bus.got, second.bus.got) == ([], [0, 1, 2])
    assert first.lost("bus_error") == 0


def test_what_is_unanswered_at_a_stop_stays_on_the_disk(tmp_path: Path) -> None:
    def silent(bus: Bus) -> None:
        bus.answers = False

    rig = Rig(tmp_path, prepare=silent)
    rig.sink.send(batch(0))
    while not rig.bus.unanswered:
        time.sleep(0.01)
    rig.sink.stop()
    assert len(files(tmp_path)) == 1


def test_refused_batches_are_tried_again(tmp_path: Path) -> None:
    def refuse(bus: Bus) -> None:
        bus.accepts = False

    rig = Rig(tmp_path, prepare=refuse)
    rig.sink.send(batch(0))
    rig.sink.send(batch(1))
    time.sleep(0.1)
    assert len(files(tmp_path)) == 2
    rig.bus.accepts = True
    assert rig.sink.flush(60)
    assert sorted(rig.bus.got) == [0, 1]
    rig.sink.stop()


def test_past_the_bound_the_oldest_whole_batches_go_and_are_counted(tmp_path: Path) -> None:
    size = len(batch(0).value) + 400
    rig = Rig(tmp_path, limit_bytes=4 * size, prepare=away)
    for seq in range(10):
        rig.sink.send(batch(seq))
    kept = len(files(tmp_path))
    assert 3 <= kept < 10
    assert rig.lost("spool_full") == 2 * (10 - kept)
    rig.bus.is_there = True
    assert rig.sink.flush(60)
    rig.sink.stop()
    assert rig.bus.got == list(range(10 - kept, 10))


@pytest.mark.parametrize("damage", ["flip", "cut", "empty"])
def test_exactly_the_damaged_segments_are_lost(tmp_path: Path, damage: str) -> None:
    first = Rig(tmp_path, prepare=away)
    for seq in range(3):
        first.sink.send(batch(seq))
    first.sink.stop()
    path = files(tmp_path)[1]
    content = path.read_bytes()
    value_at = len(content) - len(batch(1).value)
    flipped = value_at + PREFIX.size + 5
    path.write_bytes(
        {
            "flip": content[:flipped] + bytes([content[flipped] ^ 1]) + content[flipped + 1 :],
            "cut": content[: len(content) // 2],
            "empty": b"",
        }[damage]
    )
    second = Rig(tmp_path)
    assert second.sink.flush(60)
    second.sink.stop()
    assert second.bus.got == [0, 2]
    assert files(tmp_path) == []
    assert second.metrics.value("spool_corrupt_segments_total") == 1
    assert second.lost("spool_corrupt") == (0 if damage == "empty" else 2)


def test_what_the_disk_refuses_goes_straight_to_the_bus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(tmp_path)
    rig.sink.send(batch(0))
    assert rig.sink.flush(60)

    def full(self: SegmentFolder, name: str, content: bytes) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(SegmentFolder, "write", full)
        rig.sink.send(batch(1))
        assert rig.metrics.value("spool_is_degraded") == 1
        rig.bus.accepts = False
        rig.sink.send(batch(2))
    rig.bus.accepts = True
    rig.sink.send(batch(3))
    assert rig.sink.flush(60)
    rig.sink.stop()
    assert rig.bus.got == [0, 1, 3]
    assert rig.lost("spool_error") == 2
    assert rig.metrics.value("spool_is_degraded") == 0


def test_a_collector_starts_on_a_disk_that_has_become_read_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where one was killed while it wrote."""
    first = Rig(tmp_path, prepare=away)
    first.sink.send(batch(0))
    first.sink.stop()
    (tmp_path / "flows" / f".{segment_name(EPOCH, 1)}.part").write_bytes(b"half")

    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    for name in ("unlink", "mkdir", "rename"):
        monkeypatch.setattr(Path, name, refuse)
    rig = Rig(tmp_path)
    assert rig.sink.flush(60)
    rig.sink.send(batch(1))
    rig.sink.stop()
    assert rig.bus.got == [0, 1]
    assert rig.metrics.value("spool_is_degraded") == 1


def test_what_disk_and_bus_refuse_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(tmp_path, prepare=away)
    monkeypatch.setattr(SegmentFolder, "write", lambda *_: (_ for _ in ()).throw(OSError(5, "Input/output error")))
    rig.sink.send(batch(0))
    rig.sink.stop()
    assert rig.lost("spool_error") == 2


def test_a_stop_does_not_wait_for_a_bus_that_is_away(tmp_path: Path) -> None:
    rig = Rig(tmp_path, prepare=away)
    began = time.monotonic()
    rig.sink.stop()
    rig.sink.stop()
    assert time.monotonic() - began < 30
    assert not [thread for thread in threading.enumerate() if thread.name == "spool"]


def test_a_folder_that_cannot_be_is_a_wrong_setting(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="spool: cannot use"):
        Rig(tmp_path / "file")


def damaged(content: bytes, chance: random.Random) -> bytes:
    """A segment with a bit flipped anywhere, an end cut off, an end of zeros, or more behind it."""
    at = chance.randrange(len(content))
    match chance.randrange(5):
        case 0:
            return content[:at]
        case 1:
            return content[:at].ljust(len(content), b"\0")
        case 2:
            return content + chance.randbytes(chance.randint(1, 64))
        case _:  # half of them in the headers, which are a small part of it
            at = chance.randrange(len(content) - len(batch(0).value)) if chance.random() < 0.5 else at
            return content[:at] + bytes([content[at] ^ 1 << chance.randrange(8)]) + content[at + 1 :]


def differing_bits(one: bytes, other: bytes) -> int:
    return (int.from_bytes(one) ^ int.from_bytes(other)).bit_count()


def test_of_many_damaged_segments_none_goes_to_the_bus_and_none_holds_up_the_others(tmp_path: Path) -> None:
    """Headers too: with another name a batch would be of another node, or taken for one that was there before. Of those
    in whose headers no more than a bit has flipped, what they held is counted."""
    chance = random.Random(8)
    first = Rig(tmp_path, prepare=away, limit_bytes=1 << 27)
    sound = {}
    for seq in range(DAMAGED):
        sound[seq] = batch(seq)
        first.sink.send(sound[seq])
    first.sink.stop()
    hurt, known = {}, 0
    for seq, path in enumerate(files(tmp_path)):
        content = path.read_bytes()
        if chance.random() < 0.5 and (other := damaged(content, chance)) != content:
            hurt[seq] = path
            front = len(content) - len(sound[seq].value) + PREFIX.size
            known += len(other) >= front and differing_bits(content[:front], other[:front]) <= 1
            path.write_bytes(other)
    got: list[Batch] = []
    second = Rig(tmp_path, prepare=lambda bus: setattr(bus, "kept", got), limit_bytes=1 << 27)
    assert second.sink.flush(60)
    second.sink.stop()
    assert got == [one for seq, one in sound.items() if seq not in hurt]
    assert second.metrics.value("spool_corrupt_segments_total") == len(hurt)
    assert 0 < known < len(hurt)
    assert second.lost("spool_corrupt") == 2 * known
    assert files(tmp_path) == []


def test_what_a_collector_of_the_version_before_has_left_is_sent(tmp_path: Path) -> None:
    """It has no seal; what its headers say must be of that segment all the same."""
    folder = SegmentFolder(tmp_path / "flows")
    for seq in range(3):
        one = batch(seq)
        folder.write(segment_name(EPOCH, seq), pack_record(batch(7 if seq == 1 else seq).headers(), one.value))
    rig = Rig(tmp_path)
    assert rig.sink.flush(60)
    rig.sink.stop()
    assert rig.bus.got == [0, 2]
    assert rig.metrics.value("spool_corrupt_segments_total") == 1


def test_what_cannot_be_read_now_is_sent_later_and_what_somebody_has_deleted_is_not_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Rig(tmp_path, prepare=away)
    for seq in range(4):
        first.sink.send(batch(seq))
    first.sink.stop()
    refused: list[Path] = []
    read = Path.read_bytes

    def errs(path: Path) -> bytes:
        if path.name == segment_name(EPOCH, 1) and len(refused) < 3:
            refused.append(path)
            raise OSError(5, "Input/output error")
        if path.name == segment_name(EPOCH, 2):
            path.unlink()
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", errs)
    second = Rig(tmp_path)
    assert second.sink.flush(60)
    second.sink.stop()
    assert len(refused) == 3
    assert second.bus.got == [0, 3, 1]
    assert files(tmp_path) == []
    assert second.metrics.value("spool_corrupt_segments_total") == 0
    assert second.metrics.value("spool_bytes") == 0


def test_however_often_a_collector_was_started_anew_what_is_sent_again_is_known(tmp_path: Path) -> None:
    """The bus takes what it is given and does not say so; the pipeline knows a node's last epochs alone."""
    first = Rig(tmp_path, prepare=away)
    starts = 2 * MAX_EPOCHS
    for start in range(starts):
        for seq in range(2):
            first.sink.send(batches_for_tests.batch(epoch=EPOCH + start, seq=seq))
    first.sink.stop()
    second = Rig(tmp_path, prepare=lambda bus: setattr(bus, "answers", False))
    ledger, told = BatchLedger(), list[bool]()
    deadline, refused = time.monotonic() + 60, set[tuple[int, int]]()
    while files(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.05)
        unanswered, second.bus.unanswered = second.bus.unanswered, []
        for one in unanswered:
            told.append(ledger.accept(parse_headers(one.headers())))
            name = one.epoch, one.seq
            second.bus.on_settled(one, name in refused)
            refused.add(name)
    second.sink.stop()
    assert (sum(told), len(told)) == (2 * starts, 4 * starts)


def test_many_segments_take_a_collector_that_starts_little_memory(tmp_path: Path) -> None:
    """Else one that is started anew in a long outage dies of them, again and again."""
    segments = 10_000
    for name in ("flows", "counters"):
        (tmp_path / name).mkdir()
        for seq in range(segments // 2):
            (tmp_path / name / segment_name(EPOCH, seq)).touch()
    tracemalloc.start()
    try:
        rig = Rig(tmp_path, prepare=away)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    rig.sink.stop()
    tell(f"{most / segments:.0f} bytes a segment")
    assert most < 300 * segments


def test_a_backlog_drains_ten_times_as_fast_as_it_grew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A collector ships a batch a second: those of an outage of five minutes are sent in 30 s."""
    monkeypatch.setattr(os, "fsync", lambda _: None)  # writing them is not what is looked at
    rig = Rig(tmp_path, prepare=away, limit_bytes=1 << 27)
    outage_s = 300
    for seq in range(outage_s):
        rig.sink.send(batch(seq, rows=50))
    began = time.monotonic()
    rig.bus.is_there = True
    assert rig.sink.flush(outage_s / 10)
    tell(f"{outage_s} batches in {time.monotonic() - began:.2f} s")
    rig.sink.stop()
    assert rig.bus.got == list(range(outage_s))
