"""Short runs like those of `trials`, for what the pipeline does to many batches at once: cut records out of a broker's
answer, tell duplicates and late rows of a whole poll, and publish less while it is far behind.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

import pyarrow as pa
import pytest
import zstandard
from kafka import TopicPartition
from kafka.record import MemoryRecords
from kafka.record.default_records import DefaultRecordBatchBuilder

from collector.schema import FLOWS, Batch
from pipeline import blocks
from pipeline.bus import Message
from pipeline.bus.kafka_records import MessageRecords
from pipeline.intake import LATENESS_SECONDS
from pipeline.pacing import FAR_BEHIND
from tests.faults import stream
from tests.faults.ledger import Ledger, totals
from tests.faults.lives import Death, Disk, live
from tests.faults.stream import Log, LogReader, disordered
from tests.pipeline.batches_for_tests import sealed, stream_of
from tests.pipeline.shipments import NOW, SECOND

BATCHES: Final = 28
RECORDS: Final = 4
"""Of a record batch at most."""
MOST_AT_ONCE: Final = 3
"""Of a partition so many records are taken at a time, so that some are left of a record batch."""
ANSWER_BYTES: Final = (500, 8_000)
"""A broker cuts its answer there, in the middle of a batch, but not within the first."""
Unexplained = Mapping[str, int]


def record_batch(batches: list[Batch], first: int) -> bytes:
    """What a broker keeps of them, from an offset on."""
    builder = DefaultRecordBatchBuilder(2, 0, False, -1, -1, -1, 1 << 20)
    for delta, batch in enumerate(batches):
        builder.append(delta, timestamp=1, key=batch.key, value=batch.value, headers=list(batch.headers().items()))
    return first.to_bytes(8, "big") + bytes(builder.build())[8:]


class Broker:
    """What was put on the bus as a broker keeps it: record batches by topic and node, behind each other."""

    def __init__(self, chance: random.Random) -> None:
        self.ends: dict[tuple[str, str], int] = defaultdict(int)
        self._chance = chance
        self._kept: dict[tuple[str, str], list[tuple[int, bytes]]] = defaultdict(list)

    def put(self, batches: list[Batch]) -> None:
        """Append batches of one node as one record batch."""
        partition = batches[0].topic, batches[0].node
        self._kept[partition].append((self.ends[partition], record_batch(batches, self.ends[partition])))
        self.ends[partition] += len(batches)

    def answer(self, partition: tuple[str, str], offset: int) -> bytes:
        """From the record batch on that has an offset, and somewhere it is cut off."""
        kept = self._kept[partition]
        first = max((at for at, (start, _) in enumerate(kept) if start <= offset), default=0)
        most = max(self._chance.randint(*ANSWER_BYTES), len(kept[first][1]))
        return b"".join(content for _, content in kept[first:])[:most]


class RecordReader(LogReader):
    """Reads from a broker as `pipeline.bus.kafka` does, an answer of each partition a poll, up to where it may."""

    def __init__(self, broker: Broker, until: Callable[[int], int] = lambda end: end) -> None:
        super().__init__(Log())
        self._broker = broker
        self._ends = {partition: until(end) for partition, end in broker.ends.items()}

    def poll(self, timeout_s: float) -> list[Message]:
        given: list[Message] = []
        for number, (partition, end) in enumerate(self._ends.items()):
            at = self._next.setdefault(partition, 0)
            if at < end:
                answer = MemoryRecords(self._broker.answer(partition, at))
                records = MessageRecords(at, TopicPartition(partition[0], number), answer)
                found = [message for message in records.take(MOST_AT_ONCE) if message.offset < end]
                given += found
                self._next[partition] = min(records.next_fetch_offset, end)
        return given

    def caught_up(self) -> bool:
        return all(self._next.get(partition, 0) >= end for partition, end in self._ends.items())


def rewritten(batch: Batch) -> Batch:
    """The same rows as pyarrow writes them: with other metadata, in front of them."""
    one = pa.ipc.open_stream(stream_of(batch)).read_next_batch()
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, one.schema) as writer:
        writer.write_batch(one)
    return replace(batch, value=sealed(zstandard.ZstdCompressor().compress(bytes(sink.getvalue()))))


def in_records(root: Path) -> Unexplained:
    """Through a broker's answers, over two lives: some batches are there twice, some after one that lies in its name,
    some as another encoder writes them."""
    disk, chance = Disk(root, Ledger(8, rows=6, restarts=0.1), left=0, flush_rows=15), random.Random(8)
    broker = Broker(chance)
    of_nodes: dict[str, list[Batch]] = defaultdict(list)
    for batch in disordered((disk.ledger.batch() for _ in range(BATCHES)), chance, again=0.3, apart=8, delayed=16):
        if chance.random() < 0.3:
            batch = rewritten(batch)
        of_nodes[batch.node].append(batch)
    disk.ledger.again = sum(map(len, of_nodes.values())) - BATCHES
    lies = 0
    for batches in of_nodes.values():
        for place in range(len(batches) - 1, -1, -6):
            batches.insert(place, replace(batches[place], byte_sum=batches[place].byte_sum + 1))
            lies += 1
    for batches in of_nodes.values():
        while batches:
            count = chance.randint(1, RECORDS)
            broker.put(batches[:count])
            del batches[:count]
    first = RecordReader(broker, until=lambda end: end // 2)
    live(disk, reader=first)
    second = RecordReader(broker)
    live(disk, reader=second)
    found = {"lies": lies - len(first.refused + second.refused)}
    return {**disk.account(is_ordered=False).unexplained, **{what: count for what, count in found.items() if count}}


def late(root: Path) -> Unexplained:
    """Some batches tell of minutes ago: their rows count, and are told to be late, by what their node told before."""
    disk, log, chance = Disk(root, Ledger(9, rows=6), left=0), Log(), random.Random(9)
    reached: dict[str, int] = {}
    late_rows = 0
    for second in range(60):
        time_ns = NOW + (second - chance.choice((0, 0, 300))) * SECOND
        batch = disk.ledger.batch(time_ns)
        log.put(batch)
        before = reached.get(batch.node, 0)
        late_rows += batch.rows if time_ns < before - LATENESS_SECONDS * SECOND else 0
        reached[batch.node] = max(before, time_ns)
    assert late_rows > 0
    live(disk, reader=LogReader(log))
    told = totals(disk.publication.text().decode())["flowatlas_pipeline_late_rows_total"]
    found = {"late rows": late_rows - told} if late_rows != told else {}
    return {**disk.account().unexplained, **found}


class BehindReader(LogReader):
    """The bus is far ahead, of what others read, for ever."""

    def lag(self) -> Mapping[str, int]:
        return {FLOWS.topic: FAR_BEHIND}


def far_behind(root: Path) -> Unexplained:
    """What is counted is shown while the bus is far ahead, too: at most a few windows, here of nothing, later."""
    log, shown = Log(), 0

    def look() -> None:
        nonlocal shown
        shown = max(shown, totals(disk.publication.text().decode())["flowatlas_pipeline_rows_total"])

    class Filled(Disk):
        def put(self, shipped: Batch, times: int) -> None:
            for _ in range(times):
                log.put(shipped)

    disk = Filled(root, Ledger(10), left=9, flush_rows=10_000)  # a full history is shown at once
    live(disk, reader=BehindReader(log), on_turn=look)
    return {**disk.account().unexplained, **({} if shown else {"never shown": 1})}


def killed_far_behind(root: Path) -> Unexplained:
    """What was shown while the bus was far ahead is there when somebody goes on."""
    log, disk = Log(), Disk(root, Ledger(11), left=0)
    for _ in range(9):
        log.put(disk.ledger.batch())

    def look() -> None:
        if totals(disk.publication.text().decode())["flowatlas_pipeline_rows_total"]:
            raise Death

    with suppress(Death):
        live(disk, until=-1, reader=BehindReader(log), on_turn=look)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(stream, "POLL_MESSAGES", 1)
        live(disk, reader=LogReader(log))
    return disk.account().unexplained


def in_small_blocks(root: Path) -> Unexplained:
    """As `in_records`, and of what was inflated little fits into memory at once."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(blocks, "BLOCK_BYTES", 4_000)
        return in_records(root)


TRIALS: Final[Mapping[str, Callable[[Path], Unexplained]]] = {
    "in records": in_records,
    "late": late,
    "far behind": far_behind,
    "killed far behind": killed_far_behind,
    "in small blocks": in_small_blocks,
}
