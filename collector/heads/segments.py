"""Which TCP segments may hold a head: a classic BPF program that the kernel runs on every packet of a socket.

It looks at the first bytes of the payload alone, so what passes is at most something that looks like a head. The
invariant: a segment without payload never passes, for a load beyond a packet's end drops it.

Source: include/uapi/linux/bpf_common.h, include/uapi/linux/filter.h of the kernel.
"""

from __future__ import annotations

import struct
from typing import Final

METHODS: Final = ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH")
"""Methods of HTTP that are known: RFC 9110 and RFC 5789."""
_TCP: Final = 6
_LINK: Final = 14
"""Bytes of an Ethernet header."""
_WORD, _HALF, _BYTE, _WORD_X, _HALF_X, _BYTE_X, _HEADER_X = 0x20, 0x28, 0x30, 0x40, 0x48, 0x50, 0xB1
_EQUAL, _ANY_BIT, _AND, _SHIFT_RIGHT, _ADD_X, _MODULO, _TO_X, _SET_X, _DONE = (
    *(0x15, 0x45, 0x54, 0x74, 0x0C, 0x94, 0x07, 0x01, 0x06),
)
_RANDOM: Final = 0xFFFFF000 + 56  # SKF_AD_OFF + SKF_AD_RANDOM
_TLS_HANDSHAKE, _CLIENT_HELLO = 0x1603, 1
_Part = list[tuple[int, str | None, str | None, int]]


def head_filter(snap_bytes: int, one_in: int = 1) -> bytes:
    """A program that keeps `snap_bytes` of segments which begin like a head; of these `one_in` by chance.

    TCP over Ethernet: IPv4 without fragments, IPv6 without extension headers; no VLAN, for pods' interfaces have none.
    """
    words = sorted({int.from_bytes(f"{method} "[:4].encode()) for method in (*METHODS, "PRI")})
    next_ = None
    program: dict[str, _Part] = {
        "ethernet": [(_HALF, next_, next_, 12), (_EQUAL, "v4", next_, 0x0800), (_EQUAL, "v6", "drop", 0x86DD)],
        "v4": [
            (_BYTE, next_, next_, _LINK + 9),
            (_EQUAL, next_, "drop", _TCP),
            (_HALF, next_, next_, _LINK + 6),
            (_ANY_BIT, "drop", next_, 0x3FFF),  # an offset, or more fragments
            (_HEADER_X, next_, next_, _LINK),
            (_EQUAL, "tcp", "tcp", 0),  # a jump in either case
        ],
        "v6": [
            (_BYTE, next_, next_, _LINK + 6),
            (_EQUAL, next_, "drop", _TCP),
            (_SET_X, next_, next_, 40),
        ],
        "tcp": [  # X: bytes of the IP header
            (_BYTE_X, next_, next_, _LINK + 12),
            (_AND, next_, next_, 0xF0),
            (_SHIFT_RIGHT, next_, next_, 2),
            (_ADD_X, next_, next_, 0),
            (_TO_X, next_, next_, 0),
        ],
        "payload": [  # X: bytes of both headers
            (_WORD_X, next_, next_, _LINK),
            *((_EQUAL, "sample", next_, word) for word in words),
        ],
        "tls": [
            (_HALF_X, next_, next_, _LINK),
            (_EQUAL, next_, "drop", _TLS_HANDSHAKE),
            (_BYTE_X, next_, next_, _LINK + 5),
            (_EQUAL, "sample", "drop", _CLIENT_HELLO),
        ],
        "sample": [(_WORD, next_, next_, _RANDOM), (_MODULO, next_, next_, one_in), (_EQUAL, next_, "drop", 0)],
        "keep": [(_DONE, next_, next_, snap_bytes)],
        "drop": [(_DONE, next_, next_, 0)],
    }
    return _assembled(program)


def _assembled(program: dict[str, _Part]) -> bytes:
    place, where = {}, 0
    for label, part in program.items():
        place[label] = where
        where += len(part)
    flat = [instruction for part in program.values() for instruction in part]
    is_jump = {_EQUAL, _ANY_BIT}
    return b"".join(
        struct.pack("=HBBI", code, *(place[to] - at - 1 if to and code in is_jump else 0 for to in (yes, no)), operand)
        for at, (code, yes, no, operand) in enumerate(flat)
    )
