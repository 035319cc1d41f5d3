"""Address ranges for a set of addresses: few enough to read, and as small as that allows.

The invariant: every address given is in a range, and none of the addresses to keep out is in a range that was widened.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Final

from ..inventory.parts import Network

MOST_BLOCKS: Final = 16
_WIDEST: Final = {4: 8, 6: 32}
"""No range is made wider than this prefix by merging."""


def cover(addresses: Iterable[str], keep_out: Sequence[Network] = (), most: int = MOST_BLOCKS) -> list[Network]:
    """Ranges that hold all addresses, at most `most` of each family unless `keep_out` forbids, in order.

    Neighbours whose common range adds the fewest addresses are merged first.
    """
    parsed = [ipaddress.ip_address(address) for address in set(addresses)]
    four = [ipaddress.IPv4Network(item) for item in parsed if isinstance(item, ipaddress.IPv4Address)]
    six = [ipaddress.IPv6Network(item) for item in parsed if isinstance(item, ipaddress.IPv6Address)]
    return [
        *_merged(list(ipaddress.collapse_addresses(four)), keep_out, most),
        *_merged(list(ipaddress.collapse_addresses(six)), keep_out, most),
    ]


def _merged(blocks: Sequence[Network], keep_out: Sequence[Network], most: int) -> list[Network]:
    left = list(blocks)
    while len(left) > most:
        candidates = [
            (both.num_addresses - one.num_addresses - two.num_addresses, place, both)
            for place, (one, two) in enumerate(pairwise(left))
            if (both := _common(one, two)).prefixlen >= _WIDEST[both.version]
            and not any(_overlap(both, other) for other in keep_out)
        ]
        if not candidates:
            break
        _, _, widened = min(candidates)
        left = [*(block for block in left if not _overlap(block, widened)), widened]
        left.sort(key=lambda block: int(block.network_address))
    return left


def _common(one: Network, two: Network) -> Network:
    """The smallest range that holds both."""
    differing = int(one.network_address) ^ int(two.broadcast_address)
    prefix = one.max_prefixlen - differing.bit_length()
    return one.supernet(new_prefix=min(prefix, one.prefixlen))


def _overlap(one: Network, two: Network) -> bool:
    if isinstance(one, ipaddress.IPv4Network):
        return isinstance(two, ipaddress.IPv4Network) and one.overlaps(two)
    return isinstance(two, ipaddress.IPv6Network) and one.overlaps(two)
