"""One-way sums of captured packets, and how they are told to `ebpf.sightings`. Pure.

A capture is summed by direction. What the kernel's program keeps is a conversation, both directions of a tuple at an
interface; one direction alone is a conversation in which nobody answers, and sightings put the two together by tuple.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from ..ebpf.layout import BEGAN_EGRESS, CONVERSATION, COUNTS, CT_LOCAL_OPENS, CT_REMOTE_OPENS, EGRESS, SPOKE_EGRESS

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


def conversations(
    flows: npt.NDArray[np.void], sums: npt.NDArray[np.void]
) -> tuple[npt.NDArray[np.void], npt.NDArray[np.void]]:
    """CONVERSATION and COUNTS arrays of FLOW and SUM arrays, row by row."""
    keys, counts = np.zeros(len(flows), CONVERSATION), np.zeros(len(flows), COUNTS)
    way = flows["direction"].astype(np.intp)
    goes_out = way == EGRESS
    rows = np.arange(len(flows))
    for name in ("ifindex", "protocol", "generation"):
        keys[name] = flows[name]
    for end, incoming, outgoing in (("local", "source", "destination"), ("remote", "destination", "source")):
        keys[end] = np.where(goes_out[:, None], flows[outgoing], flows[incoming])
        keys[f"{end}_port"] = np.where(goes_out, flows[f"{outgoing}_port"], flows[f"{incoming}_port"])
    for name in ("packets", "bytes", "isn"):
        counts[name][rows, way] = sums[name]
    for name in ("first", "last", "first_payload"):
        counts[name] = sums[name]
    is_told = sums["conntrack"] != CT_UNKNOWN
    for other, turned in (("other_source", "remote"), ("other_destination", "local")):
        counts[other] = np.where(is_told[:, None], sums[other], keys[turned])
        counts[f"{other}_port"] = np.where(is_told, sums[f"{other}_port"], keys[f"{turned}_port"])
    flags = np.where(goes_out, sums["flags"] << 8 | BEGAN_EGRESS, sums["flags"])
    counts["flags"] = flags | np.where(goes_out & (sums["first_payload"] > 0), SPOKE_EGRESS, 0)
    is_openers = (sums["conntrack"] == CT_ORIGINAL) != goes_out
    counts["conntrack"] = np.where(is_told, np.where(is_openers, CT_LOCAL_OPENS, CT_REMOTE_OPENS), CT_UNKNOWN)
    return keys, counts
