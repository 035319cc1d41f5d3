"""The packets being decoded: where each one stands, and what its IP headers said so far.

A header's function is given the packets that stand at such a header, reads it for all of them, and moves them on:
`enter` the next header or `stop`. The invariants: positions only grow; only `require` says that bytes may be read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from .kinds import Kind, Reason, Tunnel
from .octets import Octets, Positions

Packets: TypeAlias = npt.NDArray[np.intp]
"""Indices of the packets that a step is about."""

COLUMNS: Final = {
    "src_hi": np.uint64,
    "src_lo": np.uint64,
    "dst_hi": np.uint64,
    "dst_lo": np.uint64,
    "src_port": np.uint16,
    "dst_port": np.uint16,
    "protocol": np.uint8,
    "bytes": np.uint64,
}

_BY_VERSIONS: Final = np.array(
    [Tunnel.IPIP, Tunnel.SIX_IN_FOUR, Tunnel.FOUR_IN_SIX, Tunnel.SIX_IN_SIX], np.uint8
)  # of the outer header and the inner one


@dataclass(frozen=True, slots=True)
class Headers:
    """One IP header a packet, in equal-length columns of the dtypes in `COLUMNS`.

    Addresses are halves as in `collector.schema`. `protocol` is the one after IPv6 extension headers and AH. Ports are
    0 where there are none: other protocols, later fragments, a header cut short. `bytes` is IPv4's total length or
    IPv6's payload length + 40, and 0 where the packet leaves its length out (BIG TCP, jumbograms).
    """

    src_hi: npt.NDArray[np.uint64]
    src_lo: npt.NDArray[np.uint64]
    dst_hi: npt.NDArray[np.uint64]
    dst_lo: npt.NDArray[np.uint64]
    src_port: npt.NDArray[np.uint16]
    dst_port: npt.NDArray[np.uint16]
    protocol: npt.NDArray[np.uint8]
    bytes: npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Carriage:
    """How the innermost IP header of each packet came to be where it is, in equal-length columns."""

    tunnel: npt.NDArray[np.uint8]
    """The innermost `Tunnel`."""
    vni: npt.NDArray[np.int64]
    """The network in that tunnel: of VXLAN, Geneve and NVGRE; -1 where the tunnel has none."""
    overhead: npt.NDArray[np.uint64]
    """Bytes from the outermost IP header to the innermost."""
    opaque: npt.NDArray[np.uint8]
    """The `Opaque` that the innermost IP header carries."""


class Frames:
    """`count` packets of one buffer; `start` and `end` delimit the captured bytes of each."""

    def __init__(self, octets: Octets, start: Positions, end: Positions, kind: npt.NDArray[np.uint8]) -> None:
        self.octets = octets
        self.count = len(start)
        self.at = start.copy()
        self.end = end.copy()
        self.kind = kind.copy()
        self.reason = np.zeros(self.count, np.uint8)
        self.depth = np.zeros(self.count, np.uint8)
        """IP headers read so far."""
        self.network = np.zeros(self.count, np.int64)
        """Where the innermost IP header begins."""
        self._outermost = np.zeros(self.count, np.int64)
        """Where the outermost IP header begins."""
        self.is_later = np.zeros(self.count, np.bool_)
        """It is a fragment other than the first."""
        self.opaque = np.zeros(self.count, np.uint8)
        self.entered = np.zeros(self.count, np.uint8)
        """The `Tunnel` whose header was read since the last IP header."""
        self.network_in = np.full(self.count, -1, np.int64)
        """The VNI that it gave."""
        self._tunnel = np.zeros(self.count, np.uint8)
        self._vni = np.full(self.count, -1, np.int64)
        self._columns = {name: np.zeros(2 * self.count, dtype) for name, dtype in COLUMNS.items()}
        """First half: the outermost IP header of each packet; second half: the innermost, where it is another."""

    def require(self, who: Packets, size: int | Positions, reason: Reason = Reason.LINK_CUT) -> Packets:
        """Those of `who` that hold `size` more bytes; the others stop for `reason`."""
        fits = self.at[who] + size <= self.end[who]
        if fits.all():
            return who
        self.stop(who[~fits], reason)
        return who[fits]

    def enter(self, who: Packets, at: Positions, kind: Kind | npt.NDArray[np.uint8]) -> None:
        """Move on to the header of `kind` at `at`; `Kind.PAYLOAD` is the ordinary end."""
        self.at[who] = at
        self.kind[who] = kind

    def stop(self, who: Packets, reason: Reason) -> None:
        """End the decoding of `who` for `reason`."""
        self.kind[who] = Kind.PAYLOAD
        self.reason[who] = reason

    def open_header(self, who: Packets, length: Positions, **columns: npt.NDArray[Any]) -> None:
        """Record an IP header and close the packet after `length` bytes from here; length 0 says nothing."""
        at, end = self.at[who], self.end[who]
        self._note_tunnel(who, at)
        self.network[who] = at
        self.end[who] = np.where(length > 0, np.minimum(end, at + length), end)
        self.depth[who] += 1
        row = self._row(who)
        for name, values in columns.items():
            self._columns[name][row] = values
        self._columns["bytes"][row] = length
        inner = row[row >= self.count]
        self._columns["src_port"][inner] = 0
        self._columns["dst_port"][inner] = 0

    def set_protocol(self, who: Packets, protocol: Positions) -> None:
        """Say what the innermost IP header carries after all."""
        self._columns["protocol"][self._row(who)] = protocol

    def set_ports(self, who: Packets, src_port: Positions, dst_port: Positions) -> None:
        """Give the innermost IP header its ports."""
        row = self._row(who)
        self._columns["src_port"][row] = src_port
        self._columns["dst_port"][row] = dst_port

    def outer(self) -> Headers:
        """The outermost IP header of each packet that has one, in order."""
        return self._headers(np.flatnonzero(self.depth))

    def inner(self) -> Headers:
        """The innermost IP header of each packet that has one, in order."""
        return self._headers(self._row(np.flatnonzero(self.depth)))

    def carriage(self) -> Carriage:
        """How the header came that `inner` tells of."""
        rows = np.flatnonzero(self.depth)
        overhead = (self.network[rows] - self._outermost[rows]).astype(np.uint64)
        return Carriage(self._tunnel[rows], self._vni[rows], overhead, self.opaque[rows])

    def _note_tunnel(self, who: Packets, at: Positions) -> None:
        """Say for an IP header at `at` what carries it."""
        is_inner = self.depth[who] > 0
        if not is_inner.any():
            self._outermost[who] = at
            return
        self._outermost[who[~is_inner]] = at[~is_inner]
        inside, at = who[is_inner], at[is_inner]
        outer_is_six = self.octets.u8(self.network[inside]) >> 4 == 6
        is_six = self.octets.u8(at) >> 4 == 6
        entered = self.entered[inside]
        self._tunnel[inside] = np.where(entered != Tunnel.NONE, entered, _BY_VERSIONS[outer_is_six * 2 + is_six])
        self._vni[inside] = self.network_in[inside]
        self.entered[inside] = Tunnel.NONE
        self.network_in[inside] = -1

    def _row(self, who: Packets) -> Packets:
        return np.where(self.depth[who] > 1, who + self.count, who)

    def _headers(self, row: Packets) -> Headers:
        return Headers(**{name: column[row] for name, column in self._columns.items()})
