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

from .connections import mixed

WAIT_READS: Final = 10
MOST_WAITING: Final = 65_536
OPENER, ANSWERER = 1, 2

ADDED: Final = ("connect_us", "srtt_us", "retransmits")
_TCP: Final = 6
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
    ports = opener[2].astype(np.uint64) << np.uint64(16) | answerer[2]
    halves = (half.astype(np.uint64) for end in (opener, answerer) for half in end[:2])
    return mixed(len(ports), *halves, ports)


def _rows_of(waiting: npt.NDArray[np.void], flows: _Columns) -> npt.NDArray[np.int64]:
    """For each observation the row of its connection, or -1."""
    tcp = np.flatnonzero(flows["protocol"] == _TCP)
    src, dst, nat_src, backend = (
        (flows[f"{end}_hi"][tcp], flows[f"{end}_lo"][tcp], flows[f"{end}_port"][tcp])
        for end in ("src", "dst", "nat_src", "backend")
    )
    start, since = flows["start"][tcp], waiting["since"]
    as_opener = _matched(waiting["there"], since, _key(src, dst), start)
    as_answerer = _matched(waiting["back"], since, _key(nat_src, backend), start)
    as_opener[waiting["role"] == ANSWERER] = -1
    as_answerer[waiting["role"] == OPENER] = -1
    at = np.where(as_opener >= 0, as_opener, as_answerer)
    return np.where(at >= 0, tcp[at], -1) if len(tcp) else at


def _matched(
    wanted: _Keys, since: npt.NDArray[np.uint64], among: _Keys, start: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """For each wanted key the position among the keys that has it, or -1.

    Several connections of the same ends follow each other: the latest is matched with the latest, and so on backwards.
    """
    if not len(among) or not len(wanted):
        return np.full(len(wanted), -1)
    order = np.lexsort((start, among))
    ordered = among[order]
    first = np.searchsorted(ordered, wanted, side="left")
    last = np.searchsorted(ordered, wanted, side="right") - 1
    position = order[np.maximum(last - _later(wanted, since), np.minimum(first, len(order) - 1))]
    return np.where(first <= last, position, -1)


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
