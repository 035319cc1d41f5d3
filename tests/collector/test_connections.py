"""Decoding conntrack messages: against conntrack(8)'s own words, and against bytes that lie."""

from __future__ import annotations

import ipaddress
import re
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.connections import ENTRY, MESSAGE_DELETE, MESSAGE_NEW, Entries, decode
from collector.netlink import Messages

DATA = Path(__file__).parent.parent / "data" / "collector"
DUMP = (DATA / "conntrack.dump").read_bytes()
DESTROY = (DATA / "conntrack.destroy").read_bytes()
TCP_STATES = {"ESTABLISHED": 3, "TIME_WAIT": 7}
REASONS = {"truncated", "attribute", "family"}


def decoded(*datagrams: bytes, message: int = MESSAGE_NEW) -> tuple[Entries, Messages]:
    messages = Messages()
    for datagram in datagrams:
        messages.append(datagram)
    return decode(messages, message), messages


def witness() -> dict[int, dict[str, Any]]:
    """The entries of conntrack.txt by id, under the names of ENTRY."""
    entries = {}
    for line in (DATA / "conntrack.txt").read_text().splitlines():
        pairs = re.findall(r"(\w+)=(\S+)", line)
        both = {key: [value for name, value in pairs if name == key] for key, _ in pairs}
        ports = both.get("sport", both["id"][:2]), both.get("dport", ["0", "0"])
        state = re.search("|".join(TCP_STATES), line)
        is_icmp = " icmp " in line
        entries[int(both["id"][-1])] = {
            "src": both["src"][0],
            "dst": both["dst"][0],
            "backend": both["src"][1],
            "nat_src": both["dst"][1],
            "src_port": int(ports[0][0]),
            "dst_port": int(ports[1][0]),
            "backend_port": 0 if is_icmp else int(ports[0][1]),
            "nat_src_port": int(ports[0][1] if is_icmp else ports[1][1]),
            "packets": int(both["packets"][0]),
            "bytes": int(both["bytes"][0]),
            "reply_packets": int(both["packets"][1]),
            "reply_bytes": int(both["bytes"][1]),
            "tcp_state": TCP_STATES[state[0]] if state else 0,
            "assured": "[ASSURED]" in line,
            "replied": "[UNREPLIED]" not in line,
        }
    return entries


def readable(entry: np.void) -> dict[str, Any]:
    ends = {
        end: ipaddress.IPv6Address(int(entry[f"{end}_hi"]) << 64 | int(entry[f"{end}_lo"]))
        for end in ("src", "dst", "backend", "nat_src")
    }
    return {
        **{end: str(address.ipv4_mapped or address) for end, address in ends.items()},
        **{name: int(entry[name]) for name in witness_numbers()},
        "assured": bool(int(entry["status"]) & 4),
        "replied": bool(int(entry["status"]) & 2),
    }


def witness_numbers() -> list[str]:
    counters = ["packets", "bytes", "reply_packets", "reply_bytes"]
    return ["src_port", "dst_port", "backend_port", "nat_src_port", *counters, "tcp_state"]


def test_a_dump_says_what_conntrack_prints() -> None:
    entries, messages = decoded(DUMP)
    assert {int(entry["id"]): readable(entry) for entry in entries} == witness()
    assert not +messages.flaws


def test_a_connection_keeps_its_key_from_dump_to_ending() -> None:
    living, _ = decoded(DUMP)
    ended, _ = decoded(DESTROY, message=MESSAGE_DELETE)
    assert len(set(living["key"].tolist())) == len(living)
    assert sorted(living["key"].tolist()) == sorted(ended["key"].tolist())
    assert (ended["stop"] > ended["start"]).all()
    assert (living["stop"] == 0).all()


def test_messages_of_another_type_are_no_rows() -> None:
    entries, messages = decoded(DUMP, message=MESSAGE_DELETE)
    assert len(entries) == 0
    assert not +messages.flaws


def test_rows_do_not_depend_on_how_messages_are_packed() -> None:
    """One datagram, one each, and many copies give the same rows: shapes are found across datagrams."""
    singles = list(split(DUMP))
    together, _ = decoded(DUMP)
    apart, _ = decoded(*reversed(singles))
    many, _ = decoded(*singles * 50)
    by_key = np.sort(together, order="key")
    assert np.array_equal(by_key, np.sort(apart, order="key"))
    assert np.array_equal(np.repeat(by_key, 50), np.sort(many, order="key"))


def split(datagram: bytes) -> list[bytes]:
    messages = Messages()
    messages.append(datagram)
    return list(messages.contents())


def test_a_length_that_lies_costs_its_datagram_and_no_other() -> None:
    first, second, *_ = split(DUMP)
    lying = struct.pack("=I", len(first) + 4) + first[4:]
    entries, messages = decoded(lying, second)
    assert len(entries) == 1
    assert messages.flaws["truncated"] == 1


def test_an_attribute_that_lies_costs_its_message_and_no_other() -> None:
    first, second, *_ = split(DUMP)
    lying = first[:20] + struct.pack("=H", 0xFFFF) + first[22:]
    entries, messages = decoded(lying, second)
    assert len(entries) == 1
    assert messages.flaws["attribute"] == 1


def test_an_unknown_family_is_counted() -> None:
    first, second, *_ = split(DUMP)
    entries, messages = decoded(first[:16] + b"\x63" + first[17:], second)
    assert len(entries) == 1
    assert messages.flaws["family"] == 1


@given(st.binary(max_size=600))
def test_arbitrary_bytes_never_raise(noise: bytes) -> None:
    entries, messages = decoded(noise)
    assert entries.dtype == ENTRY
    assert set(messages.flaws) <= REASONS


@settings(max_examples=300)
@given(st.data())
def test_damaged_messages_never_raise_and_never_displace_others(data: st.DataObject) -> None:
    """The damaged copy may decode to something else or to nothing; what lies in other datagrams is whole."""
    damaged = bytearray(DUMP)
    for position, value in data.draw(
        st.lists(st.tuples(st.integers(0, len(DUMP) - 1), st.integers(0, 255)), min_size=1, max_size=8)
    ):
        damaged[position] = value
    whole, _ = decoded(DUMP)
    entries, messages = decoded(bytes(damaged), DUMP)
    assert set(whole["key"].tolist()) <= set(entries["key"].tolist())
    assert set(messages.flaws) <= REASONS
    assert len(entries) + sum(messages.flaws.values()) >= len(whole)


def test_a_large_table_needs_no_more_room_than_it_takes() -> None:
    """The buffer grows: more messages than its first size holds are all there."""
    singles = split(DUMP)
    entries, messages = decoded(*singles * 1000)
    assert messages.size_bytes > 1024 * 1024
    assert len(entries) == 1000 * len(singles)


@pytest.mark.parametrize("size", [0, 1, 15])
def test_less_than_a_header_is_truncated(size: int) -> None:
    entries, messages = decoded(DUMP[:size])
    assert len(entries) == 0
    assert messages.flaws["truncated"] == (1 if size else 0)
