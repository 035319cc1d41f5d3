"""DNS messages to what an observer needs: the question, how it was answered, and the addresses given. Pure.

Names are kept as they travel, in lower case, without the root's dot; bytes that are no letter, digit, hyphen or
underscore are escaped as `\\DDD` (RFC 4343), so a name is safe wherever text is. The invariant: no bytes raise anything
but MalformedError, and the work is bounded by the message's size.

Source: RFC 1035 section 4; RFC 3596 (AAAA); RFC 2782 (SRV).
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import Final

TYPES: Final = {
    1: "A",
    2: "NS",
    5: "CNAME",
    6: "SOA",
    12: "PTR",
    15: "MX",
    16: "TXT",
    28: "AAAA",
    33: "SRV",
    64: "SVCB",
    65: "HTTPS",
    255: "ANY",
}
RCODES: Final = {0: "NOERROR", 1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED"}

MAX_ANSWERS: Final = 64
"""Addresses kept of one message."""
_MAX_NAME_BYTES: Final = 255
_MAX_RECORDS: Final = 256
_HEADER: Final = struct.Struct(">HHHHHH")
_RECORD: Final = struct.Struct(">HHIH")
_ODD: Final = re.compile(r"[^a-z0-9_\-*]")
_A, _CNAME, _AAAA = 1, 5, 28
_IN: Final = 1


class MalformedError(ValueError):
    """Bytes that are no DNS message of the kind that is read here."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One address that a name leads to. `address` has 4 or 16 bytes; `ttl_s` is the least along its aliases."""

    address: bytes
    ttl_s: int


@dataclass(frozen=True, slots=True)
class Message:
    """One question, and what was said to it. `answers` is empty in a query."""

    number: int
    is_reply: bool
    is_cut: bool
    """The answer did not fit and is asked for again over TCP (TC)."""
    rcode: int
    name: str
    kind: int
    answers: tuple[Answer, ...]


def parse(data: bytes) -> Message:
    """Read a message with one question. Raises MalformedError for anything else."""
    if len(data) < _HEADER.size:
        raise MalformedError("shorter than a header")
    number, flags, questions, answers, _, _ = _HEADER.unpack_from(data)
    if questions != 1 or flags & 0x7800:
        raise MalformedError("not one question")
    name, at = _name(data, _HEADER.size)
    if at + 4 > len(data):
        raise MalformedError("the question is cut short")
    kind = int.from_bytes(data[at : at + 2], "big")
    is_reply = bool(flags & 0x8000)
    found = _answers(data, at + 4, answers, name) if is_reply else ()
    return Message(number, is_reply, bool(flags & 0x0200), flags & 0xF, name, kind, found)


def _answers(data: bytes, at: int, count: int, asked: str) -> tuple[Answer, ...]:
    """The addresses that the name asked for leads to, through its aliases. What is cut short gives what came before."""
    aliases: dict[str, tuple[str, int]] = {}
    addresses: list[tuple[str, bytes, int]] = []
    try:
        for _ in range(min(count, _MAX_RECORDS)):
            owner, at = _name(data, at)
            if at + _RECORD.size > len(data):
                break
            kind, family, ttl, length = _RECORD.unpack_from(data, at)
            at += _RECORD.size
            if at + length > len(data):
                break
            if family == _IN and kind == _CNAME:
                aliases.setdefault(owner, (_name(data, at)[0], ttl))
            elif family == _IN and (kind, length) in ((_A, 4), (_AAAA, 16)):
                addresses.append((owner, data[at : at + length], ttl))
            at += length
    except MalformedError:
        pass  # a record whose name is broken ends the list
    leads_to = {asked: 1 << 31}
    name = asked
    while name in aliases and aliases[name][0] not in leads_to:
        name, ttl = aliases[name][0], min(aliases[name][1], leads_to[name])
        leads_to[name] = ttl
    kept = (Answer(address, min(ttl, leads_to[owner])) for owner, address, ttl in addresses if owner in leads_to)
    return tuple(kept)[:MAX_ANSWERS]


def _name(data: bytes, at: int) -> tuple[str, int]:
    """The name at `at`, and where what follows it begins. A pointer leads backwards only, so it ends."""
    labels: list[str] = []
    after, size, limit = -1, 0, at + 1
    while True:
        if at >= len(data):
            raise MalformedError("a name is cut short")
        length = data[at]
        if length >= 0xC0:
            if at + 1 >= len(data):
                raise MalformedError("a name is cut short")
            target = (length & 0x3F) << 8 | data[at + 1]
            after = at + 2 if after < 0 else after
            if target >= limit - 1:
                raise MalformedError("a name points forward")
            at, limit = target, target + 1
            continue
        if length & 0xC0:
            raise MalformedError("a label of an unknown kind")
        at += 1
        if not length:
            break
        size += length + 1
        if size > _MAX_NAME_BYTES or at + length > len(data):
            raise MalformedError("a name is too long")
        text = data[at : at + length].decode("latin-1").lower()
        labels.append(_ODD.sub(_escaped, text) if _ODD.search(text) else text)
        at += length
    return ".".join(labels), after if after >= 0 else at


def _escaped(match: re.Match[str]) -> str:
    return f"\\{ord(match[0]):03d}"
