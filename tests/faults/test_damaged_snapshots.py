"""A member of a consumer group whose last snapshot cannot be read counts again what that one alone had, and nothing
that others have counted, whoever has its partitions by then. No counter falls in the sight of anybody.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.faults.fellows import FellowReader
from tests.faults.ledger import Ledger
from tests.faults.lives import GROUP, Death, Disk, live
from tests.faults.trials import Fellows

THIRDS = 3


@pytest.fixture
def them(tmp_path: Path) -> Fellows:
    them = Fellows(tmp_path)
    them.one.flush_rows = 1_000  # else every other snapshot is the history's
    return them


def dies_behind(them: Fellows, *, thirds: int) -> Callable[[FellowReader], Iterator[None]]:
    """Read so much of what comes, and die."""

    def script(reader: FellowReader) -> Iterator[None]:
        them.ship(thirds)
        yield from them.all_read(reader)
        raise Death

    return script


def recalls(them: Fellows, recalled: list[int]) -> Callable[[FellowReader], Iterator[None]]:
    """Read all there is, and note how many messages were read again."""

    def script(reader: FellowReader) -> Iterator[None]:
        yield from them.all_read(reader)
        recalled.append(reader.recalled)

    return script


def damage(disk: Disk) -> None:
    """A bit flips in the last snapshot, of two."""
    *_, last = both = sorted((disk.root / "snapshot" / GROUP / "0").glob("*.snapshot"))
    assert len(both) == 2
    content = bytearray(last.read_bytes())
    content[len(content) // 2] ^= 4
    last.write_bytes(content)


@pytest.mark.parametrize("is_elsewhere", [False, True], ids=["comes back", "is with another since"])
def test_what_the_damaged_one_alone_had_is_counted_once(them: Fellows, *, is_elsewhere: bool) -> None:
    with suppress(Death):
        them.one.live(them.group, dies_behind(them, thirds=2))
    damage(them.one)
    them.ship(THIRDS)
    if is_elsewhere:
        them.give(one=(them.first,), other=(them.second,))
        them.other.live(them.group, them.all_read)
    recalled: list[int] = []
    them.one.live(them.group, recalls(them, recalled))
    assert them.unexplained() == {}
    assert recalled[0] > 0


def test_a_member_that_dies_again_before_all_is_counted_again_begins_anew(them: Fellows) -> None:
    with suppress(Death):
        them.one.live(them.group, dies_behind(them, thirds=2))
    damage(them.one)

    def die(reader: FellowReader) -> Iterator[None]:
        while not reader.recalled:
            assert reader.held is None
            yield
        assert reader.is_recalling
        raise Death

    with suppress(Death):
        them.one.live(them.group, die)
    them.ship(THIRDS)
    them.one.live(them.group, them.all_read)
    assert them.unexplained() == {}


def test_of_a_member_that_is_given_nothing_at_first_too(them: Fellows) -> None:
    with suppress(Death):
        them.one.live(them.group, dies_behind(them, thirds=2))
    damage(them.one)
    them.ship(THIRDS)
    them.give()
    recalled: list[int] = []

    def given_later(reader: FellowReader) -> Iterator[None]:
        while reader.held is None:
            yield
        assert reader.held == frozenset()
        them.give(one=(them.first, them.second))
        yield from recalls(them, recalled)(reader)

    them.one.live(them.group, given_later)
    assert them.unexplained() == {}
    assert recalled[0] > 0


def test_what_another_counted_between_the_last_two_is_not_counted_again(them: Fellows) -> None:
    """The partition was away between them."""

    def away(reader: FellowReader) -> Iterator[None]:
        yield from them.all_read(reader)
        yield
        them.give(one=(them.first,), other=(them.second,))
        while reader.held != frozenset({them.first}):
            yield
        raise Death

    with suppress(Death):
        them.one.live(them.group, away)
    them.ship(2)
    them.give(other=(them.second,))
    them.other.live(them.group, them.all_read)
    them.give(one=(them.first, them.second))
    with suppress(Death):
        them.one.live(them.group, dies_behind(them, thirds=THIRDS))
    damage(them.one)
    recalled: list[int] = []
    them.one.live(them.group, recalls(them, recalled))
    assert them.unexplained() == {}
    assert recalled[0] > 0


def test_what_was_read_again_is_nobodys_in_a_third_life(them: Fellows) -> None:
    with suppress(Death):
        them.one.live(them.group, dies_behind(them, thirds=2))
    damage(them.one)
    them.one.live(them.group, them.all_read)
    them.ship(THIRDS)
    recalled: list[int] = []
    them.one.live(them.group, recalls(them, recalled))
    assert them.unexplained() == {}
    assert recalled == [0]


def test_where_partitions_are_fixed_nothing_is_shown_before_it_is_as_much_as_was_shown_before(tmp_path: Path) -> None:
    disk = Disk(tmp_path, Ledger(21), left=30, flush_rows=1_000_000)

    def die() -> None:
        if disk.left == 10:
            raise Death

    with suppress(Death):
        live(disk, on_turn=die)
    damage(disk)
    live(disk)
    assert disk.account().unexplained == {}
