"""Flows from the kernel's connection tracking: a dump of its table a cycle, and the endings told in between.

A dump alone misses connections shorter than a cycle, the endings alone tell nothing of long ones; dump first and
endings after it, each connection is seen. The dump never zeroes the kernel's counters: they stay cumulative, so a
cycle that fails loses nothing. Events are taken without the kernel's guaranteed delivery: that would let a stuck agent
fill the node's table. An overrun is counted instead, and the next dump is the resync: what has vanished from it ends
with its last count.

With a journal it goes on where a killed collector was: what that one had told of the table is not told again. What
ended meanwhile ends with the last count that was seen, what began and ended meanwhile is missed.

Connections whose both ends are loopback addresses never leave their network namespace and are left out.
"""

from __future__ import annotations

import errno
import logging
import socket
import struct
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ..connections import MESSAGE_DELETE, MESSAGE_GET, MESSAGE_NEW, Entries, decode
from ..errors import ConfigError, TransientError
from ..flowtable import LAYOUT, FlowTable
from ..journal import Journal, Part
from ..metrics import Metrics
from ..netlink import NETLINK_NETFILTER, Messages, dump, in_namespace, open_socket, receive_pending
from ..schema import FLOWS
from . import Columns

_log = logging.getLogger(__name__)

_ANY_FAMILY: Final = struct.pack("=BBH", 0, 0, 0)  # struct nfgenmsg
_DESTROY_GROUP: Final = 1 << 2  # NFNLGRP_CONNTRACK_DESTROY is 3
_EVENT_BUFFER_BYTES: Final = 32 * 1024 * 1024
_DUMP_BUFFER_BYTES: Final = 4 * 1024 * 1024
_SETTINGS: Final = {
    "nf_conntrack_acct": "bytes and packets are not counted",
    "nf_conntrack_timestamp": "a connection starts when it is first seen",
}
_KIND: Final = f"conntrack {LAYOUT}"  # of what is in the journal
_SYSCTL: Final = Path("/proc/sys/net/netfilter")


class ConntrackSource:
    """Rows of FLOWS from the conntrack table of one network namespace."""

    table = "flows"

    def __init__(self, metrics: Metrics, netns: Path | None = None, journal: Journal | None = None) -> None:
        self._metrics = metrics
        self._netns = netns
        self._journal = journal
        self._flows = FlowTable()
        self._queries: socket.socket | None = None
        self._events: socket.socket | None = None

    def start(self) -> None:
        """Subscribe to endings, then try a dump. Raises ConfigError without CAP_NET_ADMIN or without conntrack."""
        if self._journal is not None:
            self._flows.restore(part.arrays for part in self._journal.open(_KIND).parts)
            self._flows.watch()
        try:
            in_namespace(self._netns, self._open)
            assert self._queries is not None  # noqa: S101 - _open has just set it
            dump(self._queries, MESSAGE_GET, _ANY_FAMILY)
        except OSError as error:
            self.stop()
            need = " (the agent needs CAP_NET_ADMIN)" if error.errno in (errno.EPERM, errno.EACCES) else ""
            raise ConfigError(f"sources: conntrack cannot be read in {self._netns or 'here'}: {error}{need}") from error

    def _open(self) -> None:
        for name, effect in _SETTINGS.items():
            _switch_on(_SYSCTL / name, effect)
        self._events = open_socket(NETLINK_NETFILTER, _DESTROY_GROUP, _EVENT_BUFFER_BYTES)
        self._queries = open_socket(NETLINK_NETFILTER, 0, _DUMP_BUFFER_BYTES)

    def read(self, now_ns: int) -> Columns:
        """Changes since the last call. Raises TransientError where the kernel does not answer: nothing is lost."""
        if self._queries is None or self._events is None:
            raise TransientError("conntrack: not started")
        try:
            dumped = dump(self._queries, MESSAGE_GET, _ANY_FAMILY)
            events, overruns = receive_pending(self._events)
        except OSError as error:
            raise TransientError(f"conntrack: {error}") from error
        if overruns:
            self._metrics.add("netlink_overruns_total", overruns)
            _log.warning("conntrack: %d event overruns; short connections may be missing", overruns)
        entries, endings = self._decode(dumped, MESSAGE_NEW), self._decode(events, MESSAGE_DELETE)
        self._metrics.set("tracked_flows", len(entries))
        rows = self._flows.update(_off_loopback(entries), _off_loopback(endings), now_ns)
        if self._journal is not None:
            self._journal.stage(self, lambda: None)
        return _columns(rows)

    def finish(self, now_ns: int) -> Columns:
        """The same as a last `read`: connections that live on stay open, and are never told as closed."""
        return self.read(now_ns)

    def changes(self) -> Part:
        """For the journal: what the last read has changed."""
        return Part({}, self._flows.changed(everything=False))

    def everything(self) -> Part:
        """For the journal: all that the next collector needs."""
        return Part({}, self._flows.changed(everything=True))

    def stop(self) -> None:
        """Close the sockets."""
        for held in (self._queries, self._events, self._journal):
            if held is not None:
                held.close()
        self._queries = self._events = None

    def _decode(self, messages: Messages, kind: int) -> Entries:
        entries = decode(messages, kind)
        for reason, count in messages.flaws.items():
            self._metrics.add("malformed_messages_total", count, reason=reason)
        return entries


def _switch_on(setting: Path, effect: str) -> None:
    """Set a sysctl of the current namespace to 1, or say what follows from its being off."""
    try:
        if setting.read_text().strip() == "0":
            setting.write_text("1")
    except OSError as error:
        _log.warning("conntrack: %s is off and cannot be switched on (%s): %s", setting.name, error.strerror, effect)


def _off_loopback(entries: Entries) -> Entries:
    return entries[~(_is_loopback(entries, "src") & _is_loopback(entries, "backend"))]


def _is_loopback(entries: Entries, end: str) -> npt.NDArray[np.bool_]:
    high, low = entries[f"{end}_hi"], entries[f"{end}_lo"]
    on_loopback: npt.NDArray[np.bool_] = (high == 0) & ((low >> np.uint64(24) == 0xFFFF_7F) | (low == 1))
    return on_loopback


def _columns(rows: npt.NDArray[Any]) -> Columns:
    return {name: np.ascontiguousarray(rows[name]) for name in FLOWS.columns_of(1)}
