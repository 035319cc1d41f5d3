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
from .pieces import Octets, Places, joined

MOST_SHAPES: Final = 4
"""So many kinds of encoders are told apart in a block; what else is there is read one by one."""
_WORD: Final = 8

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
class _Shape:
    """What streams of one kind have in common, in words of 8 bytes from their beginning."""

    words: np.ndarray[Any, np.dtype[np.uint64]]
    """Of one of them everything before its body."""
    is_fixed: np.ndarray[Any, np.dtype[np.bool_]]
    rows: int
    body_size: int
    fields: slice
    buffers: slice


def read_batches(block: Block, table: str, version: int = VERSION) -> Contents:
    """The one record batch of each stream in a block.

    Raises BatchError as `read_batch` does, of rows by the names of the batches."""
    rows = np.array([batch.name.rows for batch in block.batches], np.int64)
    many_fields, many_buffers = PARTS[table, version]
    fields, buffers = (np.empty((len(rows), many, 2), np.int64) for many in (many_fields, many_buffers))
    bodies = np.empty((len(rows), 2), np.int64)
    shapes = 0
    left = np.arange(len(rows))
    while len(left):
        first, left = int(left[0]), left[1:]
        stream = block.content(first)
        content = read_batch(stream, table, int(rows[first]), version)
        fields[first] = np.frombuffer(content.fields, np.int64).reshape(-1, 2)
        buffers[first] = np.frombuffer(content.buffers, np.int64).reshape(-1, 2)
        bodies[first] = content.body
        if not len(left) or shapes == MOST_SHAPES or (shape := _shape(stream, content)) is None:
            continue
        shapes += 1
        alike, numbers = _alike(block, left, rows, shape)
        fields[alike] = numbers[:, shape.fields].reshape(-1, many_fields, 2)
        buffers[alike] = numbers[:, shape.buffers].reshape(-1, many_buffers, 2)
        bodies[alike, 0] = len(shape.words) * _WORD
        bodies[alike, 1] = block.sizes[alike] - len(END)
        left = np.setdiff1d(left, alike, assume_unique=True)
    return Contents(block.memory, rows, fields, buffers, block.starts + bodies[:, 0], bodies[:, 1] - bodies[:, 0])


def _shape(stream: memoryview, content: Content) -> _Shape | None:
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
    return _Shape(words, is_fixed, rows, body_size, of_fields, of_buffers)


def _alike(block: Block, numbers: Places, rows: Places, shape: _Shape) -> tuple[Places, Places]:
    """Which of these batches have the shape, as many rows as they should and a body up to the end; and their words."""
    size = len(shape.words) * _WORD
    numbers = numbers[(block.sizes[numbers] >= size + len(END)) & (block.sizes[numbers] % _WORD == 0)]
    starts = block.starts[numbers]
    words = joined(block.memory, starts, np.full(len(starts), size)).view(np.uint64).reshape(-1, len(shape.words))
    told = words.view(np.int64)
    ends = (starts + block.sizes[numbers])[:, None] + np.arange(-len(END), 0)
    is_alike = (
        ((words == shape.words) | ~shape.is_fixed).all(axis=1)
        & (told[:, shape.rows] == rows[numbers])
        & (told[:, shape.body_size] == block.sizes[numbers] - size - len(END))
        & (block.memory[ends] == np.frombuffer(END, np.uint8)).all(axis=1)
    )
    return (numbers, told) if is_alike.all() else (numbers[is_alike], told[is_alike])
