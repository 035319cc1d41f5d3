"""Netlink datagrams of one read, kept back to back in one buffer, and where each message in them begins.

Walking `nlmsg_len` is inherently one step after another, so it is the one loop over messages of this agent: two integer
reads a message, about a tenth of what receiving the message costs. Everything after it works on arrays.
"""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

DATAGRAM_BYTES = 64 * 1024  # the kernel never builds a larger dump chunk than the 32 KiB it aims for
HEADER_BYTES = 16  # struct nlmsghdr

NLMSG_ERROR = 2
NLMSG_DONE = 3
NLM_F_DUMP_INTR = 0x10


class Messages:
    """An appendable buffer of datagrams. `starts` are the 4-byte word positions of the well-formed messages.

    `flaws` counts, by reason, what was not a message.
    """

    def __init__(self, capacity_bytes: int = 16 * DATAGRAM_BYTES) -> None:
        self._words = np.zeros(capacity_bytes // 4, np.uint32)
        self._end = 0
        self._starts: list[int] = []
        self.flaws: Counter[str] = Counter()

    @property
    def words(self) -> npt.NDArray[np.uint32]:
        """The buffer in host order, as netlink's own headers are."""
        return self._words[: self._end]

    @property
    def starts(self) -> npt.NDArray[np.int64]:
        """Where the well-formed messages begin, in words."""
        return np.array(self._starts, np.int64)

    @property
    def size_bytes(self) -> int:
        """Bytes received so far."""
        return self._end * 4

    def __len__(self) -> int:
        return len(self._starts)

    def receive(self, sock: socket.socket) -> int:
        """Receive one datagram; returns how many new messages it held. Raises what the socket raises."""
        room = DATAGRAM_BYTES // 4
        if self._end + room > len(self._words):
            self._words = np.concatenate([self._words, np.zeros(max(len(self._words), room), np.uint32)])
        view = self._words[self._end : self._end + room].data.cast("B")
        size = sock.recv_into(view, DATAGRAM_BYTES, socket.MSG_TRUNC)
        return self._walk(min(size, DATAGRAM_BYTES), cut=size > DATAGRAM_BYTES)

    def append(self, datagram: bytes) -> int:
        """Append one datagram that is already at hand, as from a recording."""
        words = np.frombuffer(datagram + bytes(-len(datagram) % 4), np.uint32)
        if self._end + len(words) > len(self._words):
            self._words = np.concatenate([self._words, np.zeros(max(len(self._words), len(words)), np.uint32)])
        self._words[self._end : self._end + len(words)] = words
        return self._walk(len(datagram), cut=False)

    def _walk(self, size: int, *, cut: bool) -> int:
        """Note the messages of the `size` bytes that lie behind the end, and move the end behind them."""
        found = len(self._starts)
        words = self._words.data
        position, left = self._end, size
        self._end += (size + 3) // 4
        while left >= HEADER_BYTES:
            length: int = words[position]
            if not HEADER_BYTES <= length <= left:
                break
            self._starts.append(position)
            aligned = (length + 3) // 4
            position += aligned
            left -= aligned * 4
        if left > 0 or cut:
            self.flaws["truncated"] += 1
        return len(self._starts) - found

    def kinds_of_last(self, count: int) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Types and flags of the last `count` messages."""
        starts = np.array(self._starts[len(self._starts) - count :], np.int64)
        kinds = self._words[starts + 1]
        return kinds & 0xFFFF, kinds >> 16

    def contents(self) -> Iterator[bytes]:
        """Each message's own bytes, for the few that are read one by one."""
        for start in self._starts:
            length = int(self._words[start])
            yield self._words[start : start + (length + 3) // 4].tobytes()[:length]

    def drop_last(self, count: int) -> None:
        """Forget the last `count` messages: the end marks of a dump are none of its content."""
        del self._starts[len(self._starts) - count :]

    def error_of_last(self) -> int:
        """The errno that the last message carries where it is NLMSG_ERROR or NLMSG_DONE; 0 where it carries none."""
        start = self._starts[-1]
        if self._words[start] < HEADER_BYTES + 4:
            return 0
        return -int(self._words[start + 4 : start + 5].view(np.int32)[0])
