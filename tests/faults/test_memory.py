"""Memory that is short: nothing is taken for damaged because of it, and a pipeline that dies of it loses nothing."""

from __future__ import annotations

import os
import random
import re
import resource
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import polars as pl
import pyarrow as pa
import pytest
from deltalake import DeltaTable

from collector.schema import MAX_MESSAGE_BYTES
from pipeline.bus import open_reader
from pipeline.bus.kafka import PARTITION_FETCH_BYTES
from pipeline.bus.share import Share
from pipeline.decode import decode
from pipeline.lake.mending import mend
from pipeline.lake.tables import FLOWS
from pipeline.snapshots import layout
from pipeline.snapshots.layout import Content, Encoder
from tests.faults.counts import often, tell
from tests.faults.ledger import Ledger, reconcile
from tests.integration.test_pipeline_killed import Watched
from tests.pipeline.batches_for_tests import batch, message
from tests.pipeline.bus.buses import KafkaBus, read
from tests.pipeline.lake.histories import flows, lake_of
from tests.pipeline.shipments import write_segment

DEATHS: Final = often(4, 100)
STEADY_ROWS: Final = 20_000
"""What a life counts before what it holds is taken to be steady."""
SHARE: Final = 1.2
"""Of what it steadily holds it may hold so much, at first."""
BACKLOG: Final = 12
MESSAGE_BYTES: Final = 1_000_000
ANSWER_BYTES: Final = PARTITION_FETCH_BYTES + MAX_MESSAGE_BYTES
"""The most of an answer for one partition, with all that is said beside it."""
IDLE_SECONDS: Final = 2.0
"""How long a reader is left alone: several times as long as all of the backlog takes."""
COUNT_SECONDS: Final = 300.0
"""How long it may take to count what is waited for: on a machine that does much else, what waits on the bus is long."""
PATIENCE_SECONDS: Final = 30.0
"""How long one may go on that is refused memory and does not end by itself."""


def of_a_batch(_: Path) -> None:
    decode(message(batch()))


def of_a_snapshot(_: Path) -> None:
    layout.decode(b"".join(Encoder().encode(Content({}, {"flows": pl.DataFrame({"bytes": [1, 2]})}))))


def of_a_checkpoint(root: Path) -> None:
    lake_of(root, flows(10, seed=1))
    DeltaTable(root / FLOWS.name).create_checkpoint()
    mend(root / FLOWS.name / "_delta_log")


@pytest.mark.parametrize(
    ("read", "call"),
    [
        (of_a_batch, "pyarrow.py_buffer"),
        (of_a_snapshot, "pyarrow.ipc.open_stream"),
        (of_a_checkpoint, "pyarrow.parquet.read_metadata"),
    ],
)
def test_what_there_is_no_memory_to_read_is_not_taken_for_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: Callable[[Path], None], call: str
) -> None:
    """A batch would be put aside, an older snapshot would count, a checkpoint would be given up."""

    def refuse(*_: Any) -> None:
        raise pa.ArrowMemoryError("malloc of size 64 failed")

    monkeypatch.setattr(call, refuse)
    with pytest.raises(MemoryError):
        read(tmp_path)


class Load(threading.Thread):
    """Ships batches until it is stopped, some of them twice; they wait on the bus while nobody reads."""

    def __init__(self, bus: Path) -> None:
        super().__init__(daemon=True)
        self.ledger = Ledger(21, rows=1_000)
        self._bus = bus
        self._random = random.Random(21)
        self._ended = threading.Event()

    def run(self) -> None:
        while not self._ended.wait(0.01):
            is_again = self._random.random() < 0.1
            self.ledger.again += is_again
            write_segment(self._bus, self.ledger.batch(), 1 + is_again)

    def stop(self) -> None:
        self._ended.set()
        self.join()


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    it = Watched(tmp_path)
    it.environment |= {"FLOWATLAS_PIPELINE_LAKE_FLUSH_S": "0.2", "POLARS_MAX_THREADS": "1"}
    it.command += ["--bus", f"file://{tmp_path / 'bus'}", "--lake", str(tmp_path / "lake")]
    try:
        yield it
    finally:
        it.kill()


def rows_of(watched: Watched) -> float:
    return watched.total("flowatlas_pipeline_rows_total")


def await_rows(watched: Watched, least: float) -> float:
    """Look until so many rows are counted; the most bytes of its own that it held meanwhile."""
    most = 0
    deadline = time.monotonic() + COUNT_SECONDS
    while rows_of(watched) < least:
        assert watched.pid is not None, watched.log()
        assert time.monotonic() < deadline, watched.log()
        watched.look()
        most = max(most, held(watched.pid, "RssAnon"))
    return most


def held(pid: int, what: str) -> int:
    """Bytes of memory, by the name that the kernel has for them (proc_pid_status(5)); 0 of a process that has ended."""
    found = re.search(rf"{what}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return 1024 * int(found[1]) if found else 0


def kill_when_above(watched: Watched, limit: float) -> str:
    """As the kernel does who is short of memory; the limit sinks, as for one beside whom others grow."""
    while (pid := watched.pid) is not None and held(pid, "RssAnon") <= limit:
        watched.look()
        limit *= 0.98
    watched.kill()
    return "killed above the limit"


def refuse_memory(watched: Watched) -> str:
    """Let it have no more than it has: from now on the kernel refuses each request, wherever it is made."""
    pid = watched.pid
    assert pid is not None
    resource.prlimit(pid, resource.RLIMIT_DATA, (resource.getpagesize(), resource.RLIM_INFINITY))
    deadline = time.monotonic() + PATIENCE_SECONDS
    while watched.pid is not None and time.monotonic() < deadline:
        time.sleep(0.02)
    if watched.pid is None:
        return "refused memory, ended by itself"
    watched.kill()
    return "refused memory, and killed"


def test_a_pipeline_that_dies_of_too_little_memory_again_and_again_loses_nothing(
    watched: Watched, tmp_path: Path
) -> None:
    """Under load, with snapshots and history; by turns it is killed where it holds more than it may, and refused more
    than it has. Each time it is started again."""
    load, chance, ends = Load(tmp_path / "bus"), random.Random(21), Counter[str]()
    load.start()
    watched.start()
    limit = SHARE * await_rows(watched, STEADY_ROWS)
    for number in range(DEATHS):
        if number:
            watched.start()
            await_rows(watched, rows_of(watched) + chance.randrange(1, 2_000))
        ends[refuse_memory(watched) if number % 2 else kill_when_above(watched, limit)] += 1
        tell(watched.log()[-500:])
    load.stop()
    watched.start()
    await_rows(watched, load.ledger.rows)
    assert watched.end() == 0, watched.log()
    account = reconcile(load.ledger, watched.page, tmp_path / "lake", fallen=len(watched.fallen))
    tell(f"{dict(ends)}\n{account}")
    assert account.unexplained == {}
    assert ends["refused memory, ended by itself"] > 0


def received_from(server: str) -> int:
    """Bytes that the connections of this process to a server have brought, read or not, as the kernel counts them
    (tcpi_bytes_received of tcp_info, linux/tcp.h)."""
    total = 0
    for path in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # gone, or not connected
            if str(path.readlink()).startswith("socket:"):
                with socket.socket(fileno=os.dup(int(path.name))) as one:
                    if one.family == socket.AF_INET and "{}:{}".format(*one.getpeername()) == server:
                        told = one.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 136)
                        total += struct.unpack_from("=Q", told, 128)[0]
    return total


@pytest.mark.kafka
def test_a_reader_that_is_not_polled_is_sent_one_answer_and_no_more(kafka_broker: str) -> None:
    """However much a broker holds: a pipeline whose disk refuses does not poll, and its memory does not grow."""
    bus = KafkaBus(kafka_broker)
    producer = bus.producer()
    for _ in range(BACKLOG):
        producer.send(bus.topic, key=b"node1", value=bytes(MESSAGE_BYTES))
    producer.flush(60)
    producer.close()
    bus.close()
    reader = open_reader(f"kafka://{kafka_broker}", "group", [bus.topic], share=Share(0, 1))
    before = received_from(kafka_broker)
    reader.start()
    polled = len(read(reader, 1)) + len(reader.poll(0.0))  # which asks for more and does not wait for it
    time.sleep(IDLE_SECONDS)
    unread = received_from(kafka_broker) - before - polled * MESSAGE_BYTES
    tell(f"{polled} of {BACKLOG} messages polled, {unread:,} more bytes were sent")
    assert 0 < unread <= ANSWER_BYTES
    assert (BACKLOG - polled) * MESSAGE_BYTES > 2 * ANSWER_BYTES
    assert polled + len(read(reader, BACKLOG - polled)) == BACKLOG
    reader.stop()
