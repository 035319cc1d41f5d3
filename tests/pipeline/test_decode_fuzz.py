"""Mutants of sound batches: nothing but BatchError, and no row that the checksum, counts and sums do not vouch for.

FLOWATLAS_MUTANTS sets how many; their seeds are their numbers, so a failure names its mutant.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from typing import Final

import numpy as np

from collector.schema import FLOWS, TABLES, VERSION, Batch, BatchError, frame_of
from pipeline.arrow_streams import read_batches
from pipeline.blocks import Block
from pipeline.bus import Message
from pipeline.columns import Columns
from pipeline.decode import LARGEST, Decoded, decode
from pipeline.envelope import open_batch
from pipeline.rows import Assembly
from tests.pipeline.batches_for_tests import batch, counters, message, sealed, stream_message, stream_of

MUTANTS: Final = int(os.environ.get("FLOWATLAS_MUTANTS", "20000"))
BASES: Final = [batch(rows=3), batch(rows=300), counters(rows=2), counters(rows=50), batch(rows=0)]
METADATA_BYTES: Final = 2600
"""About where a stream's metadata ends: half of all damage goes there, for the body is mostly plain numbers."""

Random = np.random.Generator


def damaged(content: bytes, random: Random) -> bytes:
    """One to eight changes: flipped bits, bytes of interest, or pieces cut out, repeated or moved."""
    changed = bytearray(content)
    for _ in range(random.integers(1, 9)):
        if not changed:
            break
        reach = min(len(changed), METADATA_BYTES) if random.random() < 0.5 else len(changed)
        at = int(random.integers(0, reach))
        match random.integers(0, 8):
            case 0 | 1 | 2:
                changed[at] ^= 1 << int(random.integers(0, 8))
            case 3 | 4:
                changed[at] = random.choice([0, 1, 0x7F, 0x80, 0xFF])
            case 5:
                number = random.choice([0, 1, 2**31 - 1, 2**31, 2**32 - 1])
                aligned = at & ~3
                changed[aligned : aligned + 4] = int(number).to_bytes(4, "little")
            case 6:
                del changed[at : at + int(random.integers(1, 64))]
            case _:
                start = int(random.integers(0, len(changed)))
                changed[at:at] = changed[start : start + int(random.integers(1, 64))]
    return bytes(changed)


def whole_message(base: Batch, random: Random) -> Message:
    return message(base, value=damaged(base.value, random))


def frame(base: Batch, random: Random) -> Message:
    return message(base, value=sealed(damaged(frame_of(base.value), random)))


def stream(base: Batch, random: Random) -> Message:
    return stream_message(damaged(stream_of(base), random), base)


def splice(base: Batch, random: Random) -> Message:
    ours, theirs = stream_of(base), stream_of(BASES[random.integers(0, len(BASES))])
    cut = int(random.integers(0, len(ours) // 8 + 1)) * 8
    return stream_message(ours[:cut] + theirs[min(cut, len(theirs)) :], base)


def headers(base: Batch, random: Random) -> Message:
    changed = base.headers()
    name = str(random.choice(list(changed)))
    changed[name] = damaged(changed[name], random)
    return message(base, headers=changed)


MUTATIONS: Final[list[Callable[[Batch, Random], Message]]] = [
    whole_message,
    frame,
    stream,
    stream,
    stream,
    splice,
    headers,
]


def test_mutants_are_refused_or_harmless() -> None:
    outcomes: Counter[str] = Counter()
    for seed in range(MUTANTS):
        random = np.random.default_rng(seed)
        mutate = MUTATIONS[seed % len(MUTATIONS)]
        base = BASES[random.integers(0, len(BASES))]
        mutant = mutate(base, random)
        try:
            decoded = decode(mutant)
        except BatchError as error:
            outcomes[error.reason] += 1
        except BaseException as error:
            raise AssertionError(f"mutant {seed} of {mutate.__name__}") from error
        else:
            outcomes["accepted"] += 1
            check_accepted(decoded, mutant, base, seed)
    expected = {"accepted", "checksum", "headers", "inflate", "ipc", "magic", "schema", "values", "bytes", "rows"}
    assert expected <= outcomes.keys()  # the mutants do reach every check
    assert outcomes["accepted"] < MUTANTS / 2


def check_accepted(decoded: Decoded, mutant: Message, base: Batch, seed: int) -> None:
    """What came through has the rows and sums that its name claims, and is the original where its value is."""
    frame, name = decoded.frame, decoded.name
    table = TABLES[name.table]
    assert frame.columns == [*table.columns, "node"], seed
    assert frame.height == name.rows, seed
    assert sum(sum(frame[column].to_list()) for column in table.bytes_columns) == name.byte_sum, seed
    for column in LARGEST.keys() & table.columns.keys():
        assert all(value <= LARGEST[column] for value in frame[column].to_list()), seed
    assert frame.null_count().sum_horizontal().to_list() == [0], seed
    frame.hash_rows()  # reads every value
    if frame_of(mutant.value) == frame_of(base.value):
        assert frame.drop("node").equals(decode(message(base)).frame.drop("node")), seed


def test_the_mutants_of_a_value_alone_never_change_a_row() -> None:
    """A checksum of 32 bits stands between damage on the way and the decoder."""
    base = BASES[1]
    original = decode(message(base)).frame
    for seed in range(MUTANTS // 10):
        mutant = whole_message(base, np.random.default_rng(seed))
        try:
            assert decode(mutant).frame.equals(original), seed
        except BatchError:
            continue


def test_streams_at_odd_addresses_are_read_right() -> None:
    """Blocks begin every content at a multiple of 64; what is read does not depend on it."""
    base = BASES[1]
    expected = decode(message(base)).frame.drop("node")
    opened, stream = open_batch(message(base)), np.frombuffer(stream_of(base), np.uint8)
    for shift in range(1, 8):
        for many in (1, 3):
            rooms = np.arange(many) * (len(stream) + shift) + shift
            memory = np.zeros(many * (len(stream) + shift), np.uint8)
            for start in rooms:
                memory[start : start + len(stream)] = stream
            block = Block([opened] * many, memory, rooms, np.full(many, len(stream)))
            assembly = Assembly(FLOWS, VERSION, many * base.rows)
            assembly.add(Columns(read_batches(block, "flows"), FLOWS, VERSION))
            found = assembly.frame().select(list(FLOWS.columns))
            for number in range(many):
                assert found.slice(number * base.rows, base.rows).equals(expected)
