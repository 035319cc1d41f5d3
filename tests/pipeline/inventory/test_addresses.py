"""Addresses as two halves, and back to text."""

from __future__ import annotations

import ipaddress

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.inventory import addresses
from pipeline.inventory.parts import Cidr

HALVES = {"hi": pl.UInt64(), "lo": pl.UInt64()}


def test_v4_is_the_mapped_address() -> None:
    assert addresses.parse("10.1.2.3") == (0, 0xFFFF0A010203)
    assert addresses.parse("::ffff:10.1.2.3") == addresses.parse("10.1.2.3")


def test_v6_is_split_in_network_order() -> None:
    assert addresses.parse("fd00::1") == (0xFD00 << 48, 1)


def test_text_that_is_no_address_is_refused() -> None:
    for parse in (addresses.parse, addresses.parse_object):
        with pytest.raises(ValueError, match="10\\.0\\.0"):
            parse("10.0.0")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("010.000.001.200", "10.0.1.200"),
        ("10.0.0.010", "10.0.0.10"),
        ("0.0.0.0", "0.0.0.0"),  # noqa: S104
        ("::ffff:010.0.0.1", "10.0.0.1"),
        ("fd00::0001", "fd00::1"),
    ],
)
def test_an_object_may_write_zeros_before_a_number(written: str, meant: str) -> None:
    assert addresses.parse_object(written) == addresses.parse(meant)


def test_an_objects_range_may_too() -> None:
    """The API server takes such ranges in policies."""
    assert Cidr("010.001.0.0/016") == Cidr("10.1.0.0/16")


@given(st.lists(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))))
def test_columns_of_text_survive_the_way_there_and_back(
    listed: list[ipaddress.IPv4Address | ipaddress.IPv6Address],
) -> None:
    """Whatever the mix of families, every address comes back as its canonical text."""
    texts = pl.Series("text", [str(address) for address in listed], dtype=pl.String)
    halves = addresses.halves_of(texts)
    expected = [str(getattr(address, "ipv4_mapped", None) or address) for address in listed]
    assert halves.select(text=addresses.text("hi", "lo"))["text"].to_list() == expected
    assert [addresses.Address(*pair) for pair in halves.iter_rows()] == [addresses.of(address) for address in listed]


def test_text_without_address_becomes_null_in_its_place() -> None:
    halves = addresses.halves_of(pl.Series(["10.0.0.1", "nobody", None, "10.0.0.1"]))
    assert halves["lo"].is_null().to_list() == [False, True, True, False]
    assert addresses.text_of(halves["hi"], halves["lo"]).to_list() == ["10.0.0.1", None, None, "10.0.0.1"]


@given(st.ip_addresses())
def test_loopback_is_what_the_standard_library_says(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    assert is_loopback(address) == (getattr(address, "ipv4_mapped", None) or address).is_loopback


@pytest.mark.parametrize("text", ["127.0.0.0", "127.255.255.255", "126.255.255.255", "128.0.0.0", "::1", "::2", "1::1"])
def test_loopback_at_its_borders(text: str) -> None:
    address = ipaddress.ip_address(text)
    assert is_loopback(address) == address.is_loopback


def is_loopback(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    frame = pl.DataFrame([addresses.of(address)], schema=HALVES, orient="row")
    return bool(addresses.node_locals(frame["hi"].to_numpy(), frame["lo"].to_numpy()).size)
