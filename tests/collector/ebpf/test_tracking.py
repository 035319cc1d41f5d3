"""Flows become connections: counted once, at one interface, whatever the moments at which the kernel is read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.ebpf.lifetimes import KEPT_NS, SECOND_NS, TCP_IDLE_NS
from collector.ebpf.sightings import sight
from collector.ebpf.tracking import Connections
from collector.schema import OUTCOMES
from tests.collector.ebpf.kernel_model import (
    CLIENT_SIDE,
    SERVER_SIDE,
    UDP,
    UPLINK,
    Connection,
    Kernel,
    OneWayKernel,
    Packet,
)

CLIENT, SERVICE, BACKEND = (1, 40000), (96, 80), (2, 8080)
S = SECOND_NS
WALL = 1_700_000_000 * S

SCRIPTS = {
    ">S <SA >A >A <A >FA <FA >A": "closed",
    ">S <SA >A >A <A <FA >FA <A": "closed",
    ">S <SA >A >A <R": "reset",
    ">S <SA >A >R": "reset",
    ">S <SA >A <FA >R": "reset",
    ">S <SA >A >FA <FA >A >FA <R": "closed",
    ">S <R": "refused",
    ">S <SA >R": "reset",
    ">S >S <R": "refused",
    ">S >S >S": "no_reply",
    ">S": "no_reply",
    ">S >S <SA >A >FA <FA >A": "closed",
}


KERNELS = pytest.mark.parametrize("model", [Kernel, OneWayKernel])
Model = type[Kernel] | type[OneWayKernel]


def look(
    connections: Connections, kernel: Kernel | OneWayKernel, now_ns: int, *, final: bool = False
) -> list[dict[str, Any]]:
    flows, sums = kernel.take()
    seen = sight(flows, sums, {UPLINK}, connections.holds)
    rows = connections.update(seen, now_ns, WALL, final=final)
    told = [
        dict(zip(rows, row, strict=True)) for row in zip(*(column.tolist() for column in rows.values()), strict=True)
    ]
    return [row | {"outcome": OUTCOMES[row["outcome"]]} for row in told]


def replay(packets: Iterable[Packet], cuts: set[int], model: Model = Kernel) -> list[dict[str, Any]]:
    """Show packets in order of time, look after those whose number is in `cuts`, then until nothing lives."""
    kernel, connections = model(), Connections()
    rows: list[dict[str, Any]] = []
    now = 0
    for number, packet in enumerate(sorted(packets, key=lambda p: p.time)):
        kernel.see(packet)
        now = packet.time
        if number in cuts:
            rows += look(connections, kernel, now)
    for later in (1, S, 4 * S, 4 * S + KEPT_NS, TCP_IDLE_NS, 2 * TCP_IDLE_NS):
        rows += look(connections, kernel, now + later)
    assert len(connections) == 0
    return rows


def by_connection(rows: Iterable[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    found = defaultdict(list)
    for row in rows:
        found[row["flow_id"]].append(row)
    return sorted(found.values(), key=lambda group: (group[0]["src_port"], group[0]["start"]))


def is_right(rows: list[dict[str, Any]], connection: Connection, outcome: str) -> None:
    """One connection's rows against what was sent."""
    near = [p for p in connection.packets() if p.ifindex == CLIENT_SIDE]
    there, back = [p.size for p in near if not p.is_reply], [p.size for p in near if p.is_reply]
    assert [sum(row[name] for row in rows) for name in ("packets", "bytes", "reply_packets", "reply_bytes")] == [
        len(there),
        sum(there),
        len(back),
        sum(back),
    ]
    assert [sum(row[name] for row in rows) for name in ("opened", "closed")] == [1, 1]
    assert [row["outcome"] for row in rows if row["outcome"] != "open"] == [outcome]
    assert rows[0]["opened"]
    assert rows[-1]["closed"]
    for row in rows:
        assert (row["src_lo"] & 0xFFFF, row["src_port"]) == connection.client
        assert (row["dst_lo"] & 0xFFFF, row["dst_port"]) == connection.dialled
        assert row["start"] == WALL + connection.begin or row["start"] == WALL + connection.begin + 10
        if connection.hops == 2:
            assert (row["backend_lo"] & 0xFFFF, row["backend_port"]) == connection.backend
            assert (row["nat_src_lo"] & 0xFFFF, row["nat_src_port"]) == connection.client


@KERNELS
@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("backend", [BACKEND, SERVICE], ids=["translated", "direct"])
def test_every_outcome_whatever_the_moment_of_a_look(script: str, backend: tuple[int, int], model: Model) -> None:
    connection = Connection(CLIENT, SERVICE, backend, S, script)
    for cut in range(-1, len(connection.packets())):
        (rows,) = by_connection(replay(connection.packets(), {cut}, model))
        is_right(rows, connection, SCRIPTS[script])


def test_what_lies_between_two_looks_is_one_row() -> None:
    connection = Connection(CLIENT, SERVICE, BACKEND, S, ">S <SA >A >A <A >FA <FA >A")
    rows = replay(connection.packets(), set())
    is_right(rows, connection, "closed")
    assert len(rows) == 1


def test_what_is_dropped_behind_the_first_interface_is_seen_there() -> None:
    connection = Connection(CLIENT, SERVICE, BACKEND, S, ">S >S", hops=1)
    is_right(replay(connection.packets(), {0}), connection, "no_reply")


@KERNELS
def test_a_question_and_an_answer_of_one_packet_keep_their_service(model: Model) -> None:
    connection = Connection(CLIENT, SERVICE, BACKEND, S, "> <", protocol=UDP)
    for cut in range(-1, 4):
        rows = replay(connection.packets(), {cut}, model)
        assert sum(row["opened"] for row in rows) == 1
        assert {(row["dst_lo"] & 0xFFFF, row["backend_lo"] & 0xFFFF) for row in rows} == {(96, 2)}
        assert (sum(row["bytes"] for row in rows), sum(row["reply_bytes"] for row in rows)) == (100, 101)
        assert {row["outcome"] for row in rows} == {"open"}


@KERNELS
def test_a_port_used_again_between_two_looks_is_another_connection(model: Model) -> None:
    script = ">S <SA >A >A <A >FA <FA >A"
    several = [Connection(CLIENT, SERVICE, BACKEND, S * n, script, isn=n) for n in (1, 2, 3)]
    packets = [packet for connection in several for packet in connection.packets()]
    for cut in range(-1, len(packets)):
        groups = by_connection(replay(packets, {cut}, model))
        assert len(groups) == 3
        for rows, connection in zip(groups, several, strict=True):
            is_right(rows, connection, "closed")


@KERNELS
def test_a_repeated_syn_is_of_its_connection_whatever_begins_beside_it(model: Model) -> None:
    """Beside a port that is used again, SYNs without an answer and questions in UDP are first seen in one look."""
    again = [Connection(CLIENT, SERVICE, BACKEND, S + 2000 * n, ">S <SA >A >FA <FA >A", isn=n) for n in (1, 5)]
    cut_off = [Connection((3, 50000 + n), SERVICE, BACKEND, S, ">S", isn=9, hops=1) for n in range(20)]
    asked = [Connection((4, 50000 + n), SERVICE, BACKEND, S, "> <", protocol=UDP) for n in range(20)]
    kernel, connections = model(), Connections()
    rows: list[dict[str, Any]] = []
    for second in range(3):
        for connection in [*(again if not second else []), *cut_off, *asked]:
            for packet in replace(connection, begin=connection.begin + second * S).packets():
                kernel.see(packet)
        rows += look(connections, kernel, (second + 2) * S)
    opened: dict[tuple[int, int], int] = defaultdict(int)
    for row in rows:
        opened[row["src_lo"] & 0xFFFF, row["src_port"]] += row["opened"]
    assert opened.pop(CLIENT) == 2
    assert set(opened.values()) == {1}
    assert len(opened) == 40


def test_a_late_packet_is_of_no_new_connection() -> None:
    connection = Connection(CLIENT, SERVICE, BACKEND, S, ">S <SA >A >FA <FA >A")
    kernel, connections = Kernel(), Connections()
    for packet in connection.packets():
        kernel.see(packet)
    rows = look(connections, kernel, 2 * S)
    *_, last = (p for p in connection.packets() if p.ifindex == CLIENT_SIDE)
    kernel.see(last)
    rows += look(connections, kernel, 3 * S)
    assert [(row["opened"], row["closed"], row["packets"]) for row in rows] == [(1, 1, 4), (0, 0, 1)]
    assert len({row["flow_id"] for row in rows}) == 1


def moving(backends: Iterable[int], script: str = "> < > <") -> list[Packet]:
    """What a client goes on sending from one port, a second for each backend that it is passed on to."""
    found: list[Packet] = []
    for second, backend in enumerate(backends, 1):
        packets = Connection(CLIENT, SERVICE, (backend, 8080), second * S, script, protocol=UDP).packets()
        found += [replace(one, ifindex=100 + backend) if one.ifindex == SERVER_SIDE else one for one in packets]
    return found


@KERNELS
@pytest.mark.parametrize("script", ["> < > <", "> >"])
def test_what_goes_on_to_another_backend_is_another_connection(script: str, model: Model) -> None:
    backends = (2, 2, 3, 2)
    packets = moving(backends, script)
    each = len(packets) // len(backends)
    rows = replay(packets, {each * number - 1 for number in range(1, 5)}, model)
    groups = sorted(by_connection(rows), key=lambda group: group[0]["start"])
    near = [packet for packet in packets if packet.ifindex == CLIENT_SIDE]
    assert [{row["backend_lo"] & 0xFFFF for row in group} for group in groups] == [{2}, {3}, {2}]
    for group, seconds in zip(groups, ((1, 2), (3,), (4,)), strict=True):
        sent = [packet.size for packet in near if packet.time // S in seconds and not packet.is_reply]
        assert (sum(row["packets"] for row in group), sum(row["bytes"] for row in group)) == (len(sent), sum(sent))
        assert [sum(row[name] for row in group) for name in ("opened", "closed")] == [1, 1]


@settings(deadline=None)
@given(st.lists(st.integers(2, 4), min_size=1, max_size=6), st.sets(st.integers(0, 47), max_size=8), st.booleans())
def test_wherever_it_is_passed_on_to_and_whenever_one_looks_nothing_is_left_out(
    backends: list[int], cuts: set[int], is_one_way: bool
) -> None:
    packets = moving(backends)
    rows = replay(packets, cuts, OneWayKernel if is_one_way else Kernel)
    near = [packet for packet in packets if packet.ifindex == CLIENT_SIDE]
    for is_reply, names in ((False, ("packets", "bytes")), (True, ("reply_packets", "reply_bytes"))):
        sizes = [packet.size for packet in near if packet.is_reply == is_reply]
        assert [sum(row[name] for row in rows) for name in names] == [len(sizes), sum(sizes)]
    groups = by_connection(rows)
    assert 1 <= len(groups) <= 1 + sum(one != other for one, other in pairwise(backends))
    for group in groups:
        assert [sum(row[name] for row in group) for name in ("opened", "closed")] == [1, 1]
        assert len({row["backend_lo"] for row in group}) == 1


@settings(deadline=None)
@given(st.data())
def test_sums_are_those_of_the_openers_interface(data: st.DataObject) -> None:
    """Many connections at once, of all kinds, read at any moments: each is there once, whole."""
    scripts = data.draw(st.lists(st.sampled_from(sorted(SCRIPTS)), min_size=1, max_size=6))
    several = [
        Connection(
            (data.draw(st.integers(1, 2)), 40000 + number),
            SERVICE,
            data.draw(st.sampled_from([BACKEND, SERVICE])),
            S + data.draw(st.integers(0, 5000)),
            script,
            isn=number + 1,
        )
        for number, script in enumerate(scripts)
    ]
    packets = [packet for connection in several for packet in connection.packets()]
    model: Model = OneWayKernel if data.draw(st.booleans()) else Kernel
    cuts = data.draw(st.sets(st.integers(0, len(packets) - 1), max_size=6))
    groups = by_connection(replay(packets, cuts, model))
    assert len(groups) == len(several)
    for rows, connection in zip(groups, several, strict=True):
        is_right(rows, connection, SCRIPTS[connection.script])


def test_many_connections_come_and_go() -> None:
    """Slots are used again; every connection has its own."""
    connections = Connections()
    opened = closed = 0
    for turn in range(20):
        kernel = Kernel()
        for number in range(200):
            client = (3, 10_000 + turn * 200 + number)
            for packet in Connection(client, SERVICE, BACKEND, turn * 3 * S, ">S <SA >A <R", isn=turn).packets():
                kernel.see(packet)
        rows = look(connections, kernel, turn * 3 * S + S)
        opened += sum(row["opened"] for row in rows)
        closed += sum(row["closed"] for row in rows)
    assert (opened, closed) == (4000, 4000)
    assert len(connections) <= 600


def test_a_clock_that_is_set_bends_no_duration() -> None:
    """Idle times and outcomes go by the monotonic clock; only what is told is in wall time, as it is then."""
    connection = Connection(CLIENT, SERVICE, BACKEND, S, ">S <SA >A >A <A >FA <FA >A")
    kernel, connections = Kernel(), Connections()
    for packet in connection.packets()[:6]:
        kernel.see(packet)
    flows, counts = kernel.take()
    before = connections.update(sight(flows, counts, {UPLINK}, connections.holds), 2 * S, WALL)
    set_back = WALL - 3600 * S
    for packet in connection.packets()[6:]:
        kernel.see(packet)
    flows, counts = kernel.take()
    after = connections.update(sight(flows, counts, {UPLINK}, connections.holds), 3 * S, set_back)
    assert (before["opened"].tolist(), before["start"].tolist(), before["time"].tolist()) == (
        [1],
        [WALL + S],
        [WALL + 2 * S],
    )
    assert (after["opened"].tolist(), after["closed"].tolist()) == ([0], [1]), "the end came, an hour before or not"
    assert after["start"].tolist() == [WALL + S]
    assert after["time"].tolist() == [WALL + S], "no row is from before its connection began"
    late = connections.update(sight(*kernel.take(), {UPLINK}, connections.holds), 3 * S + KEPT_NS, set_back + 7200 * S)
    assert (len(late["time"]), len(connections)) == (0, 0)
