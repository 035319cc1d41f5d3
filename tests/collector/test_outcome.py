"""What one look at an entry says of a connection's end."""

from __future__ import annotations

import ipaddress
from typing import Any

import numpy as np
import pytest

from collector.connections import ENTRY, Entries
from collector.outcome import NO_REPLY_NS, judge
from collector.schema import OUTCOMES

SYN_SENT, SYN_RECV, ESTABLISHED, FIN_WAIT, LAST_ACK, TIME_WAIT, CLOSE = 1, 2, 3, 4, 6, 7, 8
REPLIED, ASSURED = 2, 6
TCP, UDP = 6, 17
START = 10**18


def entry(protocol: int, state: int, status: int, replies: int, dst: str = "10.0.0.1") -> Entries:
    row = np.zeros(1, ENTRY)
    address = ipaddress.ip_address(dst)
    number = int(address) | (0xFFFF << 32 if address.version == 4 else 0)
    values: dict[str, Any] = {
        "protocol": protocol,
        "tcp_state": state,
        "status": status,
        "reply_packets": replies,
        "start": START,
        "dst_hi": number >> 64,
        "dst_lo": number & (1 << 64) - 1,
    }
    for name, value in values.items():
        row[name] = value
    return row


def outcome(row: Entries, *, ended: bool = False, age_ns: int = 0) -> str:
    return OUTCOMES[int(judge(row, np.array([ended]), START + age_ns)[0])]


@pytest.mark.parametrize(
    ("state", "status", "replies", "ended", "expected"),
    [
        (SYN_SENT, 0, 0, False, "open"),
        (SYN_SENT, 0, 0, True, "no_reply"),
        (CLOSE, 0, 0, True, "no_reply"),  # the opener itself gave up with a reset
        (CLOSE, 0, 1, True, "refused"),  # the kernel drops it before it marks it as replied
        (CLOSE, REPLIED, 1, False, "reset"),  # after the SYN-ACK, before the handshake was done
        (ESTABLISHED, ASSURED, 5, False, "open"),
        (CLOSE, ASSURED, 5, False, "reset"),
        (CLOSE, ASSURED, 5, True, "reset"),
        (FIN_WAIT, ASSURED, 5, False, "open"),
        (FIN_WAIT, ASSURED, 5, True, "closed"),
        (LAST_ACK, ASSURED, 5, True, "closed"),
        (TIME_WAIT, ASSURED, 5, False, "closed"),
        (ESTABLISHED, ASSURED, 5, True, "open"),  # dropped by the kernel in mid-life: nothing is known of its end
        (SYN_RECV, REPLIED, 1, True, "open"),
    ],
)
def test_tcp(state: int, status: int, replies: int, ended: bool, expected: str) -> None:
    assert outcome(entry(TCP, state, status, replies), ended=ended) == expected


def test_a_syn_is_unanswered_after_three_seconds() -> None:
    waiting = entry(TCP, SYN_SENT, 0, 0)
    assert outcome(waiting, age_ns=NO_REPLY_NS - 1) == "open"
    assert outcome(waiting, age_ns=NO_REPLY_NS) == "no_reply"


def test_udp_is_unanswered_only_at_its_end() -> None:
    question = entry(UDP, 0, 0, 0)
    assert outcome(question, age_ns=20 * NO_REPLY_NS) == "open"
    assert outcome(question, ended=True) == "no_reply"
    assert outcome(entry(UDP, 0, REPLIED, 1), ended=True) == "open"


def test_without_accounting_the_replied_mark_is_enough() -> None:
    assert outcome(entry(UDP, 0, REPLIED, 0), ended=True) == "open"


@pytest.mark.parametrize(
    ("dst", "expected"),
    [
        ("224.0.0.251", "open"),
        ("239.1.2.3", "open"),
        ("255.255.255.255", "open"),
        ("ff02::fb", "open"),
        ("223.255.255.255", "no_reply"),
        ("240.0.0.1", "no_reply"),
        ("fe80::1", "no_reply"),
    ],
)
def test_one_to_many_owes_no_reply(dst: str, expected: str) -> None:
    assert outcome(entry(UDP, 0, 0, 0, dst), ended=True) == expected
