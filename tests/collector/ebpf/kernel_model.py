"""What `flow.bpf.c` does with packets, in Python: a model for tests of what comes after it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from collector.ebpf.layout import (
    ACK,
    BEGAN_EGRESS,
    BEGINS,
    CONVERSATION,
    COUNTS,
    CT_LOCAL_OPENS,
    CT_REMOTE_OPENS,
    EGRESS,
    EGRESS_SHIFT,
    FIN,
    INGRESS,
    RST,
    SPOKE_EGRESS,
    SYN,
    SYN_ACK,
)
from collector.packets.oneway import CT_ORIGINAL, CT_REPLY, FLOW, SUM, conversations

End = tuple[int, int]
"""Address (a small number, made IPv4) and port."""

TCP, UDP = 6, 17
CLIENT_SIDE, SERVER_SIDE, UPLINK = 2, 3, 9
"""Interfaces."""


@dataclass(frozen=True)
class Packet:
    """One packet at one interface."""

    time: int
    ifindex: int
    direction: int
    source: End
    destination: End
    flags: int = 0
    size: int = 100
    isn: int = 0
    protocol: int = TCP
    other: tuple[End, End] | None = None
    """Conntrack's other tuple, where it is found now."""
    is_reply: bool = False


@dataclass(frozen=True)
class Connection:
    """A connection between pods of one node, through a Service where `backend` is not what was dialled."""

    client: End
    dialled: End
    backend: End
    begin: int
    script: str
    isn: int = 1
    protocol: int = TCP
    hops: int = field(default=2)
    """How many interfaces its packets pass: with 1 they are dropped behind the first."""

    def packets(self) -> list[Packet]:
        """What passes each interface, by `script`: > there, < back, one word a packet, like `>S <SA >A`."""
        found = []
        confirmed = False
        for number, word in enumerate(self.script.split()):
            there, letters = word[0] == ">", word[1:]
            flags = {"": 0, "S": SYN, "SA": SYN_ACK, "A": ACK, "FA": FIN | ACK, "R": RST}[letters]
            isn = self.isn if letters == "S" else self.isn + 1000 if letters == "SA" else 0
            near = Packet(
                self.begin + number * 1000, CLIENT_SIDE, INGRESS if there else EGRESS, self.client, self.dialled
            )
            far = replace(near, ifindex=SERVER_SIDE, direction=EGRESS if there else INGRESS, destination=self.backend)
            for order, packet in enumerate((near, far) if there else (far, near)):
                if packet.ifindex == SERVER_SIDE and self.hops < 2:
                    continue
                confirmed = confirmed or packet.ifindex == SERVER_SIDE
                opener, answerer = (self.client, self.dialled), (self.backend, self.client)
                other = (answerer if packet.ifindex == CLIENT_SIDE else opener) if confirmed else None
                ends = (packet.source, packet.destination) if there else (packet.destination, packet.source)
                found.append(
                    replace(
                        packet,
                        time=packet.time + order * 10,
                        source=ends[0],
                        destination=ends[1],
                        flags=flags,
                        isn=isn,
                        size=100 + number,
                        protocol=self.protocol,
                        other=other,
                        is_reply=not there,
                    )
                )
        return found


def _address(end: End) -> tuple[int, int]:
    return 0, 0xFFFF_0A00_0000 | end[0]


class Kernel:
    """The table of conversations."""

    def __init__(self) -> None:
        self._found: dict[tuple[Any, ...], dict[str, Any]] = {}
        self._newest: dict[tuple[Any, ...], int] = {}

    def see(self, packet: Packet) -> None:
        """Count one packet."""
        way = packet.direction
        ends = (packet.source, packet.destination) if way == INGRESS else (packet.destination, packet.source)
        base = *ends, packet.ifindex, packet.protocol
        generation = self._newest.get(base, 0)
        found = self._found.get((*base, generation))
        if found and self._begins_anew(packet, found):
            generation += 1
            found = None
        self._newest[base] = generation
        if found is None:
            found = self._found[*base, generation] = {
                "packets": [0, 0],
                "bytes": [0, 0],
                "first": packet.time,
                "flags": [0, 0],
                "isn": [0, 0],
                "began": way,
                "other": None,
            }
            found["flags"][way] = BEGINS if packet.flags & (SYN | SYN_ACK) else 0
        found["packets"][way] += 1
        found["bytes"][way] += packet.size
        found["last"] = packet.time
        found["flags"][way] |= packet.flags
        found["isn"][way] = found["isn"][way] or packet.isn
        if packet.other and not found["other"] and not (way == INGRESS and packet.flags & SYN):
            found["other"] = packet.other
            found["conntrack"] = CT_LOCAL_OPENS if packet.is_reply == (way == EGRESS) else CT_REMOTE_OPENS

    @staticmethod
    def _begins_anew(packet: Packet, found: dict[str, Any]) -> bool:
        way = packet.direction
        is_repeated = found["isn"][way] == packet.isn and found["flags"][way] & (SYN | SYN_ACK)
        if not packet.flags & (SYN | SYN_ACK) or is_repeated:
            return False
        return not (packet.flags & SYN_ACK and found["flags"][1 - way] & SYN)

    def take(self) -> tuple[npt.NDArray[np.void], npt.NDArray[np.void]]:
        """The table's content, which is forgotten."""
        keys, counts = np.zeros(len(self._found), CONVERSATION), np.zeros(len(self._found), COUNTS)
        for row, ((local, remote, ifindex, protocol, generation), told) in enumerate(self._found.items()):
            keys[row]["local"], keys[row]["remote"] = _address(local), _address(remote)
            keys[row]["local_port"], keys[row]["remote_port"] = local[1], remote[1]
            keys[row]["ifindex"], keys[row]["protocol"], keys[row]["generation"] = ifindex, protocol, generation
            for name in ("packets", "bytes", "first", "last", "isn"):
                counts[row][name] = told[name]
            goes_out = BEGAN_EGRESS | SPOKE_EGRESS if told["began"] == EGRESS else 0
            counts[row]["flags"] = told["flags"][INGRESS] | told["flags"][EGRESS] << EGRESS_SHIFT | goes_out
            counts[row]["first_payload"] = told["first"]
            counts[row]["conntrack"] = told.get("conntrack", 0)
            other = told["other"] or (remote, local)
            (counts[row]["other_source"], counts[row]["other_destination"]) = map(_address, other)
            counts[row]["other_source_port"], counts[row]["other_destination_port"] = (end[1] for end in other)
        self._found.clear()
        self._newest.clear()
        return keys, counts


class OneWayKernel:
    """The table of flows of a capture, each direction apart."""

    def __init__(self) -> None:
        self._flows: dict[tuple[Any, ...], dict[str, Any]] = {}
        self._newest: dict[tuple[Any, ...], int] = {}

    def see(self, packet: Packet) -> None:
        """Count one packet."""
        base = packet.source, packet.destination, packet.ifindex, packet.direction, packet.protocol
        generation = self._newest.get(base, 0)
        flow = self._flows.get((*base, generation))
        is_handshake = bool(packet.flags & (SYN | SYN_ACK))
        if flow and is_handshake and not (flow["isn"] == packet.isn and flow["flags"] & (SYN | SYN_ACK)):
            generation += 1
            flow = None
        self._newest[base] = generation
        if flow is None:
            flow = self._flows[*base, generation] = {
                "packets": 0,
                "bytes": 0,
                "first": packet.time,
                "flags": BEGINS if is_handshake else 0,
                "isn": 0,
                "other": None,
                "is_reply": packet.is_reply,
            }
        flow["packets"] += 1
        flow["bytes"] += packet.size
        flow["last"] = packet.time
        flow["flags"] |= packet.flags
        flow["isn"] = flow["isn"] or packet.isn
        if not (packet.direction == INGRESS and packet.flags & SYN):
            flow["other"] = flow["other"] or packet.other

    def take(self) -> tuple[npt.NDArray[np.void], npt.NDArray[np.void]]:
        """The table's content, which is forgotten."""
        flows, sums = np.zeros(len(self._flows), FLOW), np.zeros(len(self._flows), SUM)
        for row, ((source, destination, ifindex, direction, protocol, generation), told) in enumerate(
            self._flows.items()
        ):
            flows[row]["source"], flows[row]["destination"] = _address(source), _address(destination)
            flows[row]["source_port"], flows[row]["destination_port"] = source[1], destination[1]
            for name, value in (
                ("ifindex", ifindex),
                ("direction", direction),
                ("protocol", protocol),
                ("generation", generation),
            ):
                flows[row][name] = value
            for name in ("packets", "bytes", "first", "last", "flags", "isn"):
                sums[row][name] = told[name]
            sums[row]["first_payload"] = told["first"]
            if told["other"]:
                (sums[row]["other_source"], sums[row]["other_destination"]) = map(_address, told["other"])
                sums[row]["other_source_port"], sums[row]["other_destination_port"] = (e[1] for e in told["other"])
                sums[row]["conntrack"] = CT_REPLY if told["is_reply"] else CT_ORIGINAL
        self._flows.clear()
        self._newest.clear()
        return conversations(flows, sums)
