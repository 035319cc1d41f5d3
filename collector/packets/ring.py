"""Live packets of a network namespace, from a ring of blocks that the kernel fills and the process maps (TPACKET_V3).

It copies nothing and looks at no header: a block is positions in the ring, with what the kernel says of each packet.
The invariant: a block is the kernel's again as soon as the next one is asked for, so nothing may hold on to it.

Source: include/uapi/linux/if_packet.h, Documentation/networking/packet_mmap.rst of the kernel.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import select
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ..netlink import in_namespace
from .octets import Octets, Positions

BLOCK_BYTES: Final = 512 * 1024
BLOCKS: Final = 32
SNAP_BYTES: Final = 256
"""Captured of each packet: the headers of three tunnels fit."""
RETIRE_MS: Final = 50
"""A block that is not full is handed over after this time, so that a ring holds this times its blocks at least."""

_ETH_P_ALL: Final = 3
_SOL_PACKET: Final = 263
_PACKET_RX_RING, _PACKET_STATISTICS, _PACKET_VERSION = 5, 6, 10
_TPACKET_V3: Final = 2
_SO_ATTACH_FILTER: Final = 26
_KEEP_ALL: Final = struct.pack("=HBBI", 0x06, 0, 0, SNAP_BYTES)  # BPF_RET

_STATUS, _COUNT, _FIRST = 8, 12, 16  # in struct tpacket_block_desc
_STATUS_USER, _STATUS_KERNEL = 1, 0
_FRAME: Final = np.dtype(  # struct tpacket3_hdr, and the sockaddr_ll after it
    {
        "names": ["next", "sec", "nsec", "snaplen", "len", "mac", "ifindex", "hardware", "type"],
        "formats": ["u4", "u4", "u4", "u4", "u4", "u2", "i4", "u2", "u1"],
        "offsets": [0, 4, 8, 12, 16, 24, 52, 56, 58],
        "itemsize": 68,
    }
)
OUTGOING: Final = 4
"""PACKET_OUTGOING: the packet leaves through the interface."""


@dataclass(frozen=True, slots=True)
class Captured:
    """The packets of one block, in the order in which they came. Valid until the next block is asked for."""

    octets: Octets
    start: Positions
    end: Positions
    """Captured bytes of each packet: `octets[start:end]`."""
    size: Positions
    """Bytes of each packet, captured or not."""
    time: npt.NDArray[np.int64]
    """ns since the epoch."""
    ifindex: npt.NDArray[np.uint32]
    hardware: npt.NDArray[np.uint16]
    """ARPHRD_*: what the packet begins with."""
    is_outgoing: npt.NDArray[np.bool_]


class Ring:
    """Packets at all interfaces of one network namespace. Needs CAP_NET_RAW. Not thread-safe.

    `program` is classic BPF, which says how much of each packet to keep; without it SNAP_BYTES of all are kept.
    """

    def __init__(
        self,
        netns: Path | None = None,
        blocks: int = BLOCKS,
        block_bytes: int = BLOCK_BYTES,
        program: bytes = _KEEP_ALL,
        retire_ms: int = RETIRE_MS,
    ) -> None:
        self._program = program
        self._retire_ms = retire_ms
        self._netns = netns
        self._blocks, self._block_bytes = blocks, block_bytes
        self._socket: socket.socket | None = None
        self._map: mmap.mmap | None = None
        self._octets: Octets | None = None
        self._next = 0

    def start(self) -> None:
        """Open the ring and begin to fill it. Raises OSError where kernel or privileges refuse."""
        opened = in_namespace(self._netns, lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
        try:
            opened.setsockopt(_SOL_PACKET, _PACKET_VERSION, _TPACKET_V3)
            _attach(opened, self._program)
            frame_bytes, size = 2048, self._blocks * self._block_bytes
            frames = size // frame_bytes
            request = struct.pack(
                "=7I", self._block_bytes, self._blocks, frame_bytes, frames, self._retire_ms, 0, 0
            )  # struct tpacket_req3
            opened.setsockopt(_SOL_PACKET, _PACKET_RX_RING, request)
            self._map = mmap.mmap(opened.fileno(), size, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
            self._octets = Octets(memoryview(self._map))
            _bind_to_all(opened)
        except OSError:
            opened.close()
            raise
        self._socket = opened
        self._next = 0

    def blocks(self, timeout_s: float) -> Iterator[Captured]:
        """The blocks that are ready, after waiting up to `timeout_s` for the first."""
        if self._socket is None or self._map is None or self._octets is None:
            raise OSError("the ring is closed")
        words = np.frombuffer(self._map, np.uint32)
        if not self._is_ready(words):
            poller = select.poll()
            poller.register(self._socket, select.POLLIN)
            poller.poll(timeout_s * 1000)
        for _ in range(self._blocks):
            if not self._is_ready(words):
                return
            base = self._next * self._block_bytes
            count, first = int(words[(base + _COUNT) // 4]), int(words[(base + _FIRST) // 4])
            if count:
                yield self._captured(words, base + first, count)
            words[(base + _COUNT) // 4] = 0  # so that it is not taken for one that is being filled
            words[(base + _STATUS) // 4] = _STATUS_KERNEL
            self._next = (self._next + 1) % self._blocks

    def until_now(self, patience_s: float) -> Iterator[Captured]:
        """The blocks with every packet that came before now, also where the kernel still fills the last of them.

        It hands that one over after twice `retire_ms`, for its timer looks whether a block is the one that it has seen
        before, or when it gets to it: `patience_s` at most is waited. Nothing is waited for where none has a packet.
        """
        yield from self.blocks(0.0)
        if self._has_packets():
            yield from self.blocks(patience_s)

    def drops(self) -> int:
        """Packets that found no room in the ring since the last call."""
        if self._socket is None:
            return 0
        _, drops, _ = struct.unpack("=III", self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 12))
        return int(drops)

    def stop(self) -> None:
        """Close; safe to call twice."""
        self._octets = None
        if self._map is not None:
            self._map = None  # unmapped when the last view of it has gone
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _has_packets(self) -> bool:
        """Whether the next block has any: the kernel counts them in it as they come, before it hands it over."""
        if self._map is None:
            raise OSError("the ring is closed")
        return bool(np.frombuffer(self._map, np.uint32)[(self._next * self._block_bytes + _COUNT) // 4])

    def _is_ready(self, words: npt.NDArray[np.uint32]) -> bool:
        return bool(words[(self._next * self._block_bytes + _STATUS) // 4] & _STATUS_USER)

    def _captured(self, words: npt.NDArray[np.uint32], first: int, count: int) -> Captured:
        assert self._map is not None  # noqa: S101 - `blocks` has looked
        assert self._octets is not None  # noqa: S101
        at = np.fromiter(_chain(words, first, count), np.int64, count)
        frames = self._fields(at, _FRAME)
        start = at + frames["mac"]
        return Captured(
            octets=self._octets,
            start=start,
            end=start + frames["snaplen"],
            size=frames["len"].astype(np.int64),
            time=frames["sec"].astype(np.int64) * 1_000_000_000 + frames["nsec"],
            ifindex=frames["ifindex"].astype(np.uint32),
            hardware=frames["hardware"],
            is_outgoing=frames["type"] == OUTGOING,
        )

    def _fields(self, at: Positions, dtype: np.dtype[Any]) -> npt.NDArray[np.void]:
        """One structure a position, copied out of the ring."""
        assert self._map is not None  # noqa: S101 - `blocks` has looked
        overlapping = np.ndarray((len(self._map) - dtype.itemsize + 1,), dtype, self._map, strides=(1,))
        return overlapping[at]


def _chain(words: npt.NDArray[np.uint32], first: int, count: int) -> Iterator[int]:
    """Where each packet's header lies: each tells how far it is to the next, in multiples of 8 bytes."""
    at = first
    for _ in range(count):
        yield at
        at += int(words[at >> 2])


def _attach(opened: socket.socket, instructions: bytes) -> None:
    program = ctypes.create_string_buffer(instructions, len(instructions))
    pointer = struct.pack("@HP", len(instructions) // 8, ctypes.addressof(program))  # struct sock_fprog
    opened.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, pointer)


def _bind_to_all(opened: socket.socket) -> None:
    """Begin to receive from every interface; the standard library can bind to a named one alone."""
    address = struct.pack("=HHiHBB8s", socket.AF_PACKET, socket.htons(_ETH_P_ALL), 0, 0, 0, 0, b"")  # sockaddr_ll
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.bind(opened.fileno(), address, len(address)) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
