"""What the kernel's conversations say of connections: who opened each, what was dialled and who answers. Pure.

A conversation is both directions of a tuple at one interface. Who opened it, and the addresses before and after NAT,
are known where conntrack was asked with success; otherwise another conversation of the same tuple may know, then the
handshake's flags tell, then what is known of the connection from before, at last who spoke first. The invariant: every
conversation becomes one sighting with the same counters, without what the kernel counted as missed, and all sightings
of a connection on this node have the same `key`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ..connections import mixed
from .layout import (
    BEGAN_EGRESS,
    BEGINS,
    CT_LOCAL_OPENS,
    CT_REMOTE_OPENS,
    CT_UNKNOWN,
    EGRESS,
    EGRESS_SHIFT,
    INGRESS,
    MISSED_BOTH,
    MISSED_EGRESS,
    SPOKE_EGRESS,
    SYN,
    SYN_ACK,
)
from .live import Columns, Flags, Keys, Rows

IsLive = Callable[[Keys], Flags]

SLICE_ROWS: Final = 8_192
"""How many rows are worked on at a time: what is made of them stays in the processor's cache, and memory small."""
_FAR: Final = np.uint64(1 << 32)
_UPLINK: Final = np.uint64(2 << 32)
_NEVER: Final = np.int64(1 << 62)


@dataclass(frozen=True, slots=True)
class Sightings:
    """Conversations, each with the connection that it is of. Columns are made of slices, as they are needed."""

    flows: npt.NDArray[np.void]
    """CONVERSATION."""
    counts: npt.NDArray[np.void]
    """COUNTS, in which `conntrack` is now told for all."""
    key: Keys
    """Hash of the tuple that the opener sees."""
    is_known: Flags
    """Conntrack told the backend and whom it sees."""
    uplinks: Set[int]

    def __len__(self) -> int:
        return len(self.key)

    def columns(self, rows: Rows) -> Columns:
        """These sightings, column by column.

        `observer` is the interface and side, smaller is nearer to the opener: rank << 32 | ifindex. `sent` and
        `answered` are flags of the opener's packets and of the other's. Without conntrack `backend` is `dst` and
        `nat_src` is `src`.
        """
        flows, counts = _picked(self.flows, rows), _picked(self.counts, rows)
        opens = counts["conntrack"] == CT_LOCAL_OPENS  # else the remote end does
        found: Columns = {"key": self.key[rows], "is_known": self.is_known[rows], "protocol": flows["protocol"]}
        for opener, answerer, own, other in (
            ("src", "backend", "local", "other_source"),
            ("dst", "nat_src", "remote", "other_destination"),
        ):
            for part, one, two in (
                ("hi", flows[own][:, 0], counts[other][:, 0]),
                ("lo", flows[own][:, 1], counts[other][:, 1]),
                ("port", flows[f"{own}_port"], counts[f"{other}_port"]),
            ):
                one, two = one.astype(one.dtype.newbyteorder("=")), two.astype(two.dtype.newbyteorder("="))
                found[f"{opener}_{part}"], found[f"{answerer}_{part}"] = _turned(opens, one, two)
        for name in ("first", "last"):
            found[name] = counts[name]
        for name in ("packets", "bytes"):
            found[name], found[f"reply_{name}"] = _turned(opens, counts[name][:, INGRESS], counts[name][:, EGRESS])
        ingress, egress = counts["flags"].astype(np.uint8), (counts["flags"] >> EGRESS_SHIFT).astype(np.uint8)
        found["sent"], found["answered"] = _turned(opens, ingress, egress)
        found["isn"] = np.where(opens, counts["isn"][:, INGRESS], counts["isn"][:, EGRESS])
        is_uplink = np.isin(flows["ifindex"], np.fromiter(self.uplinks, np.uint32, len(self.uplinks)))
        found["observer"] = is_uplink * _UPLINK + ~opens * _FAR + flows["ifindex"]
        return found


def sight(flows: npt.NDArray[np.void], counts: npt.NDArray[np.void], uplinks: Set[int], is_live: IsLive) -> Sightings:
    """The sightings of CONVERSATION and COUNTS arrays, in their order; `counts` is changed.

    `uplinks` are the interfaces that are no pod's; `is_live` says which connections are known from before, by key.
    """
    _drop_missed(counts)
    is_known = counts["conntrack"] != CT_UNKNOWN
    if not is_known.all():
        _tell_others(flows, counts, np.flatnonzero(~is_known), is_known, is_live)
    key = np.empty(len(flows), np.uint64)
    for part in slices(len(flows)):
        key[part] = _opener_keys(flows[part], counts[part])
    return Sightings(flows, counts, key, is_known, uplinks)


def _drop_missed(counts: npt.NDArray[np.void]) -> None:
    """Take out what was missed where it counts, or before it came here: `miss_full` of the program says when."""
    rows = np.flatnonzero(counts["flags"] & np.uint32(MISSED_EGRESS | MISSED_BOTH))
    if len(rows):
        is_both = (counts["flags"][rows] & np.uint32(MISSED_BOTH)) != 0
        for name in ("packets", "bytes"):
            counts[name][rows, EGRESS] = 0
            counts[name][rows[is_both], INGRESS] = 0


def slices(rows: int) -> Iterator[slice]:
    """All rows, SLICE_ROWS at a time."""
    return (slice(first, min(first + SLICE_ROWS, rows)) for first in range(0, rows, SLICE_ROWS))


def keys(seen: Mapping[str, npt.NDArray[Any]] | npt.NDArray[np.void], opener: str, dialled: str) -> Keys:
    """Hash of the tuple between two ends of a connection's columns, and of the protocol."""
    ports = seen[f"{opener}_port"].astype(np.uint64) << np.uint64(16) | seen[f"{dialled}_port"]
    halves = (seen[f"{end}_{half}"] for end in (opener, dialled) for half in ("hi", "lo"))
    return mixed(len(ports), *halves, ports << np.uint64(8) | seen["protocol"])


def begins(seen: Columns) -> Flags:
    """Which sightings start with the opener's SYN."""
    is_start: Flags = (seen["sent"] & _STARTS) == _STARTS
    return is_start


_STARTS: Final = np.uint8(SYN | BEGINS)


def _turned(opens: Flags, one: npt.NDArray[Any], two: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """The opener's of two columns and the answerer's, of which the first is the local end's."""
    return np.where(opens, one, two), np.where(opens, two, one)


def _picked(rows: npt.NDArray[np.void], places: Rows) -> npt.NDArray[np.void]:
    """`rows[places]`, copied row by row: numpy's own way copies field by field, ten times slower."""
    picked: npt.NDArray[np.void] = rows.view(f"V{rows.itemsize}").take(places).view(rows.dtype)
    return picked


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
    told = np.flatnonzero(is_known)
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


def _wire_keys(flows: npt.NDArray[np.void], rows: Rows) -> tuple[Keys, Keys, Keys]:
    """Hashes of these conversations' tuples: as they come in, turned round, and one that is the same for both."""
    part = _picked(flows, rows)
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
    part = _picked(counts, rows[left])
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
