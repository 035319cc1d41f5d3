"""Sums by flow, against the same sums by a dictionary."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.packets import flows
from collector.packets.frames import COLUMNS, Carriage, Headers
from collector.packets.kinds import Opaque, Tunnel

Packet = tuple[int, int, int, int, int, int, int, int]

few = st.integers(0, 2)
PACKETS = st.lists(st.tuples(few, few, few, few, few, few, few, st.sampled_from([0, 40, 65_535])), max_size=40)


def headers(packets: list[Packet]) -> Headers:
    rows = np.array(packets, np.uint64).reshape(-1, len(COLUMNS))
    columns = zip(COLUMNS.items(), rows.T, strict=True)
    return Headers(**{name: column.astype(dtype) for (name, dtype), column in columns})


def summed(packets: list[Packet]) -> list[tuple[int, ...]]:
    sums: dict[tuple[int, ...], list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for *key, size in packets:
        total = sums[tuple(key)]
        total[0] += 1
        total[1] += size
        total[2] += size == 0
    return [(*key, *total) for key, total in sums.items()]


def rows(found: flows.Flows) -> list[tuple[int, ...]]:
    return list(zip(*(getattr(found, name).tolist() for name in (*flows.KEY, *flows.SUMS)), strict=True))


@given(PACKETS)
def test_packets_and_bytes_are_summed_exactly_in_order_of_appearance(packets: list[Packet]) -> None:
    assert rows(flows.count(headers(packets))) == summed(packets)


@given(PACKETS, st.integers(0, 40))
def test_batches_merge_into_what_one_batch_would_give(packets: list[Packet], cut: int) -> None:
    parts = [flows.none(), *(flows.count(headers(part)) for part in (packets[:cut], packets[cut:]))]
    assert rows(flows.merge(parts)) == summed(packets)


@given(st.lists(PACKETS, max_size=6))
def test_a_tally_of_batches_is_the_sum_of_all_and_does_not_grow_with_their_number(batches: list[list[Packet]]) -> None:
    tally = flows.Tally()
    for batch in batches * 3:
        tally.add(flows.count(headers(batch)))
        assert sum(map(len, tally._parts)) <= 2 * len(tally.total())
    assert rows(tally.total()) == summed([packet for batch in batches for packet in batch] * 3)


def test_how_flows_are_carried_is_told_of_all_their_packets() -> None:
    packets = [(0, 1, 0, 2, 1, 2, 6, 40)] * 3 + [(0, 3, 0, 2, 1, 2, 6, 40)]
    carriage = Carriage(
        tunnel=np.array([Tunnel.NONE, Tunnel.VXLAN, Tunnel.VXLAN, Tunnel.NONE], np.uint8),
        vni=np.array([-1, 7, 7, -1]),
        overhead=np.array([0, 50, 50, 0], np.uint64),
        opaque=np.array([0, 0, 0, Opaque.ESP], np.uint8),
    )
    found = flows.merge([flows.none(), flows.count(headers(packets), carriage)])
    assert found.tunnel.tolist() == [Tunnel.VXLAN, Tunnel.NONE]
    assert found.vni.tolist() == [7, -1]
    assert found.overhead.tolist() == [100, 0]
    assert found.opaque.tolist() == [Opaque.NONE, Opaque.ESP]


def test_flows_that_share_a_hash_stay_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flows, "_MIX", (np.uint64(0), np.uint64(0)))
    packets = [(n % 3, 0, n % 2, 0, 1, 2, 6, 40) for n in range(30)]
    assert rows(flows.count(headers(packets))) == summed(packets)
