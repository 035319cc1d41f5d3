"""Address ranges: all addresses in, the cluster's out, few enough to read."""

from __future__ import annotations

import ipaddress

from hypothesis import given
from hypothesis import strategies as st

from pipeline.policy.blocks import cover

V4 = st.integers(0xC6336400, 0xC63364FF).map(lambda number: str(ipaddress.IPv4Address(number)))


def text(*addresses: str, most: int = 16, keep_out: tuple[str, ...] = ()) -> list[str]:
    networks = [ipaddress.ip_network(range_) for range_ in keep_out]
    return [str(block) for block in cover(addresses, networks, most)]


def test_neighbours_are_one_range_and_others_stay_apart() -> None:
    assert text("198.51.100.4", "198.51.100.5", "203.0.113.9") == ["198.51.100.4/31", "203.0.113.9/32"]


def test_beyond_the_cap_the_closest_are_merged() -> None:
    assert text("198.51.100.1", "198.51.100.2", "203.0.113.9", most=2) == ["198.51.100.0/30", "203.0.113.9/32"]


def test_ranges_of_the_cluster_are_never_taken_in() -> None:
    addresses = ("10.0.0.1", "10.0.0.6", "10.0.9.1")
    assert text(*addresses, most=2) == ["10.0.0.0/29", "10.0.9.1/32"]
    assert text(*addresses, most=2, keep_out=("10.0.0.4/32",)) == ["10.0.0.1/32", "10.0.0.6/32", "10.0.9.1/32"]


def test_the_families_stay_apart() -> None:
    assert text("2001:db8::1", "2001:db8::2", "198.51.100.1", most=1) == ["198.51.100.1/32", "2001:db8::/126"]


@given(st.sets(V4, min_size=1), st.integers(1, 8))
def test_every_address_is_covered_once_and_the_cap_holds(addresses: set[str], most: int) -> None:
    blocks = cover(addresses, (), most)
    assert len(blocks) <= most
    for address in addresses:
        assert sum(ipaddress.ip_address(address) in block for block in blocks) == 1
    assert all(any(ipaddress.ip_address(address) in block for address in addresses) for block in blocks)
