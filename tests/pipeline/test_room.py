"""How many rows go through the stages at once, by what memory there is."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.intake import Intake
from pipeline.outputs.meters import Meters
from pipeline.room import LEAST_ROWS, ROW_BYTES, rows_within
from tests.pipeline.batches_for_tests import batch, message

MB = 10**6


def cgroup(folder: Path, limit: str, anonymous: int) -> Path:
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.stat").write_text(f"anon {anonymous}\nfile {900 * MB}\nanon_thp 7\n")
    return folder


@pytest.mark.parametrize(
    ("limit", "anonymous", "rows"),
    [
        ("max", 10**12, 200_000),
        (str(2000 * MB), 300 * MB, 200_000),
        (str(400 * MB), 300 * MB, 100 * MB // ROW_BYTES),
        (str(400 * MB), 399 * MB, LEAST_ROWS),
        (str(400 * MB), 500 * MB, LEAST_ROWS),
    ],
)
def test_the_nearer_the_limit_the_fewer_rows(tmp_path: Path, limit: str, anonymous: int, rows: int) -> None:
    assert rows_within(200_000, cgroup(tmp_path, limit, anonymous)) == rows


def test_never_more_than_asked_for(tmp_path: Path) -> None:
    assert rows_within(100, cgroup(tmp_path, str(400 * MB), 399 * MB)) == 100


def test_where_nothing_tells_of_a_limit_there_is_none(tmp_path: Path) -> None:
    assert rows_within(200_000, tmp_path) == 200_000
    cgroup(tmp_path, "", 0)
    assert rows_within(200_000, tmp_path) == 200_000


def test_the_room_is_looked_at_before_each_chunk_and_nothing_is_lost() -> None:
    room = iter((1, 5, 1, 10**6))
    messages = [message(batch(seq=seq)) for seq in range(20)]
    one = 10  # rows of a batch
    chunks = list(Intake(Meters(), room=lambda most: min(most, one * next(room))).take(messages))
    assert [sum(len(rows.frame) for rows in chunk) // one for chunk in chunks] == [1, 5, 1, 13]
