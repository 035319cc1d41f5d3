"""Columns of live connections: what is told of them makes the same ones again."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.ebpf.live import NEVER, Live

DTYPES = {"key": "u8", "count": "i8"}
STEPS = st.lists(
    st.tuples(st.sets(st.integers(0, 30), max_size=6), st.sets(st.integers(0, 30), max_size=6)), max_size=8
)


def step(live: Live, written: set[int], gone: set[int], value: int) -> None:
    """Write these keys, which may be new, and forget those."""
    keys = np.array(sorted(written), np.uint64)
    slots = live.slots(keys)
    new = slots < 0
    slots[new] = live.take(int(new.sum()))
    live.note(keys[new], slots[new])
    live.put(slots, {"key": keys, "count": np.full(len(keys), value)})
    live.due[slots] = value
    live.settle()
    found = live.slots(np.array(sorted(gone), np.uint64))
    live.release(found[found >= 0])
    live.settle()


def content(live: Live) -> dict[int, tuple[int, int, int]]:
    keys = np.arange(31, dtype=np.uint64)
    slots = live.slots(keys)
    assert len(live) == (slots >= 0).sum()
    return {
        int(key): (int(slot), int(live.get(np.array([slot]))["count"][0]), int(live.due[slot]))
        for key, slot in zip(keys, slots, strict=True)
        if slot >= 0
    }


@settings(deadline=None)
@given(STEPS, STEPS)
def test_what_is_told_makes_the_same_connections(
    before: list[tuple[set[int], set[int]]], after: list[tuple[set[int], set[int]]]
) -> None:
    first = Live(DTYPES)
    first.watch()
    for number, (written, gone) in enumerate(before):
        step(first, written, gone, number)
    told = [first.changed(everything=True)]
    for number, (written, gone) in enumerate(after):
        step(first, written, gone, 100 + number)
        told.append(first.changed(everything=False))
    second = Live(DTYPES)
    second.restore(told)
    assert content(second) == content(first)
    assert int((second.due != NEVER).sum()) == len(second)
    step(first, {1, 2, 3}, {2}, 500)
    step(second, {1, 2, 3}, {2}, 500)
    assert {key: told[1:] for key, told in content(second).items()} == {
        key: told[1:] for key, told in content(first).items()
    }


def test_keys_are_found_in_whatever_order_they_were_noted() -> None:
    """Two epochs of one look are noted one after the other, and their keys lie among each other."""
    live = Live(DTYPES)
    for keys in ([20, 40], [10, 30]):
        noted = np.array(keys, np.uint64)
        live.note(noted, live.take(len(noted)))
    live.settle()
    assert sorted(live.slots(np.array([10, 20, 30, 40], np.uint64)).tolist()) == [0, 1, 2, 3]
