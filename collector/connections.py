"""Connections as the kernel's conntrack tells them: netlink messages in, one structured array out.

It follows include/uapi/linux/netfilter/nfnetlink_conntrack.h. It judges nothing: a row is what one message says at one
moment. The one invariant: a message gives one whole row or is counted as malformed by reason.

Ports: for TCP, UDP, SCTP, DCCP and UDP-Lite the ports. For ICMP and ICMPv6 the query's identifier stands for the
opener's port (`src_port`, and `nat_src_port` after NAT), since it tells two pings apart as a port would; the answering
side has no port: 0. Type and code are not carried. Other protocols have ports 0.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from .netlink import Field, Messages, columns

ENTRY: Final = np.dtype(
    [
        ("key", "u8"),  # hash of what identifies the connection on this node
        ("start", "i8"),  # ns since the epoch; 0 where the kernel keeps no timestamps
        ("stop", "i8"),  # the same, of its end; 0 while it lives
        ("src_hi", "u8"),
        ("src_lo", "u8"),
        ("dst_hi", "u8"),
        ("dst_lo", "u8"),
        ("backend_hi", "u8"),
        ("backend_lo", "u8"),
        ("nat_src_hi", "u8"),
        ("nat_src_lo", "u8"),
        ("packets", "u8"),
        ("bytes", "u8"),
        ("reply_packets", "u8"),
        ("reply_bytes", "u8"),
        ("id", "u4"),
        ("status", "u4"),  # IPS_* bits
        ("src_port", "u2"),
        ("dst_port", "u2"),
        ("backend_port", "u2"),
        ("nat_src_port", "u2"),
        ("zone", "u2"),
        ("protocol", "u1"),
        ("tcp_state", "u1"),  # enum tcp_conntrack; 0 where it is not told
    ]
)
Entries = npt.NDArray[np.void]
"""An array of dtype ENTRY."""

COUNTERS: Final = ("packets", "bytes", "reply_packets", "reply_bytes")

MESSAGE_NEW: Final = 0x100  # NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_NEW: also what a dump answers with
MESSAGE_GET: Final = 0x101  # GET_CTRZERO, 0x103, would zero the counters
MESSAGE_DELETE: Final = 0x102
_PAYLOAD_BYTES: Final = 20  # struct nlmsghdr, struct nfgenmsg
_FAMILIES: Final = (2, 10)  # AF_INET, AF_INET6
_MAPPED: Final = np.uint64(0xFFFF_0000_0000)

_PREFIX: Final = {"message": ("u2", 4), "family": ("u1", 16)}


def _tuple_fields(outer: int, source: str, destination: str, source_port: str, destination_port: str) -> dict[Any, Any]:
    """Fields of one CTA_TUPLE_*, under the names that its ends have in ENTRY."""
    address, protocol = (outer, 1), (outer, 2)
    return {
        (*address, 1): Field(f"{source}_v4", ">u4"),
        (*address, 2): Field(f"{destination}_v4", ">u4"),
        (*address, 3): Field(f"{source}_v6", "(2,)>u8"),
        (*address, 4): Field(f"{destination}_v6", "(2,)>u8"),
        (*protocol, 2): Field(source_port, ">u2"),
        (*protocol, 3): Field(destination_port, ">u2"),
    }


_FIELDS: Final[dict[tuple[int, ...], Field]] = {
    **_tuple_fields(1, "src", "dst", "src_port", "dst_port"),
    (1, 2, 1): Field("protocol", "u1"),
    (1, 2, 4): Field("icmp_id", ">u2"),
    (1, 2, 7): Field("icmpv6_id", ">u2"),
    **_tuple_fields(2, "backend", "nat_src", "backend_port", "nat_src_port"),
    (2, 2, 4): Field("nat_icmp_id", ">u2"),
    (2, 2, 7): Field("nat_icmpv6_id", ">u2"),
    (3,): Field("status", ">u4"),
    (4, 1, 1): Field("tcp_state", "u1"),
    (9, 1): Field("packets", ">u8"),
    (9, 2): Field("bytes", ">u8"),
    (10, 1): Field("reply_packets", ">u8"),
    (10, 2): Field("reply_bytes", ">u8"),
    (12,): Field("id", ">u4"),
    (18,): Field("zone", ">u2"),
    (20, 1): Field("start", ">i8"),
    (20, 2): Field("stop", ">i8"),
}
_PLAIN: Final = tuple(field.name for field in _FIELDS.values() if field.name in (ENTRY.names or ()))
_ICMP: Final = {
    "icmp_id": "src_port",
    "icmpv6_id": "src_port",
    "nat_icmp_id": "nat_src_port",
    "nat_icmpv6_id": "nat_src_port",
}
_ENDS: Final = ("src", "dst", "backend", "nat_src")


def decode(messages: Messages, message: int) -> Entries:
    """The connections in the messages of one type, MESSAGE_NEW or MESSAGE_DELETE; messages of other types are none.

    What cannot be decoded is counted in `messages.flaws` as `truncated`, `attribute` or `family`.
    """
    parts = [_rows(shape, message, messages) for shape in columns(messages, _PREFIX, _PAYLOAD_BYTES, _FIELDS)]
    entries = np.concatenate(parts) if parts else np.empty(0, ENTRY)
    entries["key"] = _keys(entries)
    return entries


def _rows(shape: npt.NDArray[Any], message: int, messages: Messages) -> Entries:
    """The rows of one shape. Its fields decide for all of its messages at once; the family is each message's own."""
    shape = shape[shape["message"] == message]
    names = set(shape.dtype.names or ())
    family = next((f for f in ("v4", "v6") if names.issuperset(f"{end}_{f}" for end in _ENDS)), None)
    if family is None or "protocol" not in names:
        messages.flaws["attribute"] += len(shape)
        return np.empty(0, ENTRY)
    known_family = shape["family"] == _FAMILIES[("v4", "v6").index(family)]
    messages.flaws["family"] += int((~known_family).sum())
    shape = shape[known_family]
    entries = np.zeros(len(shape), ENTRY)
    for name in _PLAIN:
        if name in names:
            entries[name] = shape[name]
    for name, column in _ICMP.items():
        if name in names:
            entries[column] = shape[name]
    for end in _ENDS:
        if family == "v4":
            entries[f"{end}_lo"] = shape[f"{end}_v4"].astype(np.uint64) | _MAPPED
        else:
            entries[f"{end}_hi"] = shape[f"{end}_v6"][:, 0]
            entries[f"{end}_lo"] = shape[f"{end}_v6"][:, 1]
    return entries


def _keys(entries: Entries) -> npt.NDArray[np.uint64]:
    """64-bit hash of each connection's identity: the kernel's id, the opener's tuple, the zone, and the start.

    The id is made from the entry's place in memory, so a later connection with the same tuple can have the same one:
    the start tells them apart.
    """
    ports = entries["src_port"].astype(np.uint64) << np.uint64(16) | entries["dst_port"]
    rest = entries["id"].astype(np.uint64) << np.uint64(32) | entries["zone"].astype(np.uint64) << np.uint64(8)
    return mixed(
        len(entries),
        *(entries[name] for name in ("src_hi", "src_lo", "dst_hi", "dst_lo")),
        ports,
        rest | entries["protocol"],
        entries["start"].view(np.uint64),
    )


def mixed(rows: int, *parts: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """A 64-bit hash of each row of the parts, by the finaliser of splitmix64 (Steele et al., OOPSLA 2014)."""
    key = np.full(rows, 0x9E3779B97F4A7C15, np.uint64)
    for part in parts:
        key = key + part  # a new array: the sum wraps around, as it should
        key ^= key >> np.uint64(30)
        key *= np.uint64(0xBF58476D1CE4E5B9)
        key ^= key >> np.uint64(27)
        key *= np.uint64(0x94D049BB133111EB)
        key ^= key >> np.uint64(31)
    return key
