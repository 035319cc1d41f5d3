"""A writer of small MaxMind databases, after the specification of format 2.0 (maxmind.github.io/MaxMind-DB).

The demo writes one of the outside's addresses, tests write theirs. The whole tree is in memory: it is for few networks.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MARKER = b"\xab\xcd\xefMaxMind.com"
UTF8, UINT32, MAP, UINT64, ARRAY = 2, 6, 7, 9, 11


@dataclass
class Node:
    """A node of the tree; a side is another node, the offset of a record, or nothing."""

    sides: list[Node | int | None] = field(default_factory=lambda: [None, None])


def database(records: Mapping[str, Mapping[str, Any]], ip_version: int = 6, kind: str = "Test") -> bytes:
    """The bytes of a database with a record a network; longer prefixes win over shorter ones."""
    root, data = Node(), b""
    for network, record in sorted(records.items(), key=lambda item: ipaddress.ip_network(item[0]).prefixlen):
        _insert(root, _bits(ipaddress.ip_network(network), ip_version), len(data))
        data += encode(dict(record))
    nodes = _flatten(root)
    places = {id(node): place for place, node in enumerate(nodes)}

    def pointer(side: Node | int | None) -> int:
        if side is None:
            return len(nodes)
        return places[id(side)] if isinstance(side, Node) else len(nodes) + 16 + side

    tree = b"".join(pointer(side).to_bytes(3, "big") for node in nodes for side in node.sides)
    about = {
        "node_count": len(nodes),
        "record_size": 24,
        "ip_version": ip_version,
        "database_type": kind,
        "binary_format_major_version": 2,
        "binary_format_minor_version": 0,
        "build_epoch": 1_772_366_400,
        "description": {},
        "languages": [],
    }
    return tree + bytes(16) + data + MARKER + encode(about)


def write(path: Path, records: Mapping[str, Mapping[str, Any]], ip_version: int = 6) -> Path:
    """The database as a file; returns its path."""
    path.write_bytes(database(records, ip_version))
    return path


def encode(value: Any) -> bytes:
    """A value as the data section has it: text, whole numbers up to 64 bits, lists, maps."""
    if isinstance(value, str):
        text = value.encode()
        return _control(UTF8, len(text)) + text
    if isinstance(value, int):
        size = (value.bit_length() + 7) // 8
        return _control(UINT32 if size <= 4 else UINT64, size) + value.to_bytes(size, "big")
    if isinstance(value, list):
        return _control(ARRAY, len(value)) + b"".join(map(encode, value))
    return _control(MAP, len(value)) + b"".join(encode(key) + encode(item) for key, item in value.items())


def country(code: str) -> dict[str, Any]:
    """The record of a network in a country, by its ISO 3166-1 alpha-2 code."""
    return {"country": {"iso_code": code}}


def system(number: int, organisation: str) -> dict[str, Any]:
    """The record of a network of an autonomous system."""
    return {"autonomous_system_number": number, "autonomous_system_organization": organisation}


def _control(kind: int, size: int) -> bytes:
    short, rest = (size, b"") if size < 29 else (29, bytes([size - 29]))
    return bytes([kind << 5 | short]) + rest if kind <= 7 else bytes([short, kind - 7]) + rest


def _bits(network: ipaddress.IPv4Network | ipaddress.IPv6Network, ip_version: int) -> str:
    text = f"{int(network.network_address):0{network.max_prefixlen}b}"[: network.prefixlen]
    return "0" * 96 + text if (network.version, ip_version) == (4, 6) else text


def _insert(root: Node, bits: str, record: int) -> None:
    node = root
    for bit in map(int, bits[:-1]):
        side = node.sides[bit]
        if not isinstance(side, Node):
            side = Node([side, side])
            node.sides[bit] = side
        node = side
    node.sides[int(bits[-1])] = record


def _flatten(node: Node) -> list[Node]:
    return [node, *(inner for side in node.sides if isinstance(side, Node) for inner in _flatten(side))]
