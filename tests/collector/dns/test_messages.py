"""DNS messages, by scapy's word and by hand, and bytes that are none."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scapy.layers.dns import DNS, DNSQR, DNSRR

from collector.dns.messages import MalformedError, Message, parse

WEB = "web.shop.svc.cluster.local"


def query(name: str, kind: str = "A", number: int = 77) -> bytes:
    return bytes(DNS(id=number, rd=1, qd=DNSQR(qname=name, qtype=kind)))


def reply(name: str, *records: Any, kind: str = "A", rcode: int = 0, cut: int = 0) -> bytes:
    return bytes(DNS(id=77, qr=1, tc=cut, rcode=rcode, qd=DNSQR(qname=name, qtype=kind), an=list(records)))


def addresses(message: Message) -> list[tuple[str, int]]:
    return [(str(ipaddress.ip_address(answer.address)), answer.ttl_s) for answer in message.answers]


def test_a_query() -> None:
    message = parse(query(f"{WEB}."))
    assert (message.number, message.is_reply, message.name, message.kind) == (77, False, WEB, 1)
    assert message.answers == ()


def test_names_are_in_lower_case_and_safe_as_text() -> None:
    assert parse(query("WWW.Example.COM")).name == "www.example.com"
    odd = query("a-b").replace(b"\x03a-b", b'\x03a"\n')
    assert parse(odd).name == "a\\034\\010"
    assert parse(query("_http._tcp.*.example.com")).name == "_http._tcp.*.example.com"
    assert parse(query(".")).name == ""


def test_addresses_with_their_ttl() -> None:
    found = parse(reply(WEB, DNSRR(rrname=WEB, ttl=30, rdata="10.96.0.1"), DNSRR(rrname=WEB, ttl=5, rdata="10.96.0.2")))
    assert found.is_reply
    assert addresses(found) == [("10.96.0.1", 30), ("10.96.0.2", 5)]


def test_ipv6_addresses() -> None:
    found = parse(reply(WEB, DNSRR(rrname=WEB, type="AAAA", ttl=30, rdata="fd00::1"), kind="AAAA"))
    assert (found.kind, addresses(found)) == (28, [("fd00::1", 30)])


def test_aliases_are_followed_and_the_least_ttl_holds() -> None:
    found = parse(
        reply(
            "db.example.com",
            DNSRR(rrname="db.example.com", type="CNAME", ttl=60, rdata="db.eu.example.net"),
            DNSRR(rrname="db.eu.example.net", type="CNAME", ttl=10, rdata="host.example.net"),
            DNSRR(rrname="host.example.net", ttl=300, rdata="203.0.113.9"),
            DNSRR(rrname="stray.example.org", ttl=300, rdata="198.51.100.66"),
        )
    )
    assert addresses(found) == [("203.0.113.9", 10)]


def test_aliases_in_a_ring_end() -> None:
    ring = [
        DNSRR(rrname="a.example", type="CNAME", ttl=9, rdata="b.example"),
        DNSRR(rrname="b.example", type="CNAME", ttl=9, rdata="a.example"),
    ]
    assert parse(reply("a.example", *ring)).answers == ()


def test_an_answer_that_says_no_or_is_cut() -> None:
    assert parse(reply("nope.example.com", rcode=3)).rcode == 3
    assert parse(reply(WEB, cut=1)).is_cut


def test_a_record_that_is_cut_short_keeps_those_before_it() -> None:
    whole = reply(WEB, DNSRR(rrname=WEB, ttl=30, rdata="10.96.0.1"), DNSRR(rrname=WEB, ttl=5, rdata="10.96.0.2"))
    assert addresses(parse(whole[:-2])) == [("10.96.0.1", 30)]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes(11),
        bytes(12),  # no question
        query(WEB)[:-5],
        query(WEB)[:20],
        bytes.fromhex("004d01000001000000000000c00c00010001"),  # a name that points at itself
        bytes.fromhex("004d01000001000000000000c0100001000103777777"),  # forward
        bytes.fromhex("004d010000010000000000008000010001"),  # a label of no known kind
        bytes.fromhex("004d29000001000000000000") + b"\3www\0\0\1\0\1",  # an update
    ],
)
def test_what_is_no_such_message(data: bytes) -> None:
    with pytest.raises(MalformedError):
        parse(data)


def test_a_name_of_more_than_255_bytes_is_none() -> None:
    label = b"\x3f" + b"a" * 63
    with pytest.raises(MalformedError, match="too long"):
        parse(bytes.fromhex("004d01000001000000000000") + label * 4 + b"\0\0\1\0\1")


@given(st.binary(max_size=400))
@example(bytes.fromhex("004d81800001ffff00000000") + b"\0\0\1\0\1" + b"\xc0\x0c\0\1\0\1\0\0\0\1\0\0" * 300)
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    try:
        message = parse(data)
    except MalformedError:
        return
    assert message.name.isascii()
    assert message.name.isprintable()


@given(st.data())
def test_damaged_replies_raise_nothing_else(data: st.DataObject) -> None:
    whole = bytearray(
        reply(WEB, DNSRR(rrname=WEB, type="CNAME", ttl=3, rdata="x.y"), DNSRR(rrname="x.y", rdata="10.0.0.1"))
    )
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        parse(bytes(whole))
    except MalformedError:
        return
