"""The two numbers of a connection: alike where all that decides is alike, and nowhere else."""

from __future__ import annotations

from ipaddress import ip_network
from itertools import product

import numpy as np
import numpy.typing as npt
import pytest

from pipeline.attribution.lookups import lookups_of
from pipeline.attribution.policies.classes import AddressClasses, PortClasses
from pipeline.attribution.policies.engine import compile_policies
from pipeline.attribution.policies.likeness import Likeness
from pipeline.attribution.policies.pairs import NO_WORD, Homes, Packing, Pairs
from pipeline.attribution.policies.terms import Addresses, Ports
from pipeline.inventory import snapshot
from tests.pipeline.inventory.objects import node, pod, service

CLUSTER = snapshot.build(
    [node("n1", "192.0.2.1"), pod("a", "10.0.0.1", on="n1"), pod("b", "10.0.0.2"), service("web", "10.96.0.1")]
)
IDENTITIES = compile_policies([], CLUSTER).identities
ENDPOINTS = range(CLUSTER.endpoints.height)
HOSTS = lookups_of(CLUSTER).hosts


class Wide(AddressClasses):
    """Classes as if there were very many of them: an address is its own."""

    def __init__(self, count: int) -> None:
        super().__init__([])
        self.count = count

    def of(self, hi: npt.NDArray[np.uint64], lo: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
        return lo.astype(np.int64)


def every_pair(sources: list[int], destinations: list[int]) -> Pairs:
    """All that can differ, with these addresses."""
    rows = list(product(ENDPOINTS, ENDPOINTS, sources, destinations, (0, 80, 65535), (6, 17, 255)))
    src, dst, src_lo, backend_lo, port, protocol = np.array(rows, dtype=np.uint64).T
    zero = np.zeros(len(rows), np.uint64)
    ids = src.astype(np.uint32), dst.astype(np.uint32)
    return Pairs(*ids, zero, src_lo, zero, backend_lo, port.astype(np.uint16), protocol.astype(np.uint8))


def packing(ranges: int, likeness: Likeness) -> Packing:
    is_service = (CLUSTER.endpoints["kind"] == "Service").to_numpy()
    return Packing(
        IDENTITIES, likeness, is_service, {"egress": Wide(ranges), "ingress": Wide(ranges)}, Homes.of(CLUSTER), HOSTS
    )


@pytest.mark.parametrize("ranges", [1 << 10, 1 << 27], ids=["few ranges", "very many"])
def test_whatever_decides_is_in_them(ranges: int) -> None:
    kinds = np.arange(IDENTITIES.is_pod.size, dtype=np.uint32)
    ports = PortClasses([Ports(6, 80, 80), Ports(17, 0, 100)])
    pairs = every_pair([0, 7, ranges - 1], [0, 7, ranges - 2])
    words = packing(ranges, Likeness(kinds, kinds[::-1], ports)).words(pairs)
    identity, is_pod = IDENTITIES.of_endpoint, IDENTITIES.is_pod
    is_service = (CLUSTER.endpoints["kind"] == "Service").to_list()
    decides = {
        (
            *(identity[src], identity[dst], is_service[dst], src_lo, backend_lo, port),
            src_lo == backend_lo or (src == dst and is_pod[identity[src]]),
            HOSTS.is_node[src] and HOSTS.node[src] == HOSTS.node[dst],
        ): tuple(word)
        for src, dst, src_lo, backend_lo, port, word in zip(
            *(column.tolist() for column in (pairs.src_id, pairs.dst_id, pairs.src_lo, pairs.backend_lo)),
            *(ports.of(pairs.points()).tolist(), words.tolist()),
            strict=True,
        )
    }
    assert len(set(decides.values())) == len(decides) == len(np.unique(words, axis=0))
    assert not (words[:, 0] == NO_WORD).any()


def test_without_policies_only_services_what_is_to_itself_and_from_own_nodes_differ() -> None:
    words = compile_policies([], CLUSTER).packing.words(every_pair([1, 2], [2, 3]))
    assert len(np.unique(words, axis=0)) == 6


def test_more_than_two_numbers_hold_is_refused() -> None:
    kinds = np.zeros(IDENTITIES.is_pod.size, dtype=np.uint32)
    with pytest.raises(OverflowError, match="two numbers"):
        packing(1 << 32, Likeness(kinds, kinds, PortClasses([])))


@pytest.mark.parametrize("version", [4, 6])
def test_an_address_is_in_its_ranges_whoever_holds_it_and_however_many_ranges_there_are(version: int) -> None:
    prefix, start = ("10.0.0.", "10.0.0.0/28") if version == 4 else ("fd00::", "fd00::/124")
    pods = [pod(f"p{number}", f"{prefix}{number:{'d' if version == 4 else 'x'}}") for number in range(1, 30)]
    cluster = snapshot.build(pods)
    held = cluster.addresses.sort("endpoint_id")
    rows = held.height
    other = held[[*range(1, rows), 0]]  # its neighbour's address, as of a pod that has several
    every = [Addresses(network) for network in ip_network(start).subnets(new_prefix=32 if version == 4 else 128)]
    classes = AddressClasses(every)
    assert classes.count > rows / 2
    identities = compile_policies([], cluster).identities
    kinds = np.zeros(identities.is_pod.size, np.uint32)
    is_service = np.zeros(cluster.endpoints.height, np.bool_)
    likeness = Likeness(kinds, kinds, PortClasses([]))
    made = Packing(
        identities,
        likeness,
        is_service,
        {"egress": classes, "ingress": classes},
        Homes.of(cluster),
        lookups_of(cluster).hosts,
    )
    ids, none = held["endpoint_id"].to_numpy(), np.zeros(rows, np.uint8)
    for addresses in (held, other):
        hi, lo = (addresses[half].to_numpy() for half in ("addr_hi", "addr_lo"))
        words = made.words(Pairs(ids, ids, hi, lo, hi, lo, none, none))
        wanted = classes.of(hi, lo)
        assert len(set(wanted.tolist())) > 10
        assert ((words[:, 1] >> np.uint64(2)) == wanted * classes.count + wanted).all()
