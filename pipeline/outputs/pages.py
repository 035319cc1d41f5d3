"""A page of /metrics, compressed as it is made: one gzip member, of pieces that are compressed each by itself.

A piece that is as it was on the page before, in whichever format, keeps its compressed bytes. The text of a page is
never there as a whole, unless somebody wants it without compression. The invariant: what is decompressed is the parts,
one after the other, and the trailer's checksum is theirs.

Sources: RFC 1952 (gzip), RFC 1951 (a deflate stream is a sequence of blocks; a flush ends one at a byte).
"""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from .exposition import Piece

_LEVEL: Final = 2
"""As fast as 1 on lines that are much alike, and smaller."""
_MEMORY: Final = 8
"""More makes tables that the cache of a processor does not hold."""
_AT_ONCE: Final = 8 * 1024
"""Compressed bytes that are unpacked in one go."""
_HEADER: Final = struct.pack("<BBBBIBB", 0x1F, 0x8B, 8, 0, 0, 4, 255)  # deflate, no name, no time, fast, any system
_LAST_BLOCK: Final = b"\x03\x00"
"""A final block with nothing in it."""
_POLYNOMIAL: Final = 0xEDB88320
"""Of CRC-32, without its highest term, the lowest power at bit 31 (RFC 1952, 8)."""
_ONE: Final = 1 << 31
_ALL: Final = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Page:
    """A page with its text compressed."""

    gzipped: bytes
    length: int
    """Of the text, in bytes."""

    @classmethod
    def of(cls, gzipped: bytes) -> Page:
        """The page of one gzip member of less than 4 GiB of text, which ends with how long that is."""
        return cls(gzipped, int.from_bytes(gzipped[-4:], "little"))

    def text(self) -> bytes:
        """The text of it."""
        return gzip.decompress(self.gzipped)

    def pieces(self) -> Iterator[bytes]:
        """The text of it, some at a time: who takes it slowly holds up no more memory than that."""
        reader, packed = zlib.decompressobj(16 + zlib.MAX_WBITS), memoryview(self.gzipped)
        for at in range(0, len(packed), _AT_ONCE):
            rest: bytes | memoryview = packed[at : at + _AT_ONCE]
            while rest:
                yield reader.decompress(rest, 8 * _AT_ONCE)
                rest = reader.unconsumed_tail


@dataclass(frozen=True, slots=True)
class _Packed:
    """Text in blocks of which none is the last one."""

    blocks: bytes
    checksum: int
    length: int


class PageMaker:
    """Makes one page after the other. Used by one thread at a time."""

    def __init__(self) -> None:
        self._last: dict[tuple[str, int], tuple[Piece, _Packed]] = {}

    def page(self, parts: Iterable[bytes | Piece]) -> Page:
        """The page of these parts."""
        made: dict[tuple[str, int], tuple[Piece, _Packed]] = {}
        blocks, checksum, length = [_HEADER], 0, 0
        for part in parts:
            if isinstance(part, Piece):
                place = part.metric.name, part.first
                known = self._last.get(place)
                is_new = known is None or not known[0].is_as(part)
                made[place] = (part, _packed(part.text())) if is_new or known is None else known
                packed = made[place][1]
            else:
                packed = _packed(part)
            blocks.append(packed.blocks)
            checksum = _moved(checksum, packed.length) ^ packed.checksum
            length += packed.length
        self._last = made
        return Page(b"".join([*blocks, _LAST_BLOCK, struct.pack("<II", checksum, length & _ALL)]), length)


def _packed(text: bytes | memoryview) -> _Packed:
    deflate = zlib.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS, _MEMORY)
    blocks = deflate.compress(text) + deflate.flush(zlib.Z_SYNC_FLUSH)
    return _Packed(blocks, zlib.crc32(text), len(text))


def _moved(checksum: int, length: int) -> int:
    """The checksum of a text after which come so many bytes, as its part of the checksum of both.

    A CRC is the remainder of a polynomial, and each byte that comes after multiplies it by x^8. The two complements
    that CRC-32 has cancel out where the checksum of the second text is added.
    """
    for power in _POWERS:
        if not length:
            break
        if length & 1:
            checksum = _product(power, checksum)
        length >>= 1
    return checksum


def _product(one: int, other: int) -> int:
    """Of two polynomials, as a remainder."""
    product = 0
    while one:
        if one & _ONE:
            product ^= other
        one = one << 1 & _ALL
        other = other >> 1 ^ (_POLYNOMIAL if other & 1 else 0)
    return product


def _squares(number: int) -> Iterator[int]:
    """x^8, x^16, x^32 and so on."""
    power = _ONE >> 8
    for _ in range(number):
        yield power
        power = _product(power, power)


_POWERS: Final = tuple(_squares(48))
"""What moves a checksum by 1, 2, 4, ... bytes."""
