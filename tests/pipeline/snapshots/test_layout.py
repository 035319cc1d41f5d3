"""The bytes of a snapshot: what goes in comes out, and damaged bytes never come out as something else."""

from __future__ import annotations

import random
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from pipeline.snapshots import layout
from pipeline.snapshots.layout import Content, Encoder, NewerError, SnapshotError, decode
from pipeline.snapshots.streams import Stream, encoded
from tests.faults.counts import often

FRAMES = {
    "totals:labels": pl.DataFrame({"node": ["a", "b", ""], "reason": ['x\n"\\', "é", "y"]}),
    "totals:values": pl.DataFrame({"bytes": [0, 1, 2**64 - 1]}, schema={"bytes": pl.UInt64}),
    "held:0": pl.DataFrame(
        {"node": ["a", None], "kind": ["one", "two"], "at": [-1, 2**62], "sets": [[1], None], "is": [True, None]},
        schema={
            "node": pl.Categorical(),
            "kind": pl.Enum(["one", "two"]),
            "at": pl.Int64,
            "sets": pl.List(pl.UInt32),
            "is": pl.Boolean,
        },
    ),
    "empty:rows": pl.DataFrame(schema={"number": pl.UInt16}),
}
VALUES: dict[str, Any] = {"places": {"topic": {"0": 2**63 - 1}}, "seconds": 0.1, "names": ["a", ""]}


def file_of(content: Content, encoder: Encoder | None = None) -> bytes:
    return b"".join((encoder or Encoder()).encode(content))


def test_what_goes_in_comes_out() -> None:
    found = decode(file_of(Content(VALUES, FRAMES)))
    assert found.values == VALUES
    assert list(found.frames) == list(FRAMES)
    for name, frame in FRAMES.items():
        assert found.frames[name].schema == frame.schema
        assert_frame_equal(found.frames[name], frame)


def test_a_frame_that_has_not_changed_is_not_encoded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = Encoder()
    anew: list[pl.DataFrame] = []

    def noted(frame: pl.DataFrame, last: Stream | None = None) -> Stream:
        anew.append(frame)
        return encoded(frame, last)

    monkeypatch.setattr(layout, "encoded", noted)
    first = file_of(Content(VALUES, FRAMES), encoder)
    anew.clear()
    changed = FRAMES["totals:values"].clone()
    second = file_of(Content(VALUES, FRAMES | {"totals:values": changed}), encoder)
    assert len(anew) == 1
    assert anew[0] is changed
    assert first == second


@pytest.mark.parametrize("seed", range(5))
def test_no_flipped_bit_goes_unseen(seed: int) -> None:
    sound = file_of(Content(VALUES, FRAMES))
    chance = random.Random(seed)
    for _ in range(often(200, 2_000)):
        damaged = bytearray(sound)
        damaged[chance.randrange(len(sound))] ^= 1 << chance.randrange(8)
        with pytest.raises(SnapshotError):
            decode(bytes(damaged))


def test_no_truncated_or_zeroed_end_goes_unseen() -> None:
    sound = file_of(Content(VALUES, FRAMES))
    for length in [0, 1, *range(7, len(sound), 13)]:
        with pytest.raises(SnapshotError):
            decode(sound[:length])
        with pytest.raises(SnapshotError):
            decode(sound[:length].ljust(len(sound), b"\0"))


def test_a_snapshot_of_a_later_version_is_told_from_a_damaged_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "VERSION", layout.VERSION + 1)
    later = file_of(Content(VALUES, FRAMES))
    monkeypatch.undo()
    with pytest.raises(NewerError):
        decode(later)
