"""Flows from captured packets, where kernel or privileges allow no eBPF: every header of every packet is read here.

A thread takes the kernel's blocks and sums them up; a read puts the two directions of each connection together. With
CAP_NET_ADMIN conntrack tells the backend behind a Service address, as it does in the kernel for eBPF; without, a
connection is what its packets say at each interface. It costs the processor time that the other sources do not.
"""

from __future__ import annotations

import logging
import struct
import threading
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ..connections import ENTRY, MESSAGE_DELETE, MESSAGE_GET, MESSAGE_NEW, Entries, decode
from ..ebpf.layout import EGRESS
from ..ebpf.sightings import keys, sight
from ..ebpf.tracking import Connections
from ..errors import ConfigError, TransientError
from ..links import capture_points
from ..metrics import Metrics
from ..netlink import NETLINK_NETFILTER, NETLINK_ROUTE, dump, in_namespace, open_socket, receive_pending
from ..packets.oneway import CT_ORIGINAL, CT_REPLY, FLOW, SUM, conversations
from ..packets.ring import Ring
from ..packets.sums import Points, merged, sums_of
from ..schema import FLOWS
from . import Columns

_log = logging.getLogger(__name__)

_POLL_S: Final = 0.1
_LINKS_S: Final = 1.0
"""How often the interfaces are looked at."""
_ANY_FAMILY: Final = struct.pack("=BBH", 0, 0, 0)  # struct nfgenmsg
_DESTROY_GROUP: Final = 1 << 2  # NFNLGRP_CONNTRACK_DESTROY is 3
_EVENT_BUFFER_BYTES: Final = 16 * 1024 * 1024
_EARLY_NS: Final = 10_000_000
"""A packet may be captured this much before connection tracking, by its own clock, has taken it in."""

Sums = tuple[npt.NDArray[np.void], npt.NDArray[np.void]]


class PacketSource:
    """Rows of FLOWS from the packets at one network namespace's interfaces. Needs CAP_NET_RAW."""

    table = "flows"

    def __init__(self, metrics: Metrics, netns: Path | None = None) -> None:
        self._metrics = metrics
        self._netns = netns
        self._ring = Ring(netns)
        self._connections = Connections()
        self._links: Any = None
        self._conntrack: Any = None
        self._endings: Any = None
        self._ended: Entries = np.zeros(0, ENTRY)  # of the read before
        self._kinds: Mapping[int, str] = {}
        """Interfaces at the last look of those that come in turn: of one that has gone since, packets wait."""
        self._points = Points.of({})
        self._met: set[int] = set()
        """Interfaces that packets have come at: at others nobody has looked yet."""
        self._uplinks: set[int] = set()
        self._parts: list[Sums] = []
        self._missed: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._reader = threading.Thread(target=self._read_ring, name="packets", daemon=True)

    def start(self) -> None:
        """Open the ring. Raises ConfigError where kernel or privileges refuse it."""
        try:
            self._links = in_namespace(self._netns, lambda: open_socket(NETLINK_ROUTE))
            self._kinds = self._look()
            self._ring.start()
        except (OSError, TransientError) as error:
            self.stop()
            raise ConfigError(
                f"sources: packets cannot be captured in {self._netns or 'here'}: {error} (the agent needs CAP_NET_RAW)"
            ) from error
        try:
            self._conntrack, self._endings = in_namespace(self._netns, _open_conntrack)
            dump(self._conntrack, MESSAGE_GET, _ANY_FAMILY)
        except (OSError, TransientError) as error:
            _log.warning("packets: without connection tracking (%s) the backends of Services are not known", error)
            self._close_conntrack()
        self._reader.start()

    def read(self, now_ns: int) -> Columns:
        """What was captured since the last call."""
        return self._take(now_ns, final=False)

    def finish(self, now_ns: int) -> Columns:
        """The same, and what waited for a next read: connections that live on stay open."""
        return self._take(now_ns, final=True)

    def stop(self) -> None:
        """Close ring and sockets; safe to call twice."""
        self._stop.set()
        if self._reader.ident is not None:
            self._reader.join()
        self._ring.stop()
        if self._links is not None:
            self._links.close()
            self._links = None
        self._close_conntrack()

    def _close_conntrack(self) -> None:
        for sock in (self._conntrack, self._endings):
            if sock is not None:
                sock.close()
        self._conntrack = self._endings = None

    def _read_ring(self) -> None:
        looked_at = time.monotonic()
        while not self._stop.is_set():
            try:
                wall_ns = time.time_ns() - time.monotonic_ns()
                for captured in self._ring.blocks(_POLL_S):
                    self._meet(set(np.unique(captured.ifindex).tolist()))
                    missed: Counter[tuple[str, str]] = Counter()
                    part = sums_of(captured, self._points, wall_ns, missed)
                    with self._lock:
                        self._parts.append(part)
                        self._missed.update(missed)
                if time.monotonic() - looked_at >= _LINKS_S:
                    looked_at = time.monotonic()
                    self._kinds = self._look()
            except (OSError, TransientError) as error:
                _log.warning("packets: %s", error)
                self._stop.wait(_POLL_S)

    def _meet(self, interfaces: set[int]) -> None:
        """Look at once where packets come at an interface that is not known: they are a new pod's first."""
        if interfaces <= self._met:
            return
        try:
            self._look()
        except (OSError, TransientError) as error:
            _log.warning("packets: %s", error)
        else:
            self._met |= interfaces

    def _look(self) -> Mapping[int, str]:
        flaws: Counter[str] = Counter()
        kinds = capture_points(self._links, flaws)
        there, before = {**self._kinds, **kinds}, self._points
        self._points = Points.of(there)
        self._met -= {*before.pods.tolist(), *before.node.tolist()} - there.keys()
        self._uplinks |= {ifindex for ifindex, kind in kinds.items() if kind == "node"}
        for reason, count in flaws.items():
            self._metrics.add("malformed_messages_total", count, reason=reason)
        return kinds

    def _take(self, now_ns: int, *, final: bool) -> Columns:
        if self._links is None:
            raise TransientError("packets: not started")
        with self._lock:
            parts, self._parts = self._parts, []
            missed, self._missed = self._missed, Counter()
        for (what, reason), count in missed.items():
            self._metrics.add(f"missed_{what}_total", count, reason=reason)
        self._metrics.add("missed_packets_total", self._ring.drops(), reason="ring_full")
        wall_ns = time.time_ns() - time.monotonic_ns()
        flows, sums = merged(parts)
        if self._conntrack is not None and len(flows):
            tell_translations(flows, sums, self._entries(), wall_ns)
        seen = sight(*conversations(flows, sums), self._uplinks, self._connections.holds)
        cut = self._connections.cut
        rows = self._connections.update(seen, now_ns - wall_ns, wall_ns, final=final)
        self._metrics.set("tracked_flows", len(self._connections))
        self._metrics.add("cut_flows_total", self._connections.cut - cut)
        return {name: rows[name] for name in FLOWS.columns_of(1)}

    def _entries(self) -> Entries:
        """What conntrack knows, and what it knew until a short while ago; nothing where it does not answer."""
        try:
            living = decode(dump(self._conntrack, MESSAGE_GET, _ANY_FAMILY), MESSAGE_NEW)
            events, overruns = receive_pending(self._endings)
        except (OSError, TransientError) as error:
            _log.warning("packets: conntrack: %s", error)
            return self._ended
        self._metrics.add("netlink_overruns_total", overruns)
        ended = decode(events, MESSAGE_DELETE)
        entries = np.concatenate([self._ended, ended, living], dtype=ENTRY)
        self._ended = ended
        return entries


def _open_conntrack() -> tuple[Any, Any]:
    endings = open_socket(NETLINK_NETFILTER, _DESTROY_GROUP, _EVENT_BUFFER_BYTES)
    return open_socket(NETLINK_NETFILTER, 0, 1 << 22), endings


def tell_translations(flows: npt.NDArray[np.void], sums: npt.NDArray[np.void], entries: Entries, wall_ns: int) -> None:
    """Set in `sums` what conntrack knows of each flow, as the eBPF program does: direction, and the other tuple.

    A flow's tuple is looked up as it is on its way in and turned round on its way out: NAT is done between the two.
    """
    assert flows.dtype == FLOW  # noqa: S101
    assert sums.dtype == SUM  # noqa: S101
    is_out = flows["direction"] == EGRESS
    asked = np.zeros(len(flows), entries.dtype)
    asked["protocol"] = flows["protocol"]
    for end, name, turned in (("src", "source", "destination"), ("dst", "destination", "source")):
        for half, column in (("hi", 0), ("lo", 1)):
            asked[f"{end}_{half}"] = np.where(is_out, flows[turned][:, column], flows[name][:, column])
        asked[f"{end}_port"] = np.where(is_out, flows[f"{turned}_port"], flows[f"{name}_port"])
    wanted = keys(asked, "src", "dst")
    last_ns = sums["last"] + wall_ns + _EARLY_NS
    for ends, others, way_in, way_out in (
        (("src", "dst"), ("backend", "nat_src"), CT_ORIGINAL, CT_REPLY),
        (("backend", "nat_src"), ("src", "dst"), CT_REPLY, CT_ORIGINAL),
    ):
        rows, entry = _as_of(wanted, last_ns, keys(entries, *ends), entries["start"])
        rows, entry = rows[sums["conntrack"][rows] == 0], entry[sums["conntrack"][rows] == 0]
        sums["conntrack"][rows] = np.where(is_out[rows], way_out, way_in)
        for name, end in zip(("other_source", "other_destination"), others, strict=True):
            sums[name][rows, 0], sums[name][rows, 1] = entries[f"{end}_hi"][entry], entries[f"{end}_lo"][entry]
            sums[f"{name}_port"][rows] = entries[f"{end}_port"][entry]


def _as_of(
    wanted: npt.NDArray[np.uint64],
    until: npt.NDArray[np.int64],
    known: npt.NDArray[np.uint64],
    since: npt.NDArray[np.int64],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Which of the wanted keys are known, and by which entry: the latest that is not later than `until`.

    Few keys are there more than once, so the first entries of all keys are tried together, then the second ones, ...
    """
    order = np.lexsort((since, known))
    ordered = known[order]
    at = np.searchsorted(ordered, wanted)
    found = np.full(len(wanted), -1, np.int64)
    rows = np.arange(len(wanted))
    while True:
        is_there = at < len(ordered)
        rows, at = rows[is_there], at[is_there]
        is_same = (ordered[at] == wanted[rows]) & (since[order[at]] <= until[rows])
        rows, at = rows[is_same], at[is_same]
        if not len(rows):
            break
        found[rows] = order[at]
        at = at + 1
    told = np.flatnonzero(found >= 0)
    return told, found[told]
