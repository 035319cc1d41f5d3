"""The one question a client asks: a name's addresses of one family, as one datagram from a socket that the caller owns.

RFC 1035, without recursion of our own, search lists or caching: a lookup is exactly one connection on the network.
"""

from __future__ import annotations

import socket
import struct
from typing import Final

NXDOMAIN: Final = 3
_HEADER: Final = struct.Struct(">6H")
_CLASS_IN, _RECURSION_DESIRED = 1, 0x0100
_TYPES: Final = {socket.AF_INET: 1, socket.AF_INET6: 28}


def question(name: str, number: int, family: socket.AddressFamily = socket.AF_INET) -> bytes:
    """The datagram that asks for the addresses of `name`; `number` comes back in the answer."""
    labels = b"".join(bytes([len(label)]) + label.encode("ascii") for label in name.rstrip(".").split("."))
    return (
        _HEADER.pack(number, _RECURSION_DESIRED, 1, 0, 0, 0)
        + labels
        + b"\0"
        + struct.pack(">2H", _TYPES[family], _CLASS_IN)
    )


def answer(message: bytes) -> tuple[int, list[str]]:
    """The response code and the addresses of an answer, in its order."""
    _, flags, questions, answers, _, _ = _HEADER.unpack_from(message)
    offset = _HEADER.size
    for _ in range(questions):
        offset = _skip_name(message, offset) + 4
    addresses = []
    for _ in range(answers):
        offset = _skip_name(message, offset)
        kind, _, _, length = struct.unpack_from(">2HIH", message, offset)
        offset += 10
        addresses += [
            socket.inet_ntop(family, message[offset : offset + length]) for family, t in _TYPES.items() if t == kind
        ]
        offset += length
    return flags & 0xF, addresses


def _skip_name(message: bytes, offset: int) -> int:
    while length := message[offset]:
        if length >= 0xC0:  # a pointer ends the name
            return offset + 2
        offset += 1 + length
    return offset + 1
