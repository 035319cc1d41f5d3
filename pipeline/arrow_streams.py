"""Many Arrow IPC streams of one table at once: what encoders of one kind write differs in few places.

One stream is read by `pipeline.arrow_stream`, which says where its numbers lie; where the streams of others have the
same bytes everywhere else, their numbers lie there too. Who differs is read like the first, so nothing is accepted or
refused here that is not there. The invariant: every number that comes out of here is as it came.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from collector.schema import VERSION

from .arrow_stream import END, PAIR_BYTES, PARTS, Content, read_batch
from .blocks import Block
from .pieces import Octets, Places, alike

MOST_SHAPES: Final = 4
"""So many kinds of encoders are told apart; what else is there is read one by one."""
_WORD: Final = 8

Flags = np.ndarray[Any, np.dtype[np.bool_]]
Pairs = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True, slots=True)
class Contents:
    """Record batches as their streams tell them, in `memory`. Any number of `fields` or `buffers` may be a lie."""

    memory: Octets
    rows: Places
    """Of each batch, as its name and its stream agree."""
    fields: Pairs
    """By batch and column how many rows it has, and how many nulls."""
    buffers: Pairs
    """By batch and buffer where it begins in the body, and how long it is."""
    starts: Places
    """Where each body begins in the memory."""
    sizes: Places
    """Of each body."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What streams of one kind have in common, in words of 8 bytes from their beginning."""

    words: np.ndarray[Any, np.dtype[np.uint64]]
    """Of one of them everything before its body."""
    is_free: Flags
    """Which of them may differ."""
    rows: int
    body_size: int
    fields: slice
    buffers: slice


def read_batches(block: Block, table: str, version: int = VERSION, shapes: list[Shape] | None = None) -> Contents:
    """The one record batch of each stream of a block, of the wire columns of the table's `version`.

    What `shapes` tells of earlier blocks of the same table and version holds here too, and what is found is put there.
    Raises BatchError as `read_batch` does, of rows by the names of the batches."""
    shapes = [] if shapes is None else shapes
    rows = np.array([batch.name.rows for batch in block.batches], np.int64)
    many_fields, many_buffers = PARTS[table, version]
    fields, buffers = (np.empty((len(rows), many, 2), np.int64) for many in (many_fields, many_buffers))
    bodies = np.empty((len(rows), 2), np.int64)

    def those_unlike(shape: Shape, left: Places) -> Places:
        """Read those that have the shape; returns the others."""
        is_alike, numbers = _alike(block, left, rows, shape)
        alike = left[is_alike]
        fields[alike] = numbers[:, shape.fields].reshape(-1, many_fields, 2)
        buffers[alike] = numbers[:, shape.buffers].reshape(-1, many_buffers, 2)
        bodies[alike, 0] = len(shape.words) * _WORD
        bodies[alike, 1] = block.sizes[alike] - len(END)
        return left[~is_alike]

    left = np.arange(len(rows))
    for shape in shapes:
        left = those_unlike(shape, left)
    while len(left):
        first, left = int(left[0]), left[1:]
        stream = block.content(first)
        content = read_batch(stream, table, int(rows[first]), version)
        fields[first] = np.frombuffer(content.fields, np.int64).reshape(-1, 2)
        buffers[first] = np.frombuffer(content.buffers, np.int64).reshape(-1, 2)
        bodies[first] = content.body
        if len(left) and len(shapes) < MOST_SHAPES and (found := _shape(stream, content)) is not None:
            shapes.append(found)
            left = those_unlike(found, left)
    return Contents(block.memory, rows, fields, buffers, block.starts + bodies[:, 0], bodies[:, 1] - bodies[:, 0])


def _shape(stream: memoryview, content: Content) -> Shape | None:
    """What this stream may have in common with others; None where its numbers are not whole words of their own."""
    head = content.head
    starts = (head.rows, head.body_size, head.fields, head.buffers)
    if head.size % _WORD or any(start == 0 or start % _WORD for start in starts):
        return None
    rows, body_size, fields, buffers = (start // _WORD for start in starts)
    pair = PAIR_BYTES // _WORD
    of_fields = slice(fields, fields + pair * head.many_fields)
    of_buffers = slice(buffers, buffers + pair * head.many_buffers)
    is_fixed = np.ones(head.size // _WORD, np.bool_)
    for numbers in (slice(rows, rows + 1), slice(body_size, body_size + 1), of_fields, of_buffers):
        is_fixed[numbers] = False
    if not all(is_fixed[start // _WORD : -(-end // _WORD)].all() for start, end in head.structure):
        return None
    words = np.frombuffer(stream[: head.size], np.uint64).copy()
    return Shape(words, ~is_fixed, rows, body_size, of_fields, of_buffers)


def _alike(block: Block, numbers: Places, rows: Places, shape: Shape) -> tuple[Flags, Pairs]:
    """Which of these batches have the shape, as many rows as they should and a body up to the end; and the words of
    those."""
    size = len(shape.words) * _WORD
    is_alike = (block.sizes[numbers] >= size + len(END)) & (block.sizes[numbers] % _WORD == 0)
    numbers = numbers[is_alike]
    starts, sizes = block.starts[numbers], block.sizes[numbers]
    words = alike(block.memory, starts, size).view(np.uint64)
    told = words.view(np.int64)
    ends = alike(block.memory, starts + sizes - len(END), len(END))
    is_so = (
        ((words == shape.words) | shape.is_free).all(axis=1)
        & (told[:, shape.rows] == rows[numbers])
        & (told[:, shape.body_size] == sizes - size - len(END))
        & (ends == np.frombuffer(END, np.uint8)).all(axis=1)
    )
    is_alike[is_alike] = is_so
    return is_alike, told if is_so.all() else told[is_so]
