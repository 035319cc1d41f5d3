"""TCP health told by sockets, joined to the flows of the same connections. Pure.

A socket knows its connection by the addresses that it uses itself: the opener's socket by who it is and what it dialled
(`src`, `dst` of FLOWS), the answerer's by who answers and whom it sees (`backend`, `nat_src`). Both may be on this
node; then what either sent again counts, and the opener's round-trip time is told. The invariant: an observation is
joined to one row, or waits for one for WAIT_READS reads and is then counted as unmatched.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

WAIT_READS: Final = 10
MOST_WAITING: Final = 65_536
OPENER, ANSWERER = 1, 2

ADDED: Final = ("connect_us", "srtt_us", "retransmits")
_TCP: Final = 6
_FACTORS: Final = tuple(
    map(
        np.uint64,
        (
            0x9E3779B97F4A7C15,
            0xBF58476D1CE4E5B9,
            0x94D049BB133111EB,
            0xD6E8FEB86659FD93,
            0xA0761D6478BD642F,
            0xE7037ED1A0B428DB,
        ),
    )
)
_WAITING: Final = np.dtype(
    [
        ("since", "u8"),
        ("there", "u8"),  # hash of the connection where the socket is the opener's
        ("back", "u8"),  # where it is the answerer's
        ("connect_us", "u4"),
        ("srtt_us", "u4"),
        ("retransmits", "u4"),
        ("role", "u1"),
        ("reads", "u1"),
    ]
)
_Keys = npt.NDArray[np.uint64]
_Columns = Mapping[str, Any]


class TcpHealth:
    """Observations that wait for their flow."""

    def __init__(self) -> None:
        self._waiting = np.empty(0, _WAITING)
        self.unmatched = 0
        """Observations given up, since the start."""
        self.joined = 0

    def join(self, flows: _Columns, observations: npt.NDArray[np.void]) -> dict[str, Any]:
        """The columns of FLOWS rows, with ADDED among them, from these observations and those that wait.

        `observations` has the fields of `ebpf.tcp.OBSERVATION`, the later after the earlier of the same socket.
        """
        waiting = np.concatenate([self._waiting, _waiting(observations)])
        rows = len(flows["src_hi"])
        told = {name: np.zeros(rows, np.uint32) for name in ADDED}
        at = _rows_of(waiting, flows)
        found = at >= 0
        _tell(told, waiting[found], at[found])
        self.joined += int(found.sum())
        left = waiting[~found]
        left["reads"] += 1
        kept = left[left["reads"] <= WAIT_READS][-MOST_WAITING:]
        self.unmatched += len(left) - len(kept)
        self._waiting = kept
        return {**flows, **told}


def _waiting(observations: npt.NDArray[np.void]) -> npt.NDArray[np.void]:
    waiting = np.zeros(len(observations), _WAITING)
    for name in (*ADDED, "role", "since"):
        waiting[name] = observations[name]
    local, remote = (
        (observations[end][:, 0], observations[end][:, 1], observations[f"{end}_port"]) for end in ("local", "remote")
    )
    waiting["there"] = _key(local, remote)
    waiting["back"] = _key(remote, local)
    return waiting


def _key(opener: tuple[Any, Any, Any], answerer: tuple[Any, Any, Any]) -> _Keys:
    """A hash of a connection's ends: their words, each times an odd number of its own. The sum wraps around."""
    key = np.zeros(len(opener[0]), np.uint64)
    for word, factor in zip((*opener, *answerer), _FACTORS, strict=True):
        key += word.astype(np.uint64) * factor
    return key


def _rows_of(waiting: npt.NDArray[np.void], flows: _Columns) -> npt.NDArray[np.int64]:
    """For each observation the row of its connection, or -1."""
    at = np.full(len(waiting), -1)
    tcp = np.flatnonzero(flows["protocol"] == _TCP)
    if not len(tcp) or not len(waiting):
        return at
    src, dst, nat_src, backend = (
        (flows[f"{end}_hi"][tcp], flows[f"{end}_lo"][tcp], flows[f"{end}_port"][tcp])
        for end in ("src", "dst", "nat_src", "backend")
    )
    start, role = flows["start"][tcp], waiting["role"]
    for part, name, ends in (
        (role != ANSWERER, "there", (src, dst)),
        (role != OPENER, "back", (nat_src, backend)),
    ):
        open_ = np.flatnonzero(part & (at < 0))
        if len(open_):
            row = _matched(waiting[name][open_], waiting["since"][open_], _key(*ends), start)
            at[open_] = np.where(row >= 0, tcp[row], -1)
    return at


def _matched(
    wanted: _Keys, since: npt.NDArray[np.uint64], among: _Keys, start: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """For each wanted key the position among the keys that has it, or -1.

    Several connections of the same ends follow each other: the latest is matched with the latest, and so on backwards.
    """
    order = np.argsort(among)
    ordered = among[order]
    first = np.minimum(np.searchsorted(ordered, wanted), len(order) - 1)
    is_there = ordered[first] == wanted
    if (ordered[1:] == ordered[:-1]).any():
        order = np.lexsort((start, among))
        last = np.searchsorted(ordered, wanted, side="right") - 1
        first = np.maximum(last - _later(wanted, since), first)
    return np.where(is_there, order[first], -1)


def _later(keys: _Keys, since: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """For each key how many later instants the same key has."""
    order = np.lexsort((since, keys))[::-1]
    is_first = np.ones(len(order), np.bool_)
    is_first[1:] = keys[order[1:]] != keys[order[:-1]]
    is_other = is_first.copy()
    is_other[1:] |= since[order[1:]] != since[order[:-1]]
    number = np.cumsum(is_other)
    later = np.empty(len(order), np.int64)
    later[order] = number - np.maximum.accumulate(np.where(is_first, number, 0))
    return later


def _tell(told: Mapping[str, Any], joined: npt.NDArray[np.void], at: npt.NDArray[np.int64]) -> None:
    np.add.at(told["retransmits"], at, joined["retransmits"])
    connects = joined["connect_us"] > 0
    told["connect_us"][at[connects]] = joined["connect_us"][connects]
    measures = joined["srtt_us"] > 0
    for some in (joined["role"] != OPENER, joined["role"] == OPENER):  # the opener's are written over the others
        chosen = measures & some
        told["srtt_us"][at[chosen]] = joined["srtt_us"][chosen]
