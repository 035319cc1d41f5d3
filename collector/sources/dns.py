"""DNS as the node's pods speak it: questions and answers at the pods' own interfaces, over UDP and TCP.

The kernel hands over only packets of port 53. At most MAX_MESSAGES are read a cycle; the others are counted as skipped.
Where the kernel does not let us, that is said once, and there are no rows. What is not read: anything but the header,
the question and address records; DNS over TLS or HTTPS; of a message that TCP cuts into segments, what comes after the
first. Nothing of a payload is kept.
"""

from __future__ import annotations

import logging
import struct
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

from ..dns.exchanges import Exchanges, Party
from ..dns.messages import MalformedError, Message, parse
from ..errors import TransientError
from ..links import capture_points
from ..metrics import Metrics
from ..netlink import NETLINK_ROUTE, in_namespace, open_socket
from ..packets.decoder import decode
from ..packets.kinds import Kind
from ..packets.ring import Captured, Ring
from ..packets.sums import Points
from . import Columns

_log = logging.getLogger(__name__)

HOOK: Final = "dns"
PORT: Final = 53
MAX_MESSAGES: Final = 5_000
"""Messages read in one cycle."""
SNAP_BYTES: Final = 4096
_RETIRE_MS: Final = 250
_PATIENCE_S: Final = 2.0
"""How late the kernel may hand over the last of it, on a node that is very busy."""
_RING: Final = {"blocks": 32, "block_bytes": 128 * 1024, "retire_ms": _RETIRE_MS}
"""Room for 8 s of little traffic, and for 4 MB of much: a read comes once a second."""
_TCP, _UDP = 6, 17


class DnsSource:
    """Rows of DNS from the pods of one network namespace. Needs CAP_NET_RAW."""

    table = "dns"

    def __init__(self, metrics: Metrics, netns: Path | None = None) -> None:
        self._metrics = metrics
        self._netns = netns
        self._ring = Ring(netns, program=port_filter(PORT, SNAP_BYTES), **_RING)
        self._exchanges = Exchanges()
        self._links: Any = None
        self._pods = np.empty(0, np.uint32)
        """The pods' interfaces that were there at the last read: of one that has gone since, packets wait."""

    def start(self) -> None:
        """Open the ring; never raises."""
        try:
            self._links = in_namespace(self._netns, lambda: open_socket(NETLINK_ROUTE))
            self._ring.start()
        except OSError as error:
            self.stop()
            reason = "privileges" if isinstance(error, PermissionError) else "kernel"
            self._metrics.set("hook_info", 0, hook=HOOK, reason=reason)
            _log.warning("DNS is not read in %s: %s (the agent needs CAP_NET_RAW)", self._netns or "here", error)
        else:
            self._metrics.set("hook_info", 1, hook=HOOK, reason="")

    def read(self, now_ns: int) -> Columns:
        """Exchanges that have ended since the last call. Raises TransientError where the kernel does not answer."""
        return self._take(now_ns, 0.0)

    def finish(self, now_ns: int) -> Columns:
        """The same, and what lies in a block that is not full yet; questions that still wait are told nowhere."""
        return self._take(now_ns, _PATIENCE_S)

    def stop(self) -> None:
        """Close ring and socket; safe to call twice."""
        self._ring.stop()
        if self._links is not None:
            self._links.close()
            self._links = None

    def _take(self, now_ns: int, patience_s: float) -> Columns:
        if self._links is None:
            return self._exchanges.take(now_ns)
        counts: Counter[str] = Counter()
        try:
            flaws: Counter[str] = Counter()
            there = Points.of(capture_points(self._links, flaws)).pods
            pods, self._pods = np.union1d(there, self._pods), there
            for captured in self._ring.until_now(patience_s):
                self._read(captured, pods, counts)
            counts["ring_full"] += self._ring.drops()
        except OSError as error:
            raise TransientError(f"dns: {error}") from error
        for result, count in counts.items():
            self._metrics.add("dns_messages_total", count, result=result)
        return self._exchanges.take(now_ns)

    def _read(self, captured: Captured, pods: np.ndarray[Any, Any], counts: Counter[str]) -> None:
        rows = np.flatnonzero(np.isin(captured.ifindex, pods))
        ethernet, sealed = np.full(len(rows), Kind.ETHERNET, np.uint8), np.ones(len(rows), np.bool_)
        decoded = decode(captured.octets, captured.start[rows], captured.end[rows], ethernet, sealed)
        head, packet = decoded.inner, rows[decoded.rows]
        outgoing = captured.is_outgoing[packet]
        is_asked = ~outgoing & (head.dst_port == PORT)  # a pod sends to a server: not what a server in a pod is sent
        is_told = outgoing & (head.src_port == PORT)
        for row in np.flatnonzero(is_asked | is_told).tolist():
            if counts["read"] + counts["malformed"] >= MAX_MESSAGES:
                counts["skipped"] += 1
                continue
            one = {end: (getattr(head, f"{end}_hi"), getattr(head, f"{end}_lo")) for end in ("src", "dst")}
            address = {end: struct.pack(">QQ", int(hi[row]), int(lo[row])) for end, (hi, lo) in one.items()}
            protocol = int(head.protocol[row])
            client, server = ("src", "dst") if is_asked[row] else ("dst", "src")
            party: Party = (
                address[client],
                int(getattr(head, f"{client}_port")[row]),
                address[server],
                int(getattr(head, f"{server}_port")[row]),
                protocol,
            )
            data = captured.octets.part(int(decoded.at[row]), int(captured.end[packet[row]]))
            time_ns = int(captured.time[packet[row]])
            try:
                for message in _messages(data, protocol):
                    if message.is_reply == bool(is_told[row]):
                        self._exchanges.add(message, party, time_ns)
                        counts["read"] += 1
            except MalformedError:
                counts["malformed"] += 1


def _messages(data: bytes, protocol: int) -> Iterator[Message]:
    """The messages of one packet; `data` begins after the ports of TCP and after the header of UDP.

    Of the last one over TCP there may be the beginning alone, which holds its question. Raises MalformedError.
    """
    if protocol == _UDP:
        yield parse(data)
        return
    at = (data[8] >> 4) * 4 - 4 if len(data) > 8 else 0
    while at + 2 < len(data):
        length = int.from_bytes(data[at : at + 2], "big")
        yield parse(data[at + 2 : at + 2 + length])
        at += 2 + length


def port_filter(port: int, snap_bytes: int) -> bytes:
    """A classic BPF program that keeps the first bytes of packets from or to a TCP or UDP port, over Ethernet.

    IPv4 without later fragments, IPv6 without extension headers; no VLAN, for pods' interfaces have none. Source of the
    instructions: include/uapi/linux/bpf_common.h.
    """
    half, byte, half_x, header_x, equal, any_bit, done = 0x28, 0x30, 0x48, 0xB1, 0x15, 0x45, 0x06
    next_ = None
    program: dict[str, list[tuple[int, str | None, str | None, int]]] = {
        "ethernet": [(half, next_, next_, 12), (equal, "v4", next_, 0x0800), (equal, "v6", "drop", 0x86DD)],
        "v4": [(byte, next_, next_, 23), (equal, "v4 whole", next_, _TCP), (equal, next_, "drop", _UDP)],
        "v4 whole": [(half, next_, next_, 20), (any_bit, "drop", next_, 0x1FFF), (header_x, next_, next_, 14)],
        "v4 ports": [
            (half_x, next_, next_, 14),
            (equal, "keep", next_, port),
            (half_x, next_, next_, 16),
            (equal, "keep", "drop", port),
        ],
        "v6": [(byte, next_, next_, 20), (equal, "v6 ports", next_, _TCP), (equal, next_, "drop", _UDP)],
        "v6 ports": [
            (half, next_, next_, 54),
            (equal, "keep", next_, port),
            (half, next_, next_, 56),
            (equal, "keep", "drop", port),
        ],
        "keep": [(done, next_, next_, snap_bytes)],
        "drop": [(done, next_, next_, 0)],
    }
    place, where = {}, 0
    for label, part in program.items():
        place[label] = where
        where += len(part)
    flat = [instruction for part in program.values() for instruction in part]
    return b"".join(
        struct.pack("=HBBI", code, *(place[to] - at - 1 if to else 0 for to in (yes, no)), operand)
        for at, (code, yes, no, operand) in enumerate(flat)
    )
