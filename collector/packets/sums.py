"""Captured packets as the sums that the eBPF program keeps in the kernel: a row a flow, direction and interface. Pure.

What `ebpf.sightings` makes of the kernel's table it makes of these too, so both sources tell connections alike. The
invariant: every packet at a capture point is in one sum, or counted under the reason why not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from ..connections import mixed
from ..ebpf.layout import ACK, BEGINS, FIN, RST, SYN, SYN_ACK
from .decoder import Decoded, decode
from .kinds import Kind
from .octets import Octets, Positions
from .oneway import FLOW, SUM
from .ring import Captured

_ICMP, _TCP, _UDP, _ICMPV6 = 1, 6, 17, 58
_HAS_PORTS: Final = (_TCP, _UDP, 33, 132, 136)  # DCCP, SCTP, UDP-Lite
_ETHERNETS: Final = (1, 772)  # ARPHRD_ETHER, ARPHRD_LOOPBACK
_QUESTIONS: Final = {_ICMP: (8, 13, 15, 17), _ICMPV6: (128,)}
_ANSWERS: Final = {_ICMP: (0, 14, 16, 18), _ICMPV6: (129,)}


@dataclass(frozen=True, slots=True)
class Points:
    """The interfaces that are looked at, by index and sorted."""

    pods: npt.NDArray[np.uint32]
    """What a pod writes into a packet is its own: tunnels are not opened here."""
    node: npt.NDArray[np.uint32]

    @classmethod
    def of(cls, kinds: Mapping[int, str]) -> Points:
        """Those of `links.capture_points`."""
        pods, node = (sorted(ifindex for ifindex, kind in kinds.items() if kind == one) for one in ("pod", "node"))
        return cls(np.array(pods, np.uint32), np.array(node, np.uint32))


def sums_of(
    captured: Captured, points: Points, wall_ns: int, missed: Counter[tuple[str, str]]
) -> tuple[npt.NDArray[np.void], npt.NDArray[np.void]]:
    """FLOW and SUM arrays of one block, one row each for every flow, direction and interface.

    `wall_ns` turns CLOCK_MONOTONIC into UTC when added. What gets no row is counted in `missed` by
    (packets|bytes, reason), reasons as `ebpf.layout` has them.
    """
    is_pods = np.isin(captured.ifindex, points.pods)
    wanted = np.flatnonzero(is_pods | np.isin(captured.ifindex, points.node))
    kind = np.where(np.isin(captured.hardware[wanted], _ETHERNETS), Kind.ETHERNET, Kind.IP).astype(np.uint8)
    decoded = decode(captured.octets, captured.start[wanted], captured.end[wanted], kind, is_pods[wanted])
    if len(decoded.broken):
        missed["packets", "malformed"] += len(decoded.broken)
        missed["bytes", "malformed"] += int(decoded.broken_bytes.sum())
    head, packet = decoded.inner, wanted[decoded.rows]
    told = head.bytes.astype(np.int64)
    size = np.where(told > 0, told, captured.size[packet] - (decoded.network - captured.start[packet]))
    is_kept, source_port, destination_port = _ports(captured.octets, decoded, size, missed)
    count = len(packet)

    flow = np.zeros(count, FLOW)
    for end, name in (("src", "source"), ("dst", "destination")):
        flow[name][:, 0], flow[name][:, 1] = getattr(head, f"{end}_hi"), getattr(head, f"{end}_lo")
    flow["source_port"], flow["destination_port"] = source_port, destination_port
    flow["protocol"] = head.protocol
    flow["ifindex"] = captured.ifindex[packet]
    flow["direction"] = captured.is_outgoing[packet]

    each = np.zeros(count, SUM)
    each["first"] = each["last"] = captured.time[packet] - wall_ns
    payload = _transport(captured.octets, decoded, size, captured.end[packet], each)
    each["packets"] = 1  # also where offloading will cut it into several: so do interfaces and conntrack count
    each["bytes"] = size
    each["first_payload"] = np.where(payload > 0, each["first"], 0)
    return _grouped(flow[is_kept], each[is_kept])


def merged(
    parts: list[tuple[npt.NDArray[np.void], npt.NDArray[np.void]]],
) -> tuple[npt.NDArray[np.void], npt.NDArray[np.void]]:
    """The sums of several blocks, which came one after another, as one."""
    if not parts:
        return np.zeros(0, FLOW), np.zeros(0, SUM)
    flow = np.concatenate([flow for flow, _ in parts], dtype=FLOW)  # as they are: promotion would swap their bytes
    return _grouped(flow, np.concatenate([each for _, each in parts], dtype=SUM))


def _ports(
    octets: Octets, decoded: Decoded, size: Positions, missed: Counter[tuple[str, str]]
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.uint16], npt.NDArray[np.uint16]]:
    """Which packets belong to a flow, and the ports of its ends; an ICMP query's identifier is its asker's port.

    `size`: bytes of each IP packet.
    """
    head = decoded.inner
    source, destination = head.src_port.copy(), head.dst_port.copy()
    fragments = np.isin(head.protocol, _HAS_PORTS) & (source == 0) & (destination == 0)
    fragments |= decoded.is_later & np.isin(head.protocol, (_ICMP, _ICMPV6))
    no_question = np.zeros(len(source), np.bool_)
    for protocol in (_ICMP, _ICMPV6):
        rows = np.flatnonzero((head.protocol == protocol) & ~fragments)
        rows = rows[decoded.at[rows] + 8 <= octets.size]
        kind, number = octets.u8(decoded.at[rows]), octets.u16(decoded.at[rows] + 4)
        asks, answers = np.isin(kind, _QUESTIONS[protocol]), np.isin(kind, _ANSWERS[protocol])
        source[rows[asks]] = number[asks]
        destination[rows[answers]] = number[answers]
        no_question[rows] = ~asks & ~answers
    for reason, which in (("fragment", fragments), ("icmp_control", no_question)):
        if which.any():
            missed["packets", reason] += int(which.sum())
            missed["bytes", reason] += int(size[which].sum())
    return ~(fragments | no_question), source, destination


def _transport(
    octets: Octets, decoded: Decoded, size: Positions, end: Positions, each: npt.NDArray[np.void]
) -> Positions:
    """Set flags and sequence numbers of TCP; returns the payload's length of every row."""
    head = decoded.inner
    header = np.zeros(len(end), np.int64)  # length of the transport's
    is_udp = head.protocol == _UDP
    header[is_udp] = 8
    rows = np.flatnonzero((head.protocol == _TCP) & (decoded.at + 10 <= end) & (head.src_port > 0))
    at = decoded.at[rows] - 4  # ports have been read
    bits = octets.u8(at + 13)
    header[rows] = (octets.u8(at + 12) >> 4) * 4
    fin, syn, rst, ack = (bits & mask != 0 for mask in (1, 2, 4, 16))
    flags = np.select([syn & ack, syn], [SYN_ACK | BEGINS, SYN | BEGINS], 0)
    flags |= np.where(rst, RST, 0) | np.where(fin, FIN, 0) | np.where(ack & ~syn & ~rst, ACK, 0)
    each["flags"][rows] = flags
    each["isn"][rows] = np.where(syn, octets.u32(at + 4), 0)
    start = np.where(np.isin(head.protocol, _HAS_PORTS), decoded.at - np.where(is_udp, 8, 4), decoded.at)
    return (decoded.network + size - start - header).clip(0)


def _grouped(
    flow: npt.NDArray[np.void], each: npt.NDArray[np.void]
) -> tuple[npt.NDArray[np.void], npt.NDArray[np.void]]:
    """Sum rows of the same flow. A SYN with another sequence number begins the next generation of its tuple."""
    if not len(flow):
        return flow, each
    flow["generation"] = 0
    words = np.ascontiguousarray(flow).view(np.uint32).reshape(len(flow), -1)
    digest = mixed(len(flow), *(words[:, column].astype(np.uint64) for column in range(words.shape[1])))
    order = np.lexsort((each["first"], digest))
    flow, each, digest = flow[order], each[order], digest[order]
    flow["generation"] = _generations(digest, each)
    key = digest + flow["generation"]
    is_first = np.ones(len(flow), np.bool_)
    is_first[1:] = key[1:] != key[:-1]
    begin = np.flatnonzero(is_first)
    total = each[begin].copy()
    for name in ("packets", "bytes"):
        total[name] = np.add.reduceat(each[name], begin)
    total["first"] = np.minimum.reduceat(each["first"], begin)
    total["last"] = np.maximum.reduceat(each["last"], begin)
    spoken = np.where(each["first_payload"] > 0, each["first_payload"], np.iinfo(np.int64).max)
    first_payload = np.minimum.reduceat(spoken, begin)
    total["first_payload"] = np.where(first_payload == np.iinfo(np.int64).max, 0, first_payload)
    began = each["flags"] & BEGINS
    total["flags"] = np.bitwise_or.reduceat(each["flags"] & ~np.uint32(BEGINS), begin) | began[begin]
    total["isn"] = np.maximum.reduceat(each["isn"].astype(np.uint32), begin)
    return flow[begin], total


def _generations(digest: npt.NDArray[np.uint64], each: npt.NDArray[np.void]) -> npt.NDArray[np.uint8]:
    """The number of the connection that each row, in order of tuple and time, is of: counted by new SYNs."""
    is_first = np.ones(len(digest), np.bool_)
    is_first[1:] = digest[1:] != digest[:-1]
    begins = np.flatnonzero(each["flags"] & np.uint32(SYN | SYN_ACK))
    is_again = np.zeros(len(begins), np.bool_)  # the same SYN, sent again
    before, now = begins[:-1], begins[1:]
    is_again[1:] = (digest[now] == digest[before]) & (each["isn"][now] == each["isn"][before])
    number = np.zeros(len(digest), np.int64)
    number[begins] = ~is_again & ~is_first[begins]
    number = np.cumsum(number)
    number -= number[np.maximum.accumulate(np.where(is_first, np.arange(len(digest)), 0))]
    return np.minimum(number, 255).astype(np.uint8)
