"""The journal: whole records or none, changes since everything, batches of the last read, one writer."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import numpy as np
import pytest

from collector.ebpf.tracking import LAYOUT, Connections
from collector.errors import ConfigError
from collector.journal import FRAME, Journal, Left, Part
from collector.schema import VERSION, Batch

FORMER: Final = Path(__file__).parents[1] / "data/collector/ebpf.journal"


@dataclass
class Counting:
    """A state of which each change is a number."""

    told: list[int] = field(default_factory=list)

    def changes(self) -> Part:
        return Part({"is_all": False}, {"numbers": np.array(self.told[-1:], np.int64)})

    def everything(self) -> Part:
        return Part({"is_all": True}, {"numbers": np.array(self.told, np.int64)})


def batch(seq: int) -> Batch:
    return Batch("flows", "node", 7, seq, 1, 2, b"value %d" % seq)


def write(journal: Journal, state: Counting, seq: int, shipped: Callable[[], None] = lambda: None) -> None:
    state.told.append(seq)
    journal.stage(state, shipped)
    journal.commit([batch(seq)])
    journal.shipped()


def numbers(parts: Sequence[Part]) -> list[int]:
    return [int(n) for part in parts for n in part.arrays["numbers"]]


def left_in(folder: Path) -> Left:
    journal = Journal(folder)
    try:
        return journal.open("counting")
    finally:
        journal.close()


def test_the_next_agent_has_all_that_was_told_and_the_last_batches(tmp_path: Path) -> None:
    journal, state = Journal(tmp_path / "j"), Counting()
    assert not journal.open("counting").parts
    for seq in range(4):
        write(journal, state, seq)
    journal.close()
    left = left_in(tmp_path / "j")
    assert numbers(left.parts) == [0, 1, 2, 3]
    assert [part.values["is_all"] for part in left.parts] == [True, False, False, False]
    assert left.batches == [batch(3)]


def test_a_record_is_whole_or_was_never_there(tmp_path: Path) -> None:
    """Cut anywhere, and with any byte of the last record changed, what came before it is left."""
    journal, state = Journal(tmp_path / "j"), Counting()
    journal.open("counting")
    path = tmp_path / "j" / "journal"
    write(journal, state, 0)
    write(journal, state, 1)
    whole = len(path.read_bytes())
    write(journal, state, 2)
    journal.close()
    content = path.read_bytes()
    for cut in range(whole, len(content)):
        path.write_bytes(content[:cut])
        left = left_in(tmp_path / "j")
        assert (numbers(left.parts), left.batches) == ([0, 1], [batch(1)])
    for place in range(whole + FRAME.size, len(content), 7):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        assert numbers(left_in(tmp_path / "j").parts) == [0, 1]


def test_it_begins_anew_before_it_is_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("collector.journal.ANEW_BYTES", 2000)
    journal, state = Journal(tmp_path / "j"), Counting()
    journal.open("counting")
    sizes = []
    for seq in range(100):
        write(journal, state, seq)
        sizes.append((tmp_path / "j" / "journal").stat().st_size)
    journal.close()
    assert max(sizes) < 5000
    assert numbers(left_in(tmp_path / "j").parts) == list(range(100))


def test_what_is_from_before_the_machine_started_is_no_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel has forgotten what it was about; batches that may not have been sent are still good."""
    journal, state = Journal(tmp_path / "j"), Counting()
    journal.open("counting")
    write(journal, state, 5)
    journal.close()
    boot = tmp_path / "boot_id"
    boot.write_text("another\n")
    monkeypatch.setattr("collector.journal._BOOT", boot)
    left = left_in(tmp_path / "j")
    assert (list(left.parts), left.batches) == ([], [batch(5)])


def test_the_original_is_forgotten_once_all_is_shipped(tmp_path: Path) -> None:
    journal, state, forgotten = Journal(tmp_path / "j"), Counting([1]), []
    journal.open("counting")
    journal.stage(state, lambda: forgotten.append(1))
    journal.commit([])
    assert forgotten == []
    journal.shipped()
    journal.shipped()
    assert forgotten == [1]
    journal.close()


def test_the_state_of_another_kind_is_left_out_but_not_its_batches(tmp_path: Path) -> None:
    journal, state = Journal(tmp_path / "j"), Counting()
    journal.open("another")
    write(journal, state, 5)
    journal.close()
    left = left_in(tmp_path / "j")
    assert (list(left.parts), left.batches) == ([], [batch(5)])


def test_what_an_earlier_version_called_otherwise_is_gone_on_with(tmp_path: Path) -> None:
    journal, state = Journal(tmp_path / "j"), Counting()
    journal.open("count")
    write(journal, state, 5)
    journal.close()
    assert numbers(journal.open("counting", "count").parts) == [5]
    write(journal, state, 6)
    journal.close()
    assert numbers(left_in(tmp_path / "j").parts) == [5, 6]


def test_connections_of_a_journal_that_says_nothing_of_its_layout_live_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If this fails since LAYOUT has changed, such journals can be gone on with no more."""
    boot = tmp_path / "boot_id"
    boot.write_bytes(re.findall(rb'"boot": "([^"]+)"', FORMER.read_bytes())[0])
    monkeypatch.setattr("collector.journal._BOOT", boot)
    shutil.copy(FORMER, tmp_path / "journal")
    journal = Journal(tmp_path)
    left = journal.open(f"ebpf {LAYOUT}", "ebpf")
    journal.close()
    live = Connections().live
    live.restore(part.arrays for part in left.parts)
    slots = left.parts[-1].arrays["slot"]
    assert live.get(slots)["is_told"].tolist() == [True] * 3
    assert (live.slots(live.get(slots)["key"]) == slots).all()
    assert sum(one.rows for one in left.batches) == 3


def test_the_batches_of_another_version_are_sent_as_they_are(tmp_path: Path) -> None:
    journal, state = Journal(tmp_path / "j"), Counting()
    journal.open("counting")
    made = [replace(batch(seq), version=version) for seq, version in enumerate((VERSION - 1, VERSION + 1))]
    journal.stage(state, lambda: None)
    journal.commit(made)
    journal.close()
    assert left_in(tmp_path / "j").batches == made


def test_a_change_that_could_not_be_written_is_told_with_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal, state = Journal(tmp_path / "j"), Counting()
    journal.open("counting")
    write(journal, state, 0)
    with monkeypatch.context() as patch:

        def full(file: object, record: bytes) -> None:
            raise OSError(28, "No space left on device")

        patch.setattr("collector.journal._write", full)
        with pytest.raises(OSError, match="No space"):
            write(journal, state, 1)
    write(journal, state, 2)
    journal.close()
    assert numbers(left_in(tmp_path / "j").parts) == [0, 1, 2]


def test_two_agents_do_not_share_one(tmp_path: Path) -> None:
    first = Journal(tmp_path / "j")
    first.open("counting")
    second = Journal(tmp_path / "j")
    with pytest.raises(ConfigError, match="journal: another agent"):
        second.open("counting")
    second.close()
    first.close()
