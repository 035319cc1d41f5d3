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
SLACK_NS: Final = 20_000_000
"""By how much the two clocks, read one after the other on a busy node, may disagree."""
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
        ("since", "i8"),  # wall clock ns; 0 where unknown
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

    def join(
        self, flows: _Columns, observations: npt.NDArray[np.void], wall_ns: int | npt.NDArray[np.int64]
    ) -> dict[str, Any]:
        """The columns of FLOWS rows, with ADDED among them, from these observations and those that wait.

        `observations` has the fields of `ebpf.tcp.OBSERVATION`, the later after the earlier of the same socket;
        `wall_ns` is what the wall clock was ahead of the monotonic one as each socket's connection was first told.
        """
        waiting = np.concatenate([self._waiting, _waiting(observations, wall_ns)])
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


def _waiting(observations: npt.NDArray[np.void], wall_ns: int | npt.NDArray[np.int64]) -> npt.NDArray[np.void]:
    waiting = np.zeros(len(observations), _WAITING)
    for name in (*ADDED, "role"):
        waiting[name] = observations[name]
    since = observations["since"].astype(np.int64)
    waiting["since"] = np.where(since > 0, since + wall_ns, 0)
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
            opened = role[open_] == OPENER
            row = _matched(waiting[name][open_], waiting["since"][open_], opened, _key(*ends), start)
            at[open_] = np.where(row >= 0, tcp[row], -1)
    return at


def _matched(
    wanted: _Keys,
    since: npt.NDArray[np.int64],
    opened: npt.NDArray[np.bool_],
    among: _Keys,
    start: npt.NDArray[np.int64],
) -> npt.NDArray[np.int64]:
    """For each wanted key the position among the keys that has it, or -1.

    Where connections follow each other between the same ends, time tells them apart. A flow begins after its opener
    did (`opened`), so an earlier flow is none of its; and before its answerer's handshake is done.
    """
    order = np.argsort(among)
    ordered = among[order]
    place = np.minimum(np.searchsorted(ordered, wanted), len(order) - 1)
    is_there = ordered[place] == wanted
    is_new = ordered[1:] != ordered[:-1]
    if not is_new.all():
        order = np.lexsort((start, among))
        group = np.concatenate([[0], np.cumsum(is_new)])
        begun = _instants(group, start[order], start)
        after = np.searchsorted(begun, _instants(group[place], since - SLACK_NS, start), side="left")
        before = np.searchsorted(begun, _instants(group[place], since + SLACK_NS, start), side="right") - 1
        last = np.searchsorted(ordered, wanted, side="right") - 1
        place = np.where(opened, np.clip(after, place, np.maximum(last, place)), np.maximum(before, place))
    position = order[place]
    is_there &= ~opened | (start[position] >= since - SLACK_NS)
    return np.where(is_there, position, -1)


def _instants(
    group: npt.NDArray[np.int64], instant: npt.NDArray[np.int64], start: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Group and instant in one number, by which both are in order; us, of the last 6 days up to the last of `start`."""
    since_us = (instant - start.max()) // 1000 + (1 << 39)
    instants: npt.NDArray[np.int64] = group << 40 | np.clip(since_us, 0, (1 << 40) - 1)
    return instants


def _tell(told: Mapping[str, Any], joined: npt.NDArray[np.void], at: npt.NDArray[np.int64]) -> None:
    np.add.at(told["retransmits"], at, joined["retransmits"])
    connects = joined["connect_us"] > 0
    told["connect_us"][at[connects]] = joined["connect_us"][connects]
    measures = joined["srtt_us"] > 0
    for some in (joined["role"] != OPENER, joined["role"] == OPENER):  # the opener's are written over the others
        chosen = measures & some
        told["srtt_us"][at[chosen]] = joined["srtt_us"][chosen]
