"""Interface counters: the pods' as the pods see them, and those of the node's uplinks and overlay devices.

The host-side end of a pod's veth counts the same packets with receive and transmit swapped, so it is left out, and the
pod's own end is read through /proc. Counters are cumulative: a cycle that fails loses nothing. Which namespaces there
are is looked up every SCAN_S, and at once when a known one can no longer be read.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final

import numpy as np

from ..errors import ConfigError, TransientError
from ..links import Counts, read_links
from ..metrics import Metrics
from ..netlink import NETLINK_ROUTE, in_namespace, open_socket
from ..sandboxes import Sandbox, describe, find_sandboxes, interfaces, tcp_sockets
from ..schema import COUNTERS, SCOPES, SOCKET_COLUMNS, UTF8
from . import Columns

_log = logging.getLogger(__name__)

SCAN_S: Final = 5
SOCKETS_S: Final = 15
"""How often the sockets of a pod are counted at most. The pods take turns, one a cycle."""
SOCKETS_SHARE: Final = 0.005
"""How much of the time may go into that. The kernel goes through a table of the whole node for each pod, which may take
milliseconds, so on a node with many pods their turns come less often."""
MOST_BYTES: Final = 2**60
"""What an interface of 400 Gbit/s carries in nine months. A driver that counts below zero tells of more, and a batch
whose bytes add up to 2**63 would be refused as a whole."""
_SECOND_NS: Final = 1_000_000_000
_HALF: Final = (1 << 64) - 1
_NO_SOCKETS: Final = (0,) * len(SOCKET_COLUMNS)
_NETNS, _NAME = (list(COUNTERS.columns).index(name) for name in ("netns", "interface"))
_BYTES: Final = tuple(list(COUNTERS.columns).index(name) for name in COUNTERS.bytes_columns)

Row = tuple[Any, ...]
"""One interface, in the order of COUNTERS."""


class CounterSource:
    """Rows of COUNTERS: every interface of every pod, uplink and overlay device, each cycle."""

    table = "counters"

    def __init__(self, metrics: Metrics, proc: Path = Path("/proc"), netns: Path | None = None) -> None:
        self._metrics = metrics
        self._proc = proc
        self._netns = netns
        self._own_inode = 0
        self._socket: socket.socket | None = None
        self._sandboxes: list[Sandbox] = []
        self._scanned_ns = 0
        self._sockets: dict[int, tuple[int, ...]] = {}
        """Of each namespace, by inode: what was counted last."""
        self._sockets_ns: dict[int, int] = {}
        """When that was, since the epoch."""
        self._rest_ns = 0
        """How long to count none after the last of these."""
        self._unfit: set[tuple[int, str]] = set()
        """Namespace and name of interfaces whose counts were left out."""

    def start(self) -> None:
        """Open a socket in the node's namespace. Raises ConfigError for a wrong `netns` or `proc`."""
        try:
            self._own_inode = (self._netns or Path("/proc/self/ns/net")).stat().st_ino
            self._socket = in_namespace(self._netns, lambda: open_socket(NETLINK_ROUTE))
        except OSError as error:
            raise ConfigError(f"netns: {error}") from error
        if not (self._proc / "1").is_dir():
            self.stop()
            raise ConfigError(f"proc: {self._proc} is not a /proc with processes in it")

    def read(self, now_ns: int) -> Columns:
        """All interfaces as they are. Raises TransientError where the kernel does not answer."""
        if self._socket is None:
            raise TransientError("counters: not started")
        flaws: Counter[str] = Counter()
        try:
            links = read_links(self._socket, flaws)
        except OSError as error:
            raise TransientError(f"counters: {error}") from error
        for reason, count in flaws.items():
            self._metrics.add("malformed_messages_total", count, reason=reason)
        rows = [_row(now_ns, scope, link.ifindex, link.name, link.counts) for scope, link in links]
        return _columns(self._fit(rows + self._pod_rows(now_ns)))

    def finish(self, now_ns: int) -> Columns:
        """The same as a last `read`."""
        return self.read(now_ns)

    def stop(self) -> None:
        """Close the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _fit(self, rows: list[Row]) -> list[Row]:
        """The rows whose bytes may be true; the others are counted as lost."""
        unfit = {(row[_NETNS], row[_NAME]): row for row in rows if max(row[place] for place in _BYTES) >= MOST_BYTES}
        if unfit:
            self._metrics.lost(self.table, len(unfit), 0, "out_of_range")
        for netns, name in unfit.keys() - self._unfit:
            counts = [unfit[netns, name][place] for place in _BYTES]
            told = "counters: %s of namespace %d is left out: its driver counts %d and %d bytes"
            _log.warning(told, name, netns, *counts)
        self._unfit = set(unfit)
        return [row for row in rows if (row[_NETNS], row[_NAME]) not in unfit] if unfit else rows

    def _pod_rows(self, now_ns: int) -> list[Row]:
        if _is_past(self._scanned_ns, SCAN_S * _SECOND_NS, now_ns):
            self._scan(now_ns)
        self._count_sockets(now_ns)
        rows, complete = self._read_sandboxes(now_ns)
        if not complete:
            self._scan(now_ns)
            rows, _ = self._read_sandboxes(now_ns)
        return rows

    def _scan(self, now_ns: int) -> None:
        self._sandboxes = find_sandboxes(self._proc, self._own_inode)
        inodes = {sandbox.inode for sandbox in self._sandboxes}
        for known in (self._sockets, self._sockets_ns):
            for inode in known.keys() - inodes:
                del known[inode]
        self._scanned_ns = now_ns

    def _read_sandboxes(self, now_ns: int) -> tuple[list[Row], bool]:
        rows: list[Row] = []
        complete = True
        for position, known in enumerate(self._sandboxes):
            sandbox = known
            if not sandbox.address:  # its network was still being made
                sandbox = self._sandboxes[position] = describe(known.inode, known.folder) or known
            try:
                sockets = self._sockets.get(sandbox.inode, _NO_SOCKETS)
                for name, counts in interfaces(sandbox):
                    rows.append(_row(now_ns, "pod", sandbox.indexes.get(name, 0), name, counts, sandbox, sockets))
                    sockets = _NO_SOCKETS
            except OSError:
                complete = False
        return rows, complete

    def _count_sockets(self, now_ns: int) -> None:
        """Count the sockets of the pod whose turn it is, if it is time to: a small share of the time goes into that."""
        last_ns = max(self._sockets_ns.values(), default=0)
        if not self._sandboxes or not _is_past(last_ns, self._rest_ns, now_ns):
            return
        if last_ns > now_ns:  # by a clock that has been set back
            self._sockets_ns.clear()
        sandbox = min(self._sandboxes, key=lambda known: self._sockets_ns.get(known.inode, 0))
        if not _is_past(self._sockets_ns.get(sandbox.inode, 0), SOCKETS_S * _SECOND_NS, now_ns):
            return
        began = time.thread_time_ns()  # who waits for a processor takes none from others
        with contextlib.suppress(OSError):  # it has gone, which reading its interfaces will tell
            self._sockets[sandbox.inode] = tcp_sockets(sandbox)
        self._sockets_ns[sandbox.inode] = now_ns
        self._rest_ns = int((time.thread_time_ns() - began) / SOCKETS_SHARE)


def _is_past(since_ns: int, rest_ns: int, now_ns: int) -> bool:
    """Whether so much time has passed, or the clock has been set back, so that nobody knows."""
    return not since_ns <= now_ns < since_ns + rest_ns


def _row(
    now_ns: int,
    scope: str,
    ifindex: int,
    name: str,
    counts: Counts,
    sandbox: Sandbox | None = None,
    sockets: tuple[int, ...] = _NO_SOCKETS,
) -> Row:
    netns, address, uid = (sandbox.inode, sandbox.address, sandbox.pod_uid) if sandbox else (0, 0, "")
    return (now_ns, SCOPES.index(scope), netns, ifindex, name, address >> 64, address & _HALF, uid, *counts, *sockets)


def _columns(rows: list[Row]) -> Columns:
    values = zip(*rows, strict=True) if rows else iter([()] * len(COUNTERS.columns))
    return {
        name: column if kind == UTF8 else np.array(column, kind)
        for (name, kind), column in zip(COUNTERS.columns.items(), values, strict=True)
    }
