"""Capture files made by hand, from frames as bytes."""

from __future__ import annotations

import struct
from collections.abc import Sequence

ETHERNET = 1


def pcap(frames: Sequence[bytes], link_type: int = ETHERNET, *, order: str = "<", magic: int = 0xA1B2C3D4) -> bytes:
    """A pcap file; `magic` chooses the variant."""
    extra = b"\0" * 8 if magic == 0xA1B2CD34 else b""
    header = struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, 262_144, link_type)
    records = (struct.pack(order + "IIII", 0, 0, len(frame), len(frame)) + extra + frame for frame in frames)
    return header + b"".join(records)


def section(order: str = "<") -> bytes:
    """A pcapng section header."""
    return ng_block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1), order)


def interface(link_type: int = ETHERNET, *, snap_length: int = 0, order: str = "<") -> bytes:
    """A pcapng interface description."""
    return ng_block(1, struct.pack(order + "HHI", link_type, 0, snap_length), order)


def packet(frame: bytes, number: int = 0, *, order: str = "<") -> bytes:
    """A pcapng enhanced packet block on interface `number`."""
    return ng_block(6, struct.pack(order + "IIIII", number, 0, 0, len(frame), len(frame)) + frame, order)


def old_packet(frame: bytes, number: int = 0, *, order: str = "<") -> bytes:
    """A pcapng packet block of the obsolete kind."""
    return ng_block(2, struct.pack(order + "HHIIII", number, 0, 0, 0, len(frame), len(frame)) + frame, order)


def simple_packet(frame: bytes, length: int, *, order: str = "<") -> bytes:
    """A pcapng simple packet block of a packet that was `length` bytes long."""
    return ng_block(3, struct.pack(order + "I", length) + frame, order)


def ng_block(kind: int, body: bytes, order: str = "<") -> bytes:
    """Any pcapng block."""
    body += b"\0" * (-len(body) % 4)
    size = struct.pack(order + "I", len(body) + 12)
    return struct.pack(order + "I", kind) + size + body + size
