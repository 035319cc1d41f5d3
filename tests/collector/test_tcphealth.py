"""TCP health is joined to the flow of its connection, once, whichever comes first."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from collector.ebpf.tcp import ANSWERER, OBSERVATION, OPENER, UNKNOWN
from collector.tcphealth import WAIT_READS, TcpHealth
from collector.wallclock import WallClock

CLIENT, SERVICE, BACKEND, NODE = range(1, 5)
SECOND = 1_000_000_000


def observed(
    local: tuple[int, int],
    remote: tuple[int, int],
    role: int,
    connect_us: int = 0,
    srtt_us: int = 0,
    resent: int = 0,
    since: int = 1,
) -> tuple[Any, ...]:
    return (since, (0, local[0]), (0, remote[0]), local[1], remote[1], 1, connect_us, srtt_us, resent, role, 0, 0)


def observations(*rows: tuple[Any, ...]) -> np.ndarray[Any, Any]:
    return np.array(list(rows), OBSERVATION)


def flows(
    *ends: tuple[tuple[int, int], tuple[int, int], tuple[int, int], tuple[int, int]],
    protocol: int = 6,
    start: tuple[int, ...] = (),
) -> Any:
    """Rows of (src, dst, backend, nat_src), each an address and a port."""
    columns: dict[str, Any] = {"protocol": np.full(len(ends), protocol, np.uint8), "start": np.full(len(ends), SECOND)}
    if start:
        columns["start"] = np.array(start)
    for at, end in enumerate(("src", "dst", "backend", "nat_src")):
        columns[f"{end}_hi"] = np.zeros(len(ends), np.uint64)
        columns[f"{end}_lo"] = np.array([row[at][0] for row in ends], np.uint64)
        columns[f"{end}_port"] = np.array([row[at][1] for row in ends], np.uint16)
    return columns


TRANSLATED = ((CLIENT, 4000), (SERVICE, 80), (BACKEND, 8080), (NODE, 5000))
DIRECT = ((CLIENT, 4001), (BACKEND, 8080), (BACKEND, 8080), (CLIENT, 4001))


def test_each_end_knows_the_connection_by_its_own_addresses() -> None:
    joined = TcpHealth().join(
        flows(DIRECT, TRANSLATED),
        observations(
            observed((BACKEND, 8080), (NODE, 5000), ANSWERER, 0, 70, 2),
            observed((CLIENT, 4000), (SERVICE, 80), OPENER, 900, 50, 3),
        ),
        0,
    )
    assert joined["connect_us"].tolist() == [0, 900]
    assert joined["srtt_us"].tolist() == [0, 50], "the opener's, although the answerer's is known too"
    assert joined["retransmits"].tolist() == [0, 5]


def test_an_older_socket_may_be_either_end() -> None:
    joined = TcpHealth().join(
        flows(TRANSLATED, DIRECT),
        observations(
            observed((BACKEND, 8080), (NODE, 5000), UNKNOWN, 0, 70, 1),
            observed((CLIENT, 4001), (BACKEND, 8080), UNKNOWN, 0, 60, 1),
        ),
        0,
    )
    assert joined["srtt_us"].tolist() == [70, 60]


def test_a_role_is_not_taken_for_the_other() -> None:
    """An answerer's socket at the ends of a flow in which they are the opener is another connection's."""
    health = TcpHealth()
    joined = health.join(flows(DIRECT), observations(observed((CLIENT, 4001), (BACKEND, 8080), ANSWERER, 0, 70, 1)), 0)
    assert joined["srtt_us"].tolist() == [0]


def test_connections_that_reuse_their_ends_are_told_apart_by_time() -> None:
    """Three flows, a second apart; of two connections the openers' sockets told, of one the answerer's too."""
    ends = ((CLIENT, 4000), (SERVICE, 80))
    columns = flows(TRANSLATED, DIRECT, TRANSLATED, TRANSLATED, start=(1 * SECOND, 1 * SECOND, 2 * SECOND, 3 * SECOND))
    joined = TcpHealth().join(
        columns,
        observations(
            observed(*ends, OPENER, 900, 50, since=3 * SECOND - 7),
            observed(*ends, OPENER, 700, 40, since=2 * SECOND - 7),
            observed((BACKEND, 8080), (NODE, 5000), ANSWERER, 0, 30, 5, since=1 * SECOND + 50_000_000),
        ),
        0,
    )
    assert joined["connect_us"].tolist() == [0, 0, 700, 900]
    assert joined["srtt_us"].tolist() == [30, 0, 40, 50]
    assert joined["retransmits"].tolist() == [5, 0, 0, 0]


def test_a_flow_that_began_before_its_opener_is_another_connections() -> None:
    """The next one between the same ends has not been shipped yet."""
    health = TcpHealth()
    word = observations(observed((CLIENT, 4000), (SERVICE, 80), OPENER, 900, since=2 * SECOND))
    assert health.join(flows(TRANSLATED, start=(1 * SECOND,)), word, 0)["connect_us"].tolist() == [0]
    assert health.join(flows(TRANSLATED, start=(2 * SECOND,)), observations(), 0)["connect_us"].tolist() == [900]


def test_instants_are_compared_by_the_wall_clock() -> None:
    word = observations(observed((CLIENT, 4000), (SERVICE, 80), OPENER, 900, since=1))
    columns = flows(TRANSLATED, start=(5 * SECOND,))
    assert TcpHealth().join(columns, word, 5 * SECOND - 1)["connect_us"].tolist() == [900]
    assert TcpHealth().join(columns, word, 6 * SECOND)["connect_us"].tolist() == [0]


def test_a_clock_that_is_set_parts_no_connection_from_its_socket() -> None:
    """A flow keeps the start that it was first told with; its socket's words go on coming."""
    for step in (3600 * SECOND, -3600 * SECOND):
        clock = WallClock(SECOND)
        clock.look(15 * SECOND, 1000 * SECOND)
        clock.look(20 * SECOND, 1000 * SECOND + step)
        ends, others = ((CLIENT, 4000), (SERVICE, 80)), ((CLIENT, 4001), (BACKEND, 8080))
        columns = flows(TRANSLATED, DIRECT, TRANSLATED, start=(1010 * SECOND, 1011 * SECOND, 1019 * SECOND + step))
        words = observations(
            observed(*ends, OPENER, 0, 50, since=10 * SECOND),
            observed(*others, OPENER, 0, 60, since=11 * SECOND),
            observed(*ends, OPENER, 900, 70, since=19 * SECOND),
        )
        joined = TcpHealth().join(columns, words, clock.ahead(words["since"]))
        assert joined["srtt_us"].tolist() == [50, 60, 70]
        assert joined["connect_us"].tolist() == [0, 0, 900]


def test_one_connection_of_weeks_changes_nothing_for_those_of_now() -> None:
    now, week = 100 * 24 * 3600 * SECOND, 7 * 24 * 3600 * SECOND
    ends = ((CLIENT, 4000), (SERVICE, 80))
    columns = flows(DIRECT, TRANSLATED, TRANSLATED, start=(now - 2 * week, now, now + SECOND))
    words = observations(observed(*ends, OPENER, 700, since=now), observed(*ends, OPENER, 900, since=now + SECOND))
    assert TcpHealth().join(columns, words, 0)["connect_us"].tolist() == [0, 700, 900]


def test_what_comes_before_its_flow_waits_for_it() -> None:
    health = TcpHealth()
    before = health.join(flows(), observations(observed((CLIENT, 4000), (SERVICE, 80), OPENER, 900, 50, 3)), 0)
    assert before["connect_us"].tolist() == []
    after = health.join(flows(TRANSLATED), observations(), 0)
    assert (after["connect_us"].tolist(), after["retransmits"].tolist()) == ([900], [3])
    assert health.join(flows(TRANSLATED), observations(), 0)["connect_us"].tolist() == [0], "told once"
    assert (health.joined, health.unmatched) == (1, 0)


def test_what_no_flow_comes_for_is_given_up_and_counted() -> None:
    health = TcpHealth()
    health.join(flows(), observations(observed((CLIENT, 4000), (SERVICE, 80), OPENER, 900, 50, 3)), 0)
    for _ in range(WAIT_READS):
        assert health.unmatched == 0
        health.join(flows(), observations(), 0)
    assert health.unmatched == 1
    assert health.join(flows(TRANSLATED), observations(), 0)["connect_us"].tolist() == [0]


def test_other_protocols_have_none() -> None:
    observation = observations(observed((CLIENT, 4000), (SERVICE, 80), OPENER, 900))
    assert TcpHealth().join(flows(TRANSLATED, protocol=17), observation, 0)["connect_us"].tolist() == [0]


END = st.tuples(st.integers(1, 3), st.integers(1, 3))


@given(st.lists(st.tuples(st.lists(st.tuples(END, END)), st.lists(st.tuples(END, END, st.integers(0, 2)))), max_size=8))
def test_every_segment_sent_again_is_told_once_or_given_up(reads: Any) -> None:
    """Over any flows and observations: what is joined, what waits and what was given up is all that was observed."""
    health = TcpHealth()
    observed_segments = told = 0
    for rows, words in reads:
        some = observations(*(observed(local, remote, role, 0, 0, 1) for local, remote, role in words))
        joined = health.join(flows(*((src, dst, dst, src) for src, dst in rows)), some, 0)
        observed_segments += len(words)
        told += int(joined["retransmits"].sum())
        assert told == health.joined
    for _ in range(WAIT_READS + 1):
        health.join(flows(), observations(), 0)
    assert told + health.unmatched == observed_segments
