"""Heads find the row of their connection, once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from collector.heads.names import Head
from collector.heads.waiting import SIGHTING, WAIT_READS, WaitingHeads
from collector.schema import FLOWS, encode, filled

MS = 1_000_000
CLIENT, SERVICE, POD, NODE = ((0, 0xFFFF << 32 | host) for host in (1, 2, 3, 4))


def flows(*rows: dict[str, Any]) -> dict[str, Any]:
    """Rows from CLIENT through SERVICE to POD, TCP, masqueraded as NODE."""
    plain: dict[str, Any] = {"protocol": 6, "start": 0, "src_port": 1000, "dst_port": 80, "backend_port": 8080}
    ends = zip(("src", "dst", "backend", "nat_src"), (CLIENT, SERVICE, POD, NODE), strict=True)
    plain |= {f"{end}_{half}": value for end, pair in ends for half, value in zip(("hi", "lo"), pair, strict=True)}
    plain["nat_src_port"] = 5000
    return {
        name: np.array([(plain | row).get(name, 0) for row in rows], kind) for name, kind in FLOWS.columns_of(1).items()
    }


def seen(*heads: tuple[int, tuple[int, int], int, tuple[int, int], int, bool]) -> Any:
    return np.array([(t, s, d, sp, dp, answerers) for t, s, sp, d, dp, answerers in heads], SIGHTING)


def told(columns: dict[str, Any]) -> list[tuple[str, str, str]]:
    encode(FLOWS, filled(FLOWS, columns))  # it is a batch
    return list(zip(columns["server_name"], columns["method"], columns["path"], strict=True))


def heads(*names: str) -> Sequence[Head]:
    return [Head(2, name, "GET", "/") for name in names]


NONE = ("", "", "")
OPENERS = (5 * MS, CLIENT, 1000, SERVICE, 80, False)
ANSWERERS = (6 * MS, NODE, 5000, POD, 8080, True)


def test_a_head_is_told_by_either_ends_addresses() -> None:
    for sighting in (OPENERS, ANSWERERS):
        columns = WaitingHeads().join(flows({"src_port": 7}, {"nat_src_port": 5000}), seen(sighting), heads("a"))
        rows = told(columns)
        assert ("a", "GET", "/") in rows
        assert columns["app_protocol"].tolist() == [2 if row != NONE else 0 for row in rows]
    assert told(WaitingHeads().join(flows({"src_port": 7, "nat_src_port": 9}), seen(OPENERS), heads("a"))) == [NONE]


def test_one_head_seen_at_both_ends_is_told_once() -> None:
    waiting = WaitingHeads()
    assert told(waiting.join(flows({}), seen(ANSWERERS, OPENERS), heads("late", "early"))) == [("early", "GET", "/")]
    assert (waiting.joined, waiting.repeated, waiting.unmatched) == (1, 1, 0)
    assert told(waiting.join(flows({}), seen(), [])) == [NONE]


def test_a_head_waits_for_its_flow_and_then_no_more() -> None:
    waiting = WaitingHeads()
    waiting.join(flows({"src_port": 7}), seen(OPENERS), heads("a"))
    waiting.join(flows(), seen(), [])
    assert told(waiting.join(flows({}), seen(), [])) == [("a", "GET", "/")]
    waiting.join(flows({"src_port": 7}), seen(OPENERS), heads("b"))
    for _ in range(WAIT_READS):
        waiting.join(flows(), seen(), [])
    assert waiting.unmatched == 1
    assert told(waiting.join(flows({}), seen(), [])) == [NONE]


def test_time_tells_connections_of_the_same_ends_apart() -> None:
    rows = flows({"start": 0}, {"start": 900 * MS}, {"start": 400 * MS})
    first, second = (((t * MS, *OPENERS[1:])) for t in (10, 905))
    assert [name for name, *_ in told(WaitingHeads().join(rows, seen(second, first), heads("second", "first")))] == [
        "first",
        "second",
        "",
    ]
    assert told(WaitingHeads().join(flows({"start": 900 * MS}), seen(first), heads("a"))) == [NONE]


def test_other_protocols_have_no_heads() -> None:
    assert told(WaitingHeads().join(flows({"protocol": 17}), seen(OPENERS), heads("a"))) == [NONE]
