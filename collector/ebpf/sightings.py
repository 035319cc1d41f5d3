"""What the kernel's conversations say of connections: what was dialled, who answers, and how much was sent. Pure.

A conversation is both directions of a tuple at one interface. The invariant: every conversation becomes one sighting
with the same counters, without what the kernel counted as missed, and all sightings of a connection on this node have
the same `key`.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ..connections import mixed
from .layout import (
    BEGINS,
    CT_LOCAL_OPENS,
    EGRESS,
    EGRESS_SHIFT,
    INGRESS,
    MISSED_BOTH,
    MISSED_EGRESS,
    SYN,
    picked,
)
from .live import Columns, Flags, Keys, Rows
from .openers import IsLive, tell_openers

_FAR: Final = np.uint64(1 << 32)
_UPLINK: Final = np.uint64(2 << 32)
_STARTS: Final = np.uint8(SYN | BEGINS)
_ENDS: Final = (("src", "backend", "local", "other_source"), ("dst", "nat_src", "remote", "other_destination"))
"""Ends of a connection: two as the opener sees it and the answerer, from the local end's tuple and the other one."""


class Sightings:
    """Conversations, each with the connection that it is of: the hash of the tuple that its opener sees, in `key`.

    `is_known`: conntrack told the backend and whom it sees. `uplinks` are the interfaces that are no pod's.
    """

    def __init__(
        self,
        flows: npt.NDArray[np.void],
        counts: npt.NDArray[np.void],
        key: Keys,
        is_known: Flags,
        uplinks: Set[int],
    ) -> None:
        self.key = key
        self.is_known = is_known
        self._flows, self._counts = flows, counts
        self._uplinks = uplinks

    def __len__(self) -> int:
        return len(self.key)

    def part(self, rows: Rows) -> Part:
        """These sightings, in this order."""
        flows, counts = picked(self._flows, rows), picked(self._counts, rows)
        opens = counts["conntrack"] == CT_LOCAL_OPENS  # else the remote end does
        observer = flows["ifindex"].astype(np.uint64)
        observer += ~opens * _FAR
        if self._uplinks:
            uplinks = np.fromiter(self._uplinks, np.uint32, len(self._uplinks))
            observer += np.isin(flows["ifindex"], uplinks) * _UPLINK
        flags = counts["flags"]
        sent, answered = _turned(opens, flags.astype(np.uint8), (flags >> EGRESS_SHIFT).astype(np.uint8))
        return Part(
            flows, counts, opens, self.key[rows], self.is_known[rows], observer, sent, answered, counts["first"].copy()
        )


@dataclass(frozen=True, slots=True)
class Part:
    """Some sightings. Columns that few rows are asked for are made for those alone."""

    flows: npt.NDArray[np.void]
    """CONVERSATION."""
    counts: npt.NDArray[np.void]
    """COUNTS."""
    opens: Flags
    """The local end is the opener."""
    key: Keys
    is_known: Flags
    observer: Keys
    """The interface and side, smaller is nearer to the opener: rank << 32 | ifindex."""
    sent: npt.NDArray[np.uint8]
    """Flags of the opener's packets."""
    answered: npt.NDArray[np.uint8]
    """Flags of the other's."""
    first: npt.NDArray[np.int64]

    def take(self, rows: Rows) -> Part:
        """Some of these, in order."""
        return Part(
            picked(self.flows, rows),
            picked(self.counts, rows),
            *(self.opens[rows], self.key[rows], self.is_known[rows], self.observer[rows]),
            *(self.sent[rows], self.answered[rows], self.first[rows]),
        )

    def begins(self) -> Flags:
        """Which start with the opener's SYN."""
        is_start: Flags = (self.sent & _STARTS) == _STARTS
        return is_start

    def isn(self, rows: Rows) -> npt.NDArray[np.uint32]:
        """The opener's first sequence number; 0 where its SYN was not seen."""
        isn = self.counts["isn"]
        found: npt.NDArray[np.uint32] = np.where(self.opens[rows], isn[rows, INGRESS], isn[rows, EGRESS])
        return found.astype(np.uint32)

    def tuples(self, rows: Rows) -> Columns:
        """What the opener sees: `src` and `dst`; the answerer: `nat_src` and `backend`, the same without conntrack."""
        opens = self.opens[rows]
        return {**self._ends(rows, (opens, ~opens)), "protocol": self.flows["protocol"][rows]}

    def translated(self, rows: Rows) -> Columns:
        """What the answerer sees alone."""
        return self._ends(rows, (None, ~self.opens[rows]))

    def _ends(self, rows: Rows, is_own: tuple[Flags | None, Flags | None]) -> Columns:
        """The opener's and the answerer's, each where the local end's tuple is it, as far as they are asked for."""
        found: Columns = {}
        for *ends, own, other in _ENDS:
            address = self.flows[own][rows], self.counts[other][rows]
            port = self.flows[f"{own}_port"][rows], self.counts[f"{other}_port"][rows]
            for end, own_is in zip(ends, is_own, strict=True):
                if own_is is not None:
                    halves = np.where(own_is[:, None], *address).astype(np.uint64)
                    found[f"{end}_hi"], found[f"{end}_lo"] = halves[:, 0], halves[:, 1]
                    found[f"{end}_port"] = np.where(own_is, *port).astype(np.uint16)
        return found

    def counters(self, rows: Rows) -> Columns:
        """Packets and bytes both ways, and when the last came."""
        opens, found = self.opens[rows], {"last": self.counts["last"][rows]}
        for name in ("packets", "bytes"):
            pair = self.counts[name][rows]
            found[name], found[f"reply_{name}"] = _turned(opens, pair[:, INGRESS], pair[:, EGRESS])
        return found


def sight(flows: npt.NDArray[np.void], counts: npt.NDArray[np.void], uplinks: Set[int], is_live: IsLive) -> Sightings:
    """The sightings of CONVERSATION and COUNTS arrays, in their order; `counts` is changed.

    `uplinks` are the interfaces that are no pod's; `is_live` says which connections are known from before, by key.
    """
    _drop_missed(counts)
    key, is_known = tell_openers(flows, counts, is_live)
    return Sightings(flows, counts, key, is_known, uplinks)


def keys(seen: Mapping[str, npt.NDArray[Any]] | npt.NDArray[np.void], opener: str, dialled: str) -> Keys:
    """Hash of the tuple between two ends of a connection's columns, and of the protocol."""
    ports = seen[f"{opener}_port"].astype(np.uint64) << np.uint64(16) | seen[f"{dialled}_port"]
    halves = (seen[f"{end}_{half}"] for end in (opener, dialled) for half in ("hi", "lo"))
    return mixed(len(ports), *halves, ports << np.uint64(8) | seen["protocol"])


def _drop_missed(counts: npt.NDArray[np.void]) -> None:
    """Take out what was missed where it counts, or before it came here: `miss_full` of the program says when."""
    rows = np.flatnonzero(counts["flags"] & np.uint32(MISSED_EGRESS | MISSED_BOTH))
    if len(rows):
        is_both = (counts["flags"][rows] & np.uint32(MISSED_BOTH)) != 0
        for name in ("packets", "bytes"):
            counts[name][rows, EGRESS] = 0
            counts[name][rows[is_both], INGRESS] = 0


def _turned(opens: Flags, one: npt.NDArray[Any], two: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """The opener's of two columns and the answerer's, of which the first is the local end's."""
    return np.where(opens, one, two), np.where(opens, two, one)
