"""Questions and answers make exchanges, each told once."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest

from collector.dns import exchanges
from collector.dns.exchanges import ANSWER_NS, Exchanges, Party
from collector.dns.messages import Answer, Message
from collector.schema import DNS, NO_ANSWER, encode

S = 1_000_000_000


def address(text: str) -> bytes:
    packed = ipaddress.ip_address(text).packed
    return packed if len(packed) == 16 else bytes(10) + b"\xff\xff" + packed


PARTY: Party = (address("10.244.1.5"), 40000, address("10.96.0.10"), 53, 17)


def asked(name: str = "web.shop", number: int = 1) -> Message:
    return Message(number, False, False, 0, name, 1, ())


def told(name: str = "web.shop", number: int = 1, rcode: int = 0, *addresses: str) -> Message:
    answers = tuple(Answer(ipaddress.ip_address(text).packed, 30) for text in addresses)
    return Message(number, True, False, rcode, name, 1, answers)


def rows(columns: Any) -> list[dict[str, Any]]:
    encode(DNS, columns)  # it is a batch
    plain = {name: values if isinstance(values, list) else values.tolist() for name, values in columns.items()}
    return [dict(zip(plain, row, strict=True)) for row in zip(*plain.values(), strict=True)]


def test_an_answer_with_two_addresses_is_two_rows_of_one_exchange() -> None:
    tracked = Exchanges()
    tracked.add(asked(), PARTY, 5 * S)
    tracked.add(told("web.shop", 1, 0, "10.96.1.1", "fd00::1"), PARTY, 5 * S + 2_000_000)
    first, second = rows(tracked.take(6 * S))
    assert (first["exchanges"], second["exchanges"]) == (1, 0)
    assert (first["question"], first["type"], first["rcode"], first["protocol"]) == ("web.shop", 1, 0, 17)
    assert (first["time"], first["latency_ns"]) == (5 * S + 2_000_000, 2_000_000)
    assert (first["client_hi"], first["client_lo"]) == (0, 0xFFFF << 32 | 0x0AF40105)
    assert (first["server_lo"], first["answer_lo"], first["ttl_s"]) == (0xFFFF << 32 | 0x0A60000A, 0xFFFF0A600101, 30)
    assert (second["answer_hi"], second["answer_lo"]) == (0xFD00 << 48, 1)
    assert rows(tracked.take(7 * S)) == []


def test_a_question_sent_again_is_the_same_exchange() -> None:
    tracked = Exchanges()
    tracked.add(asked(), PARTY, 1 * S)
    tracked.add(asked(), PARTY, 2 * S)
    tracked.add(told("web.shop", 1, 3), PARTY, 3 * S)
    (row,) = rows(tracked.take(3 * S))
    assert (row["rcode"], row["latency_ns"], row["exchanges"], row["answer_lo"]) == (3, 2 * S, 1, 0)


def test_every_sending_may_be_answered_and_is_one_exchange_all_the_same() -> None:
    """As where a client waits for 1 s and its server takes 2: it answers both."""
    tracked = Exchanges()
    for second in (1, 2):
        tracked.add(asked(), PARTY, second * S)
    for second in (3, 4):
        tracked.add(told("web.shop", 1, 0, "10.96.1.1", "10.96.1.2"), PARTY, second * S)
    found = rows(tracked.take(4 * S))
    assert [row["exchanges"] for row in found] == [1, 0, 0, 0], "what else is told has its addresses alone"
    tracked.add(asked(), PARTY, 5 * S)
    tracked.add(told(), PARTY, 6 * S)
    assert [row["latency_ns"] for row in rows(tracked.take(6 * S))] == [1 * S]


def test_an_answer_that_comes_too_late_is_none_of_another_exchange() -> None:
    tracked = Exchanges()
    tracked.add(asked(), PARTY, 1 * S)
    (row,) = rows(tracked.take(1 * S + ANSWER_NS))
    tracked.add(told(), PARTY, 2 * S + ANSWER_NS)
    assert row["rcode"] == NO_ANSWER
    assert rows(tracked.take(3 * S + ANSWER_NS)) == []
    tracked.add(told(), PARTY, 4 * S + ANSWER_NS)
    assert len(rows(tracked.take(4 * S + ANSWER_NS))) == 1, "its question was not seen"


def test_a_clock_that_is_set_back_holds_up_no_question() -> None:
    tracked = Exchanges()
    tracked.add(asked(), PARTY, 3600 * S)
    assert rows(tracked.take(3600 * S - 1)) == [], "packets are taken in a moment after the time of the look"
    tracked.add(asked("b"), PARTY, 10 * S)
    assert [row["question"] for row in rows(tracked.take(11 * S))] == ["web.shop"]
    assert [row["question"] for row in rows(tracked.take(10 * S + ANSWER_NS))] == ["b"]


def test_questions_of_other_names_numbers_and_types_are_apart() -> None:
    tracked = Exchanges()
    for message in (asked("a", 1), asked("b", 1), asked("a", 2)):
        tracked.add(message, PARTY, 1 * S)
    tracked.add(told("a", 1), PARTY, 2 * S)
    assert len(rows(tracked.take(2 * S))) == 1
    assert [row["rcode"] for row in rows(tracked.take(1 * S + ANSWER_NS))] == [NO_ANSWER, NO_ANSWER]


def test_nobody_answers_in_time() -> None:
    tracked = Exchanges()
    tracked.add(asked(), PARTY, 1 * S)
    assert rows(tracked.take(1 * S + ANSWER_NS - 1)) == []
    (row,) = rows(tracked.take(1 * S + ANSWER_NS))
    assert (row["rcode"], row["time"], row["latency_ns"]) == (NO_ANSWER, 1 * S + ANSWER_NS, ANSWER_NS)


def test_an_answer_whose_question_was_not_seen_has_no_latency() -> None:
    tracked = Exchanges()
    tracked.add(told("web.shop", 1, 0, "10.96.1.1"), PARTY, 1 * S)
    (row,) = rows(tracked.take(2 * S))
    assert (row["exchanges"], row["latency_ns"]) == (1, 0)


def test_waiting_questions_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchanges, "MAX_PENDING", 2)
    tracked = Exchanges()
    for number in range(3):
        tracked.add(asked(number=number), PARTY, number * S)
    (row,) = rows(tracked.take(2 * S))
    assert row["rcode"] == NO_ANSWER
    for number in range(3, 7):
        tracked.add(asked(number=number), PARTY, number * S)
    assert [row["rcode"] for row in rows(tracked.take(6 * S))] == [NO_ANSWER] * 4
    for number in (0, 3, 4):
        tracked.add(told(number=number), PARTY, 7 * S)
    assert len(rows(tracked.take(7 * S))) == 1, "the last two that were given up are known, the first no longer"
