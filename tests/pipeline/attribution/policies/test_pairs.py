"""The two numbers of a connection: alike where all that decides is alike, and nowhere else."""

from __future__ import annotations

from itertools import product

import numpy as np
import numpy.typing as npt
import pytest

from pipeline.attribution.policies.classes import AddressClasses
from pipeline.attribution.policies.engine import compile_policies
from pipeline.attribution.policies.pairs import NO_WORD, Packing, Pairs
from pipeline.inventory import snapshot
from tests.pipeline.inventory.objects import pod, service


class Wide(AddressClasses):
    """Classes as if there were very many of them: an address is its own."""

    def __init__(self, count: int) -> None:
        super().__init__([])
        self.count = count

    def of(self, hi: npt.NDArray[np.uint64], lo: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
        return lo.astype(np.int64)


CLUSTER = snapshot.build([pod("a", "10.0.0.1"), pod("b", "10.0.0.2"), service("web", "10.96.0.1")])


def every_pair(sources: list[int], destinations: list[int]) -> Pairs:
    """All that can differ, with these addresses."""
    ids = range(CLUSTER.endpoints.height)
    rows = np.array(list(product(ids, ids, sources, destinations, (0, 80, 65535), (6, 17, 255))), dtype=np.uint64)
    src, dst, src_lo, backend_lo, port, protocol = rows.T
    zero = np.zeros(len(rows), np.uint64)
    small = {"src": src.astype(np.uint32), "dst": dst.astype(np.uint32)}
    return Pairs(
        small["src"], small["dst"], zero, src_lo, zero, backend_lo, port.astype(np.uint16), protocol.astype(np.uint8)
    )


@pytest.mark.parametrize("count", [1 << 10, 1 << 27], ids=["few ranges", "more than a word holds"])
def test_whatever_decides_is_in_them(count: int) -> None:
    policies = compile_policies([], CLUSTER)
    packing = Packing(
        policies.identities, np.arange(CLUSTER.endpoints.height) == 5, {"egress": Wide(count), "ingress": Wide(count)}
    )
    pairs = every_pair([0, 7, count - 1], [0, 7, count - 2])
    words = packing.words(pairs)
    identity, is_pod = policies.identities.of_endpoint, policies.identities.is_pod
    decides = {
        (
            *(identity[src], identity[dst], dst == 5, src_lo, backend_lo, port, protocol),
            src_lo == backend_lo or (src == dst and is_pod[identity[src]]),
        ): tuple(word)
        for src, dst, src_lo, backend_lo, port, protocol, word in zip(
            *(column.tolist() for column in (pairs.src_id, pairs.dst_id, pairs.src_lo, pairs.backend_lo)),
            *(pairs.backend_port.tolist(), pairs.protocol.tolist(), words.tolist()),
            strict=True,
        )
    }
    assert len(set(decides.values())) == len(decides) == len(np.unique(words, axis=0))
    assert not (words[:, 0] == NO_WORD).any()


def test_without_policies_only_services_and_what_is_to_itself_differ() -> None:
    words = compile_policies([], CLUSTER).packing.words(every_pair([1, 2], [2, 3]))
    assert len(np.unique(words, axis=0)) == 4


def test_more_than_two_numbers_hold_is_refused() -> None:
    policies = compile_policies([], CLUSTER)
    with pytest.raises(OverflowError, match="fit no memory"):
        Packing(policies.identities, np.zeros(1, np.bool_), {"egress": Wide(1 << 27), "ingress": Wide(1 << 28)})
