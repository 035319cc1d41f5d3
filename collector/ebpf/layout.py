"""How `flow.bpf.c` lays out its tables, as numpy dtypes: what is read from the kernel needs no parsing."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

INGRESS, EGRESS = 0, 1
"""As the node sees it: ingress of a pod's veth is what the pod sends."""

FIN, SYN, RST, SYN_ACK, ACK, BEGINS = 1, 2, 4, 8, 16, 32
"""Bits of `flags` of one direction. ACK: without SYN or RST. BEGINS: the first packet was this SYN or SYN-ACK."""
EGRESS_SHIFT: Final = 8
"""Where the bits of egress begin in COUNTS.flags; those of ingress begin at 0."""
BEGAN_EGRESS, SPOKE_EGRESS = 1 << 16, 1 << 17
"""Bits of COUNTS.flags: the first packet, and the first one with payload, went out."""
MISSED_EGRESS, MISSED_BOTH = 1 << 18, 1 << 19
"""Bits of COUNTS.flags: what went out, or both ways, is among the missed as well, because the table became full."""

CT_UNKNOWN, CT_LOCAL_OPENS, CT_REMOTE_OPENS = 0, 1, 2

CONVERSATION: Final = np.dtype(
    [
        ("local", ">u8", (2,)),  # source of what comes in, destination of what goes out; IPv4 as ::ffff:a.b.c.d
        ("remote", ">u8", (2,)),
        ("ifindex", "u4"),
        ("local_port", ">u2"),
        ("remote_port", ">u2"),
        ("protocol", "u1"),
        ("generation", "u1"),
        ("zero", "u1", (2,)),
    ]
)
COUNTS: Final = np.dtype(
    [
        ("packets", "u8", (2,)),  # of ingress and of egress, like all pairs here
        ("bytes", "u8", (2,)),  # IP headers included
        ("last", "i8"),  # ns of CLOCK_MONOTONIC
        ("flags", "u4"),
        ("conntrack", "u1"),
        ("attempts", "u1"),
        ("current", "u1"),
        ("zero", "u1"),
        ("first_payload", "i8"),  # 0 where no packet had any
        ("first", "i8"),
        ("isn", ">u4", (2,)),
        ("other_source", ">u8", (2,)),  # conntrack's other tuple; where it was not found, this one turned round
        ("other_destination", ">u8", (2,)),
        ("other_source_port", ">u2"),
        ("other_destination_port", ">u2"),
        ("none", "u1", (4,)),
    ]
)
MISSED: Final = np.dtype([("packets", "u8"), ("bytes", "u8")])
MISSED_REASONS: Final = ("table_full", "malformed", "fragment", "icmp_control")
"""Why a packet is in no conversation, by index; counted where the node saw it first. `fragment`: a later one whose
first was not seen. `icmp_control`: errors, neighbour discovery and group membership, which are no connections."""


def picked(rows: npt.NDArray[np.void], places: npt.NDArray[np.int64]) -> npt.NDArray[np.void]:
    """`rows[places]`, copied row by row: numpy's own way copies field by field, ten times slower."""
    found: npt.NDArray[np.void] = rows.view(f"V{rows.itemsize}").take(places).view(rows.dtype)
    return found
