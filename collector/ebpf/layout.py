"""How `flow.bpf.c` lays out its tables, as numpy dtypes: what is read from the kernel needs no parsing."""

from __future__ import annotations

from typing import Final

import numpy as np

INGRESS, EGRESS = 0, 1
"""As the node sees it: ingress of a pod's veth is what the pod sends."""

FIN, SYN, RST, SYN_ACK, ACK, BEGINS = 1, 2, 4, 8, 16, 32
"""Bits of `flags`. ACK: without SYN or RST. BEGINS: the flow's first packet was a SYN or a SYN-ACK."""

CT_UNKNOWN, CT_ORIGINAL, CT_REPLY = 0, 1, 2

FLOW: Final = np.dtype(
    [
        ("source", ">u8", (2,)),  # IPv4 as ::ffff:a.b.c.d
        ("destination", ">u8", (2,)),
        ("ifindex", "u4"),
        ("source_port", ">u2"),
        ("destination_port", ">u2"),
        ("protocol", "u1"),
        ("direction", "u1"),
        ("generation", "u1"),
        ("zero", "u1"),
    ]
)
SUM: Final = np.dtype(
    [
        ("packets", "u8"),
        ("bytes", "u8"),  # IP headers included
        ("first", "i8"),  # ns of CLOCK_MONOTONIC
        ("last", "i8"),
        ("first_payload", "i8"),  # 0 where no packet had any
        ("other_source", ">u8", (2,)),
        ("other_destination", ">u8", (2,)),
        ("other_source_port", ">u2"),
        ("other_destination_port", ">u2"),
        ("flags", "u4"),
        ("isn", ">u4"),
        ("conntrack", "u1"),
        ("attempts", "u1"),
        ("current", "u1"),
        ("zero", "u1"),
    ]
)
MISSED: Final = np.dtype([("packets", "u8"), ("bytes", "u8")])
MISSED_REASONS: Final = ("table_full", "malformed", "fragment", "icmp_control")
"""Why a packet is in no flow, by index. `fragment`: a later one whose first was not seen. `icmp_control`: errors,
neighbour discovery and group membership, which are no connections."""
