"""Named ranges beyond the cluster: the longest prefix names an address, however ranges are nested."""

from __future__ import annotations

import ipaddress

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.inventory.addresses import parse
from pipeline.inventory.outside import BUILTIN, NamedRange, Outside, Place, outside_of
from pipeline.inventory.parts import Network

FIRST = 7


def names(outside: Outside, *addresses: str) -> list[str]:
    halves = [parse(text) for text in addresses]
    ids = outside.id_of(*(np.array(half, np.uint64) for half in zip(*halves, strict=True)))
    known = dict(outside.endpoints.select("id", "name").iter_rows())
    return [known.get(int(number), "outside") for number in ids]


def test_builtin_ranges() -> None:
    outside = outside_of(BUILTIN, FIRST)
    told = {
        "10.1.2.3": "private",
        "172.31.255.255": "private",
        "172.32.0.0": "outside",
        "169.254.1.1": "link-local",
        "169.254.169.253": "link-local",
        "169.254.169.254": "cloud-metadata",
        "169.254.169.255": "link-local",
        "fd00:ec2::254": "cloud-metadata",
        "fd00:ec2::255": "private",
        "fd20:ce::254": "cloud-metadata",
        "100.100.100.200": "cloud-metadata",
        "100.100.100.201": "carrier-nat",
        "168.63.129.16": "cloud-metadata",
        "168.63.129.17": "outside",
        "198.19.255.255": "benchmarking",
        "240.0.0.1": "reserved",
        "8.8.8.8": "outside",
        "2001:4860:4860::8888": "outside",
        "255.255.255.255": "broadcast",
        "239.1.1.1": "multicast",
        "::1": "loopback",
        "::2": "outside",
        "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff": "multicast",
    }
    assert dict(zip(told, names(outside, *told), strict=True)) == told


def test_one_endpoint_a_place_with_ids_that_follow_one_another() -> None:
    outside = outside_of(BUILTIN, FIRST)
    assert outside.endpoints["id"].to_list() == list(range(FIRST, FIRST + outside.endpoints.height))
    assert outside.endpoints["name"].is_unique().all()
    assert set(outside.endpoints["kind"]) == {"External"}
    assert outside.endpoints["workload"].equals(outside.endpoints["name"])


def test_of_equal_prefixes_the_last_given_names() -> None:
    office = NamedRange(ipaddress.ip_network("10.0.0.0/8"), Place("office"))
    assert names(outside_of([*BUILTIN, office], FIRST), "10.0.0.1") == ["office"]


def test_everything_of_one_family_says_nothing_of_the_other() -> None:
    outside = outside_of(
        [
            NamedRange(ipaddress.ip_network("::/0"), Place("six")),
            NamedRange(ipaddress.ip_network("1.0.0.0/8"), Place("one")),
        ],
        FIRST,
    )
    assert names(outside, "1.2.3.4", "2.2.3.4", "::", "2001:db8::1", "ffff::") == [
        "one",
        "outside",
        "six",
        "six",
        "six",
    ]


def test_no_ranges_name_nothing() -> None:
    assert names(outside_of([], FIRST), "10.0.0.1", "fd00::1") == ["outside", "outside"]


def networks() -> st.SearchStrategy[Network]:
    """Few bits vary, so that ranges nest, touch and repeat; both families."""
    v4 = st.builds(
        lambda bits, length: ipaddress.IPv4Network((bits << 24, length), strict=False),
        st.integers(0, 255),
        st.sampled_from([0, 1, 4, 6, 7, 8]),
    )
    v6 = st.builds(
        lambda bits, length: ipaddress.IPv6Network((bits << 60, length), strict=False),
        st.integers(0, 255),
        st.sampled_from([0, 1, 61, 63, 64, 66, 68]),
    )
    return v4 | v6


@settings(deadline=None, max_examples=200)
@given(st.lists(networks(), max_size=8), st.lists(st.integers(0, 255), min_size=1, max_size=8))
def test_the_longest_prefix_names_as_one_at_a_time(ranges: list[Network], bits: list[int]) -> None:
    given_ranges = [NamedRange(network, Place(str(number))) for number, network in enumerate(ranges)]
    addresses = [ipaddress.IPv4Address(b << 24) for b in bits]
    sixes = [ipaddress.IPv6Address(b << 60 | extra) for b in bits for extra in (0, 1, 1 << 59)]
    expected = []
    for address in (*addresses, *sixes):
        holding = [(network.prefixlen, number) for number, network in enumerate(ranges) if address in network]
        expected.append(str(max(holding)[1]) if holding else "outside")
    assert names(outside_of(given_ranges, FIRST), *map(str, (*addresses, *sixes))) == expected
