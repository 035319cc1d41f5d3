"""What the kernel's one-way flows say of connections: who opened each, what was dialled and who answers. Pure.

A flow is one direction of a connection at one interface. Which direction, and the addresses before and after NAT, are
known where conntrack was asked with success; otherwise the flow that goes the other way may know, then the handshake's
flags tell, then what is known of the connection from before, at last who spoke first. The invariant: every flow becomes
one sighting with the same counters, and all sightings of a connection on this node have the same `key`.
"""

from __future__ import annotations

from collections.abc import Callable, Set
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ..connections import mixed
from .layout import BEGINS, CT_ORIGINAL, CT_REPLY, CT_UNKNOWN, EGRESS, INGRESS, SYN, SYN_ACK

_ENDS: Final = ("src", "dst", "backend", "nat_src")

SIGHTING: Final = np.dtype(
    [
        ("key", "u8"),  # hash of the tuple that the opener sees
        ("observer", "u8"),  # interface and side, smaller is nearer to the opener: rank << 32 | ifindex
        ("first", "i8"),
        ("last", "i8"),
        ("packets", "u8"),
        ("bytes", "u8"),
        *[(f"{end}_{half}", "u8") for end in _ENDS for half in ("hi", "lo")],
        ("isn", "u4"),
        *[(f"{end}_port", "u2") for end in _ENDS],
        ("protocol", "u1"),
        ("flags", "u1"),
        ("is_reply", "?"),
        ("is_known", "?"),  # conntrack told the backend and whom it sees
    ]
)
Sightings = npt.NDArray[np.void]
"""An array of dtype SIGHTING. Without conntrack `backend` is `dst` and `nat_src` is `src`."""
Keys = npt.NDArray[np.uint64]

_TUPLE: Final = tuple(f"{end}_{part}" for end in _ENDS for part in ("hi", "lo", "port"))
_OPENER: Final = ("src", "dst")
_ANSWERER: Final = ("backend", "nat_src")


def sight(
    flows: npt.NDArray[np.void],
    sums: npt.NDArray[np.void],
    uplinks: Set[int],
    is_live: Callable[[Keys], npt.NDArray[np.bool_]],
) -> Sightings:
    """The sightings of FLOW and SUM arrays, in their order.

    `uplinks` are the interfaces that are no pod's; `is_live` says which connections are known from before, by key.
    """
    seen = np.zeros(len(flows), SIGHTING)
    for name in ("first", "last", "packets", "bytes", "isn", "flags"):
        seen[name] = sums[name]
    seen["protocol"] = flows["protocol"]
    seen["is_known"] = sums["conntrack"] != CT_UNKNOWN
    _tell_known(seen, flows, sums)
    if not seen["is_known"].all():
        _tell_others(seen, flows, sums, is_live)
    seen["key"] = keys(seen, *_OPENER)
    is_uplink = np.isin(flows["ifindex"], np.fromiter(uplinks, np.uint32, len(uplinks)))
    is_far_side = (flows["direction"] == EGRESS) != seen["is_reply"]
    seen["observer"] = (is_uplink * np.uint64(2) + is_far_side) << np.uint64(32) | flows["ifindex"]
    return seen


def keys(seen: Sightings, opener: str, dialled: str) -> Keys:
    """Hash of the tuple between two of a sighting's ends, and of the protocol."""
    ports = seen[f"{opener}_port"].astype(np.uint64) << np.uint64(16) | seen[f"{dialled}_port"]
    halves = (seen[f"{end}_{half}"] for end in (opener, dialled) for half in ("hi", "lo"))
    return mixed(len(seen), *halves, ports << np.uint64(8) | seen["protocol"])


_End = tuple[npt.NDArray[Any], npt.NDArray[Any]]
"""Address halves, of shape (rows, 2), and ports."""


def _put(seen: Sightings, rows: Any, ends: tuple[str, str], source: _End, destination: _End) -> None:
    for end, (address, port) in zip(ends, (source, destination), strict=True):
        seen[f"{end}_hi"][rows] = address[rows, 0]
        seen[f"{end}_lo"][rows] = address[rows, 1]
        seen[f"{end}_port"][rows] = port[rows]


def _tell_known(seen: Sightings, flows: npt.NDArray[np.void], sums: npt.NDArray[np.void]) -> None:
    """Fill in both tuples where conntrack was found, and the flow's own, the way it went, where not.

    The kernel looked the flow's tuple up on its way in and turned round on its way out: that is one of the two that
    conntrack keeps, the opener's or the answerer's, and `other` is the other.
    """
    source, destination = (flows["source"], flows["source_port"]), (flows["destination"], flows["destination_port"])
    others = (
        (sums["other_source"], sums["other_source_port"]),
        (sums["other_destination"], sums["other_destination_port"]),
    )
    is_in = flows["direction"] == INGRESS
    is_original = sums["conntrack"] == CT_ORIGINAL
    is_known = seen["is_known"]
    seen["is_reply"] = sums["conntrack"] == CT_REPLY
    for way, (one, two) in ((is_in, (source, destination)), (~is_in, (destination, source))):
        is_openers = is_known & way & (is_original == is_in)
        _put(seen, is_openers, _OPENER, one, two)
        _put(seen, is_openers, _ANSWERER, *others)
        is_answerers = is_known & way & (is_original != is_in)
        _put(seen, is_answerers, _ANSWERER, one, two)
        _put(seen, is_answerers, _OPENER, *others)
    _put(seen, ~is_known, _OPENER, source, destination)
    _put(seen, ~is_known, _ANSWERER, destination, source)


def _tell_others(
    seen: Sightings,
    flows: npt.NDArray[np.void],
    sums: npt.NDArray[np.void],
    is_live: Callable[[Keys], npt.NDArray[np.bool_]],
) -> None:
    """Orient the flows that conntrack did not know; take both tuples from the flow that goes the other way."""
    wire = np.zeros(len(flows), SIGHTING)
    wire["protocol"] = flows["protocol"]
    every = slice(None)
    source, destination = (flows["source"], flows["source_port"]), (flows["destination"], flows["destination_port"])
    _put(wire, every, _OPENER, source, destination)
    there, back = keys(wire, "src", "dst"), keys(wire, "dst", "src")
    pair = np.minimum(there, back)  # the same for both directions
    untold, told = np.flatnonzero(~seen["is_known"]), np.flatnonzero(seen["is_known"])
    connection = pair + flows["generation"]
    position, found = _match(connection[untold], told, connection)
    partner, rows = told[position[found]], untold[found]
    for name in (*_TUPLE, "is_known"):
        seen[name][rows] = seen[name][partner]
    seen["is_reply"][rows] = seen["is_reply"][partner] ^ (there[rows] != there[partner])

    rows = untold[~found]
    seen["is_reply"][rows] = _is_reply(rows, there, back, pair, sums, is_live)
    turned = rows[seen["is_reply"][rows]]
    _put(seen, turned, _OPENER, destination, source)
    _put(seen, turned, _ANSWERER, source, destination)


def _match(wanted: Keys, among: npt.NDArray[np.int64], all_keys: Keys) -> tuple[Any, npt.NDArray[np.bool_]]:
    """For each wanted key a position in `among` whose key is the same, and whether there is one."""
    order = np.argsort(all_keys[among], kind="stable")
    ordered = all_keys[among][order]
    place = np.searchsorted(ordered, wanted)
    found = place < len(ordered)
    found[found] = ordered[place[found]] == wanted[found]
    return order[np.minimum(place, max(len(order) - 1, 0))] if len(order) else place, found


def _is_reply(
    rows: npt.NDArray[np.int64],
    there: Keys,
    back: Keys,
    pair: Keys,
    sums: npt.NDArray[np.void],
    is_live: Callable[[Keys], npt.NDArray[np.bool_]],
) -> npt.NDArray[np.bool_]:
    """Which of these flows, unknown to conntrack, go from the answerer to the opener."""
    there, back, pair, sums = there[rows], back[rows], pair[rows], sums[rows]
    flags = sums["flags"]
    is_syn, is_syn_ack = (flags & SYN) != 0, (flags & SYN_ACK) != 0
    is_told = is_syn | is_syn_ack
    is_reply: npt.NDArray[np.bool_] = is_syn_ack & ~is_syn

    open_, told = np.flatnonzero(~is_told), np.flatnonzero(is_told)
    position, found = _match(pair[open_], told, pair)
    partner, mine = told[position[found]], open_[found]
    is_reply[mine] = is_reply[partner] ^ (there[mine] != there[partner])

    open_ = open_[~found]
    lives_turned = is_live(back[open_])
    lives = is_live(there[open_]) & ~lives_turned
    is_reply[open_] = lives_turned

    open_ = open_[~lives & ~lives_turned]
    spoke = np.where(sums["first_payload"] > 0, sums["first_payload"], sums["first"] | np.int64(1 << 62))[open_]
    order = np.lexsort((spoke, pair[open_]))
    ordered = open_[order]
    is_first = np.ones(len(ordered), np.bool_)
    is_first[1:] = pair[ordered[1:]] != pair[ordered[:-1]]
    opener = ordered[np.maximum.accumulate(np.where(is_first, np.arange(len(ordered)), 0))]
    is_reply[ordered] = there[ordered] != there[opener]
    return is_reply


def begins(seen: Sightings) -> npt.NDArray[np.bool_]:
    """Which sightings start with the opener's SYN."""
    is_start: npt.NDArray[np.bool_] = ((seen["flags"] & (SYN | BEGINS)) == (SYN | BEGINS)) & ~seen["is_reply"]
    return is_start
