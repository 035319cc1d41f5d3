"""What is the folder's own: segments that vanish or are broken, positions, retention, locks."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from collector.schema import pack_record
from pipeline.bus import Message, Reader, open_reader
from pipeline.bus.files import MAX_SEGMENT_BYTES, POLL_BYTES
from pipeline.bus.quarantine import QuarantineFolder
from pipeline.errors import ConfigError, TransientError
from tests.pipeline.batches_for_tests import batch
from tests.pipeline.bus.buses import FileBus, put


@pytest.fixture
def bus(tmp_path: Path) -> FileBus:
    return FileBus(tmp_path / "bus")


@pytest.fixture
def reader(bus: FileBus) -> Iterator[Reader]:
    reader = bus.reader()
    reader.start()
    yield reader
    reader.stop()


def record(text: bytes) -> bytes:
    return pack_record({}, text)


def values(messages: list[Message]) -> list[bytes]:
    return [m.value for m in messages]


def test_segments_are_read_by_number_whatever_the_order_of_the_folder(bus: FileBus, reader: Reader) -> None:
    for seq in (10, 9, 100, 11):
        bus.put_segment("node1", record(b"%d" % seq), seq=seq)
    assert values(reader.poll(0)) == [b"9", b"10", b"11", b"100"]


def test_a_listing_that_lacks_what_appeared_meanwhile_loses_nothing(
    bus: FileBus, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have what came later still: each one here lacks the last but one of what is there at its end."""

    class Late:
        """Two segments appear while the folder is listed, and only the second is told."""

        def __init__(self, path: str) -> None:
            self._entries = scandir(path)

        def __enter__(self) -> Iterator[os.DirEntry[str]]:
            listed = [*self._entries]
            if Path(listed[0].path).suffix == ".seg" and len(listed) < 9:
                lacking, told = (
                    bus.put_segment("node1", record(b"%d" % seq), seq=seq) for seq in (len(listed), len(listed) + 1)
                )
                with scandir(told.parent) as entries:
                    listed = [entry for entry in entries if entry.name != lacking.name]
            return iter(listed)

        def __exit__(self, *_: object) -> None:
            self._entries.close()

    bus.put_segment("node1", record(b"0"), seq=0)
    scandir = os.scandir
    monkeypatch.setattr("pipeline.bus.files.os.scandir", Late)
    polled = [values(reader.poll(0)) for _ in range(4)]
    assert [value for some in polled for value in some] == [b"%d" % seq for seq in range(9)]


def test_an_epoch_before_the_last_one_is_read_too(bus: FileBus, reader: Reader) -> None:
    """A node's clock was set back between two starts of its collector."""
    bus.put_segment("node1", record(b"first start"), epoch=2_000, seq=7)
    assert values(reader.poll(0)) == [b"first start"]
    reader.commit()
    bus.put_segment("node1", record(b"second start"), epoch=1_000, seq=0)
    assert values(reader.poll(0)) == [b"second start"]


def test_other_files_are_no_segments(bus: FileBus, reader: Reader) -> None:
    path = bus.put_segment("node1", record(b"one"))
    for name in (f".{path.name}.part", f"{path.name}.part", "1-1.seg", "notes"):
        (path.parent / name).write_bytes(b"half")
    (bus.root / bus.topic / "Not_A_Node").mkdir()
    (bus.root / bus.topic / "link").symlink_to(path.parent)
    (bus.root / bus.topic / "file").write_bytes(b"")
    assert values(reader.poll(0)) == [b"one"]


def test_a_segment_that_vanishes_before_it_is_read_is_passed(bus: FileBus, reader: Reader) -> None:
    large = record(bytes(1024 * 1024))
    paths = [bus.put_segment("node1", large) for _ in range(POLL_BYTES // (1024 * 1024) + 3)]
    first = reader.poll(0)  # found them all, read as many as fit
    paths[-2].unlink()
    rest = reader.poll(0)
    assert len(first) + len(rest) == len(paths) - 1
    assert reader.poll(0) == []


def test_a_poll_is_bounded_in_bytes_and_shared_among_nodes(bus: FileBus, reader: Reader) -> None:
    one = record(bytes(1024 * 1024))
    for node in ("node1", "node2"):
        for seq in range(20):
            bus.put_segment(node, one, seq=seq)
    polled = reader.poll(0)
    assert sum(len(m.value) for m in polled) == POLL_BYTES
    assert [sum(m.partition == node for m in polled) for node in ("node1", "node2")] == [8, 8]
    assert not reader.caught_up()


def test_what_came_after_the_last_look_is_not_caught_up_with(bus: FileBus, reader: Reader) -> None:
    for _ in range(20):
        bus.put_segment("node1", record(bytes(1024 * 1024)))
    assert len(reader.poll(0)) == 16
    bus.put_segment("node1", record(b"new"))
    assert len(reader.poll(0)) == 4  # of those found before
    assert not reader.caught_up()
    assert values(reader.poll(0)) == [b"new"]
    assert reader.caught_up()


def test_a_broken_segment_is_flawed_with_its_bytes_and_its_sound_records(bus: FileBus, reader: Reader) -> None:
    broken = record(b"sound") + record(b"cut")[:-1]
    path = bus.put_segment("node1", broken)
    bus.put_segment("node1", record(b"next"))
    sound, flawed, following = reader.poll(0)
    assert (sound.value, flawed.flaw, flawed.value, following.value) == (b"sound", "segment", broken, b"next")
    assert str(path) in flawed.origin


def test_an_oversized_segment_is_not_read_in_whole(bus: FileBus, reader: Reader) -> None:
    path = bus.put_segment("node1", b"")
    with path.open("r+b") as file:
        file.truncate(1 << 40)  # a hole
    bus.put_segment("node1", b"x" * (MAX_SEGMENT_BYTES + 1))
    began = time.process_time()
    messages = reader.poll(0)
    assert [(m.flaw, len(m.value)) for m in messages] == [("oversized", 64 * 1024)] * 2
    assert time.process_time() - began < 1


def test_a_segment_that_cannot_be_read_is_flawed(bus: FileBus, reader: Reader) -> None:
    (bus.put_segment("node1", b"").parent / f"{1:020d}-{5:012d}.seg").mkdir()
    bus.put_segment("node1", record(b"next"), seq=6)
    assert [(m.flaw, m.value) for m in reader.poll(0)] == [("segment", b""), ("", b"next")]


def test_positions_do_not_grow_with_epochs_that_are_gone(bus: FileBus, reader: Reader) -> None:
    for epoch in range(1, 20):
        bus.put_segment("node1", record(b"x"), epoch=epoch, seq=0)
        reader.poll(0)
        for path in bus.root.glob(f"*/node1/{epoch - 1:020d}-*.seg"):
            path.unlink()
    reader.poll(0)
    reader.commit()
    saved = json.loads((bus.root / ".positions" / "group.json").read_text())
    assert saved[bus.topic]["node1"] == {"messages": 19, "epochs": {"19": 0}}


def test_a_commit_without_news_writes_nothing(bus: FileBus, reader: Reader) -> None:
    put(bus, batch())
    reader.poll(0)
    reader.commit()
    path = bus.root / ".positions" / "group.json"
    os.utime(path, ns=(1, 1))
    reader.poll(0)
    reader.commit()
    assert path.stat().st_mtime_ns == 1


def test_a_group_has_one_reader_at_a_time(bus: FileBus, reader: Reader) -> None:
    rival = bus.reader()
    with pytest.raises(TransientError, match="group"):
        rival.start()
    reader.stop()
    rival.start()
    rival.stop()


def test_a_damaged_position_file_is_named(bus: FileBus) -> None:
    positions = bus.root / ".positions"
    positions.mkdir(parents=True)
    (positions / "group.json").write_text('{"topic": 5}')
    with pytest.raises(ConfigError, match=r"group\.json"):
        bus.reader().start()


def test_an_idle_reader_costs_little(bus: FileBus, reader: Reader) -> None:
    for node in range(50):
        put(bus, batch(node=f"node{node}"))
    reader.poll(0)
    cpu = time.process_time()
    assert reader.poll(1.0) == []
    assert time.process_time() - cpu < 0.2


@pytest.mark.parametrize(
    "url", ["file://", "ftp://x", "nothing", "kafka://", "kafka://host", "kafka://h:1/topic", "kafka://h:x"]
)
def test_a_wrong_address_is_a_configuration_error(url: str) -> None:
    with pytest.raises(ConfigError, match="bus"):
        open_reader(url, "group", ["topic"])


@pytest.mark.parametrize("group", ["", "../x", "a/b", "."])
def test_a_wrong_group_is_a_configuration_error(group: str) -> None:
    with pytest.raises(ConfigError, match="group"):
        open_reader("file:///nowhere", group, ["topic"])


def test_a_file_in_place_of_the_folder_is_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "bus").write_text("")
    with pytest.raises(ConfigError, match="bus"):
        open_reader(f"file://{tmp_path / 'bus'}", "group", ["topic"]).start()


def test_quarantine_drops_the_oldest_beyond_its_bounds(tmp_path: Path) -> None:
    def message(offset: int, size: int) -> Message:
        return Message("topic", "node1", offset, b"node1", {"bad": b"\xff"}, bytes(size))

    def kept(folder: Path) -> list[str]:
        assert {p.stem for p in folder.glob("*.json")} == {p.stem for p in folder.glob("*.value")}
        return sorted(path.stem for path in folder.glob("*.json"))

    by_bytes = QuarantineFolder(tmp_path / "bytes", limit_bytes=250)
    for offset in range(5):
        by_bytes.put(message(offset, 100), "headers")
    assert kept(tmp_path / "bytes") == ["topic.node1.3", "topic.node1.4"]
    by_count = QuarantineFolder(tmp_path / "count", limit_messages=2)
    for offset in (1, 2, 3, 3):
        by_count.put(message(offset, 0), "headers")
    assert kept(tmp_path / "count") == ["topic.node1.2", "topic.node1.3"]
    again = QuarantineFolder(tmp_path / "bytes", limit_bytes=250)  # a later process knows what is there
    again.put(message(9, 100), "headers")
    assert kept(tmp_path / "bytes") == ["topic.node1.4", "topic.node1.9"]
