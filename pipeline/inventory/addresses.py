"""IP addresses as two unsigned 64-bit halves, as they travel on the wire, and back to text for people.

IPv4 is the mapped address `::ffff:a.b.c.d`, so both families share one pair of columns. The invariant: an address has
exactly one pair, and the text that comes back is the canonical one (RFC 5952 for IPv6).
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

_LOW: Final = (1 << 64) - 1
_MAPPED: Final = 0xFFFF << 32
_LEADING_ZEROS: Final = re.compile(r"\b0+(?=\d)")
_OCTETS: Final = pl.Series("octet", [str(n) for n in range(256)], dtype=pl.String)
_DOTTED: Final = pl.Series("octet", [f"{n}." for n in range(256)], dtype=pl.String)


class Address(NamedTuple):
    """One address. `NO_ADDRESS` (the unspecified address) stands for none."""

    hi: int
    lo: int

    def __str__(self) -> str:
        return _text(self.hi, self.lo)

    @property
    def family(self) -> str:
        """`IPv4` or `IPv6`."""
        return "IPv4" if self.hi == 0 and self.lo >> 32 == _MAPPED >> 32 else "IPv6"


NO_ADDRESS: Final = Address(0, 0)
NODE_LOCAL_DNS: Final = Address(0, _MAPPED | 0xA9FE140A)
"""169.254.20.10, where NodeLocal DNSCache listens by default, on every node."""
POD_IDENTITY: Final = (Address(0, _MAPPED | 0xA9FEAA17), Address(0xFD000EC2_00000000, 0x23))
"""169.254.170.23 and fd00:ec2::23, where EKS' Pod Identity Agent listens, on every node of its."""
NODE_LOCALS: Final = (NODE_LOCAL_DNS, *POD_IDENTITY)
"""Addresses that are the same on every node, beside loopback's."""

Half = NDArray[np.uint64]


def parse(text: str) -> Address:
    """The halves of an IPv4 or IPv6 address. Raises ValueError where the text is neither."""
    return of(ipaddress.ip_address(text))


def parse_object(text: str) -> Address:
    """The same of an address in an object."""
    try:
        return parse(text)
    except ValueError:
        return parse(without_leading_zeros(text))


def without_leading_zeros(text: str) -> str:
    """An IPv4 address or range as Kubernetes reads it: its API server lets `010.0.0.1` in, and means 10.0.0.1."""
    head, colon, tail = text.rpartition(":")
    return head + colon + _LEADING_ZEROS.sub("", tail) if "." in tail else text


def of(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> Address:
    """The halves of a parsed address."""
    number = int(address)
    if address.version == 4:
        return Address(0, _MAPPED | number)
    return Address(number >> 64, number & _LOW)


def is_v4(hi: pl.Expr, lo: pl.Expr) -> pl.Expr:
    """Whether the halves hold a mapped IPv4 address."""
    return (hi == 0) & lo.is_between(_MAPPED, _MAPPED | 0xFFFFFFFF)


def node_locals(hi: Half, lo: Half) -> NDArray[np.int64]:
    """The rows of addresses that each node has for itself: those of 127.0.0.0/8, `::1` and NODE_LOCALS."""
    may_be = lo - np.uint64(_MAPPED | 0x7F000000) <= np.uint64(0xFFFFFF)  # what is below wraps round
    may_be |= lo == np.uint64(1)
    for address in NODE_LOCALS:
        may_be |= lo == np.uint64(address.lo)
    rows = np.flatnonzero(may_be)
    if not rows.size:
        return rows
    six = POD_IDENTITY[1]
    wanted: Half = np.where(lo.take(rows) == six.lo, np.uint64(six.hi), np.uint64(0))
    is_own: NDArray[np.bool_] = hi.take(rows) == wanted
    return rows[is_own]


def text(hi: str, lo: str) -> pl.Expr:
    """Canonical text of the address in the columns `hi` and `lo`; named after `hi` until aliased.

    IPv4 is built in columns; of IPv6 each distinct address is formatted once.
    """

    def batch(halves: pl.Series) -> pl.Series:
        frame = halves.struct.unnest()
        return text_of(frame.to_series(0), frame.to_series(1))

    return pl.struct(hi, lo).map_batches(batch, return_dtype=pl.String, is_elementwise=True)


def text_of(hi: pl.Series, lo: pl.Series) -> pl.Series:
    """Canonical text of equal-length UInt64 halves; null where a half is null."""
    frame = pl.DataFrame({"hi": hi, "lo": lo})
    v4 = is_v4(pl.col("hi"), pl.col("lo"))
    octets = [
        pl.lit(table).gather((pl.col("lo") // (1 << shift) & 0xFF).cast(pl.UInt32))
        for shift, table in ((24, _DOTTED), (16, _DOTTED), (8, _DOTTED), (0, _OCTETS))
    ]
    known = frame.with_columns(text=pl.when(v4).then(pl.concat_str(octets)))
    others = known.filter(~v4).select("hi", "lo").unique()
    if others.is_empty():
        return known["text"]
    others = others.with_columns(other=pl.Series([_text(*pair) for pair in others.iter_rows()], dtype=pl.String))
    joined = known.join(others, on=["hi", "lo"], how="left", maintain_order="left")
    return joined.select(pl.coalesce("text", "other").alias("text"))["text"]


def halves_of(texts: pl.Series) -> pl.DataFrame:
    """Columns `hi` and `lo` (UInt64) of a column of text, null where it is no address.

    Each distinct text is parsed once.
    """
    distinct = texts.cast(pl.String).drop_nulls().unique()
    rows = [(text, *pair) for text in distinct if (pair := _parse_or_none(text)) is not None]
    known = pl.DataFrame(rows, schema={"text": pl.String, "hi": pl.UInt64, "lo": pl.UInt64}, orient="row")
    frame = pl.DataFrame({"text": texts.cast(pl.String)})
    return frame.join(known, on="text", how="left", maintain_order="left").select("hi", "lo")


def _parse_or_none(text: str) -> Address | None:
    try:
        return parse(text)
    except ValueError:
        return None


def _text(hi: int, lo: int) -> str:
    number = (hi << 64) | lo
    if number >> 32 == 0xFFFF:
        return str(ipaddress.IPv4Address(number & 0xFFFFFFFF))
    return str(ipaddress.IPv6Address(number))
