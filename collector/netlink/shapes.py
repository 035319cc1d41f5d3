"""Netlink attributes in columns: messages of one shape share their offsets, so one of them is read and the rest sliced.

A shape is a message length together with the position, type and length of every attribute that leads to a wanted one.
The first message of each shape is walked attribute by attribute; all others are compared with it word for word at the
attribute headers, and then read as one structured array. A kernel's table has few shapes, whatever its size.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from .messages import Messages

Path = tuple[int, ...]
"""Attribute types from the message's top level inwards."""

_ORDER: Final = sys.byteorder
_TYPE_MASK: Final = 0x3FFF  # NLA_F_NESTED and NLA_F_NET_BYTEORDER are the two bits above


@dataclass(frozen=True, slots=True)
class Field:
    """A wanted attribute: the name of its column and its numpy format, which fixes the payload's length."""

    name: str
    format: str


class MalformedError(ValueError):
    """An attribute header that does not fit into what encloses it, or a wanted payload of another length."""


@dataclass(frozen=True, slots=True)
class _Shape:
    """Where everything is in messages of one kind; positions count from the start of the message."""

    header_words: npt.NDArray[np.int64]
    dtype: np.dtype[Any]


def columns(
    messages: Messages, prefix: Mapping[str, tuple[str, int]], payload_bytes: int, fields: Mapping[Path, Field]
) -> Iterator[npt.NDArray[Any]]:
    """Yield one structured array a shape, with the `prefix` fields (name to format and offset) and the `fields` found.

    `payload_bytes` is where the attributes begin. Yielded arrays are copies, in no particular order. A message that
    does not hold together counts as `attribute` or `truncated` in `messages.flaws` and is in no array.
    """
    words, starts = messages.words, messages.starts
    lengths = words[starts]
    for length in np.unique(lengths):
        same_length = starts[lengths == length]
        if length < payload_bytes:
            messages.flaws["truncated"] += len(same_length)
            continue
        table = np.lib.stride_tricks.sliding_window_view(words, (int(length) + 3) // 4)[same_length]
        yield from _by_shape(table, int(length), prefix, payload_bytes, fields, messages.flaws)


def _by_shape(
    table: npt.NDArray[np.uint32],
    length: int,
    prefix: Mapping[str, tuple[str, int]],
    payload_bytes: int,
    fields: Mapping[Path, Field],
    flaws: Counter[str],
) -> Iterator[npt.NDArray[Any]]:
    while len(table):
        try:
            shape = _shape_of(table[0].tobytes(), length, prefix, payload_bytes, fields)
        except MalformedError:
            flaws["attribute"] += 1
            table = table[1:]
            continue
        alike = (table[:, shape.header_words] == table[0, shape.header_words]).all(axis=1)
        rows = table if alike.all() else table[alike]
        yield rows.view(shape.dtype)[:, 0]
        table = table[~alike]


def _shape_of(
    message: bytes,
    length: int,
    prefix: Mapping[str, tuple[str, int]],
    payload_bytes: int,
    fields: Mapping[Path, Field],
) -> _Shape:
    containers = {path[:depth] for path in fields for depth in range(1, len(path))}
    headers: list[int] = []
    found: dict[str, tuple[str, int]] = dict(prefix)

    def visit(enclosing: Path, start: int, end: int) -> None:
        for kind, payload, payload_end in attributes(message, start, end):
            path = (*enclosing, kind)
            headers.append((payload - 4) // 4)
            if path in containers:
                visit(path, payload, payload_end)
            elif path in fields:
                field = fields[path]
                if payload_end - payload != np.dtype(field.format).itemsize or field.name in found:
                    raise MalformedError
                found[field.name] = (field.format, payload)

    visit((), payload_bytes, length)
    names: Sequence[str] = list(found)
    dtype = np.dtype(
        {
            "names": names,
            "formats": [found[name][0] for name in names],
            "offsets": [found[name][1] for name in names],
            "itemsize": len(message),
        }
    )
    return _Shape(np.array(headers, np.int64), dtype)


def attributes(message: bytes, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """The (type, payload start, payload end) of each attribute between two offsets, flags masked off the type.

    Raises MalformedError at the first header that does not fit.
    """
    position = start
    while end - position >= 4:
        length = int.from_bytes(message[position : position + 2], _ORDER)
        if not 4 <= length <= end - position:
            raise MalformedError
        kind = int.from_bytes(message[position + 2 : position + 4], _ORDER) & _TYPE_MASK
        yield kind, position + 4, position + length
        position += (length + 3) & ~3
