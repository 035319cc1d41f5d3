"""Who opened each of the kernel's conversations, and the tuple that the opener sees. Pure.

Who opened a connection, and the addresses before and after NAT, are known where conntrack was asked with success;
otherwise another conversation of the same tuple may know, then the handshake's flags tell, then what is known of the
connection from before, at last who spoke first. The invariant: all conversations of a connection on this node have the
same key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ..connections import mixed
from .layout import (
    BEGAN_EGRESS,
    CT_LOCAL_OPENS,
    CT_REMOTE_OPENS,
    CT_UNKNOWN,
    EGRESS_SHIFT,
    SPOKE_EGRESS,
    SYN,
    SYN_ACK,
    picked,
)
from .live import Flags, Keys, Rows

IsLive = Callable[[Keys], Flags]

SLICE_ROWS: Final = 16_384
"""How many rows are worked on at a time: what is made of them stays in the processor's cache, and memory small."""
_NEVER: Final = np.int64(1 << 62)


def tell_openers(flows: npt.NDArray[np.void], counts: npt.NDArray[np.void], is_live: IsLive) -> tuple[Keys, Flags]:
    """Of CONVERSATION and COUNTS arrays: the hash of the tuple that each one's opener sees, and where conntrack knew.

    `counts` is changed: its `conntrack` tells for all, and the other tuple where another conversation had it.
    """
    is_known = counts["conntrack"] != CT_UNKNOWN
    if not is_known.all():
        _tell_others(flows, counts, np.flatnonzero(~is_known), is_known, is_live)
    key = np.empty(len(flows), np.uint64)
    for part in slices(len(flows)):
        key[part] = _opener_keys(flows[part], counts[part])
    return key, is_known


def slices(rows: int) -> Iterator[slice]:
    """All rows, SLICE_ROWS at a time."""
    return (slice(first, min(first + SLICE_ROWS, rows)) for first in range(0, rows, SLICE_ROWS))


_End = tuple[npt.NDArray[Any], npt.NDArray[Any]]
"""Address halves, of shape (rows, 2), and ports, in whatever byte order: good for nothing but hashing."""


def _hash(one: _End, two: _End, protocol: npt.NDArray[np.uint8]) -> Keys:
    ports = one[1].astype(np.uint64) << np.uint64(24) | two[1].astype(np.uint64) << np.uint64(8) | protocol
    return mixed(len(ports), one[0][:, 0], one[0][:, 1], two[0][:, 0], two[0][:, 1], ports)


def _ends(rows: npt.NDArray[np.void], one: str, two: str) -> tuple[_End, _End]:
    def end(name: str) -> _End:
        return rows[name].view(np.uint64), rows[f"{name}_port"].view(np.uint16)

    return end(one), end(two)


def _opener_keys(flows: npt.NDArray[np.void], counts: npt.NDArray[np.void]) -> Keys:
    own = _ends(flows, "local", "remote")
    opens = counts["conntrack"] == CT_LOCAL_OPENS
    if opens.all():
        return _hash(*own, flows["protocol"])
    other = _ends(counts, "other_source", "other_destination")
    one, two = (
        (np.where(opens[:, None], mine[0], its[0]), np.where(opens, mine[1], its[1]))
        for mine, its in zip(own, other, strict=True)
    )
    return _hash(one, two, flows["protocol"])


def _tell_others(
    flows: npt.NDArray[np.void], counts: npt.NDArray[np.void], untold: Rows, is_known: Flags, is_live: IsLive
) -> None:
    """Tell who opened what conntrack did not know, and both tuples where another conversation of the tuple knows."""
    told = _of_like_ports(flows, np.flatnonzero(is_known), untold)
    if len(told):
        there, _, pair = _wire_keys(flows, untold)
        told_there, _, told_pair = _wire_keys(flows, told)
        generation = flows["generation"]
        place, found = _match(pair + generation[untold], told_pair + generation[told])
        rows, partner = untold[found], told[place]
        is_same = there[found] == told_there[place]
        told_side = counts["conntrack"][partner]
        counts["conntrack"][rows] = np.where(is_same, told_side, CT_LOCAL_OPENS + CT_REMOTE_OPENS - told_side)
        for name in ("other_source", "other_destination", "other_source_port", "other_destination_port"):
            counts[name][rows[is_same]] = counts[name][partner[is_same]]
        is_known[rows] = True
        untold = untold[~found]
    flags = counts["flags"][untold]
    same, other = flags & (SYN | SYN_ACK), flags >> np.uint32(EGRESS_SHIFT) & (SYN | SYN_ACK)
    local = (same & SYN) | (other & SYN_ACK) != 0
    remote = (other & SYN) | (same & SYN_ACK) != 0
    counts["conntrack"][untold] = np.where(remote & ~(same & SYN != 0), CT_REMOTE_OPENS, CT_LOCAL_OPENS)
    open_ = untold[~local & ~remote]
    if len(open_):
        opens = _opens(flows, counts, open_, untold[local | remote], is_live)
        counts["conntrack"][open_] = np.where(opens, CT_LOCAL_OPENS, CT_REMOTE_OPENS)


def _of_like_ports(flows: npt.NDArray[np.void], rows: Rows, others: Rows) -> Rows:
    """Those of the rows that may have a tuple of one of the others, told by something quick that has no direction."""
    ports = flows["local_port"].view(np.uint16) ^ flows["remote_port"].view(np.uint16)
    occurs = np.zeros(1 << 16, np.bool_)
    occurs[ports[others]] = True
    found: Rows = rows[occurs[ports[rows]]]
    return found


def _wire_keys(flows: npt.NDArray[np.void], rows: Rows) -> tuple[Keys, Keys, Keys]:
    """Hashes of these conversations' tuples: as they come in, turned round, and one that is the same for both."""
    part = picked(flows, rows)
    local, remote = _ends(part, "local", "remote")
    there, back = _hash(local, remote, part["protocol"]), _hash(remote, local, part["protocol"])
    return there, back, np.minimum(there, back)


def _match(wanted: Keys, known: Keys) -> tuple[Rows, Flags]:
    """Which of the wanted keys are known, and for each of those where."""
    order = np.argsort(known)
    ordered = known[order]
    place = np.searchsorted(ordered, wanted)
    found = place < len(ordered)
    found[found] = ordered[place[found]] == wanted[found]
    return order[place[found]], found


def _opens(flows: npt.NDArray[np.void], counts: npt.NDArray[np.void], rows: Rows, told: Rows, is_live: IsLive) -> Flags:
    """Whether the local end has opened these conversations, of which neither conntrack nor a handshake tells."""
    there, back, pair = _wire_keys(flows, rows)
    opens = np.ones(len(rows), np.bool_)
    if len(told):
        told_there, _, told_pair = _wire_keys(flows, told)
        place, found = _match(pair, told_pair)
        is_same = there[found] == told_there[place]
        opens[found] = (counts["conntrack"][told[place]] == CT_LOCAL_OPENS) == is_same
    else:
        found = np.zeros(len(rows), np.bool_)

    left = np.flatnonzero(~found)
    lives_turned = is_live(back[left])
    lives = is_live(there[left]) & ~lives_turned
    opens[left] = ~lives_turned

    left = left[~lives & ~lives_turned]
    part = picked(counts, rows[left])
    has_payload = part["first_payload"] > 0
    spoke = np.where(has_payload, part["first_payload"], part["first"] | _NEVER)
    went_out = (part["flags"] & np.where(has_payload, SPOKE_EGRESS, BEGAN_EGRESS)) != 0
    opener = np.where(went_out, back[left], there[left])
    order = np.lexsort((spoke, pair[left]))
    ordered, opener = left[order], opener[order]
    is_first = np.ones(len(ordered), np.bool_)
    is_first[1:] = pair[ordered[1:]] != pair[ordered[:-1]]
    earliest = np.maximum.accumulate(np.where(is_first, np.arange(len(ordered)), 0))
    opens[ordered] = there[ordered] == opener[earliest]
    return opens
