"""What is fuzzed: functions that foreign bytes come to, each with bytes that it takes, to begin from.

A target raises only what its function promises never to raise, or AssertionError where a promise of counts is broken.
"""

from __future__ import annotations

import contextlib
import ssl
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
import zstandard
from kafka import TopicPartition
from kafka.record import MemoryRecords

from collector import connections
from collector.dns import messages
from collector.errors import ConfigError
from collector.heads.names import NoHeadError, read_head
from collector.netlink import Messages
from collector.packets.decoder import decode
from collector.packets.kinds import LINK_TYPES, Kind
from collector.packets.octets import Octets
from collector.schema import APP_PROTOCOLS, TABLES, BatchError, frame_of
from collector.sources import pcap
from pipeline.bus.kafka_records import MessageRecords
from pipeline.decode import merged
from pipeline.envelope import Opened, open_batch
from tests.collector.packets import captures, frames
from tests.pipeline.batches_for_tests import batch, message, sealed
from tests.pipeline.bus.record_batches import FOREIGN, OURS, by_the_client, two
from tests.pipeline.bus.record_batches import sealed as sealed_records

LINKS: Final = sorted({int(number) for number in np.flatnonzero(LINK_TYPES != Kind.UNKNOWN_LINK)})


@dataclass(frozen=True, slots=True)
class Target:
    """One function under test; `seeds` makes its first inputs."""

    run: Callable[[bytes], None]
    seeds: Callable[[], Iterable[bytes]]


def packet(data: bytes) -> None:
    """One frame; the first byte chooses its link type."""
    frame = data[1:]
    link_type = LINKS[data[0] % len(LINKS)] if data else 1
    found = decode(Octets(frame), np.array([0]), np.array([len(frame)]), LINK_TYPES[[link_type]])
    assert len(found.rows) + sum(found.no_flow.values()) == 1
    for part in (found.outer.bytes, found.inner.bytes, found.carriage.vni, found.carriage.overhead):
        assert len(part) == len(found.rows)
    assert (found.carriage.overhead <= len(frame)).all()


def capture(data: bytes) -> None:
    """A file: every packet is in a flow of each layer, or counted."""
    with contextlib.suppress(ConfigError):
        found = pcap.contents(data, "fuzzed")
        for flows in (found.outer, found.inner):
            assert int(flows.packets.sum()) + sum(found.no_flow.values()) == found.packets


def dns(data: bytes) -> None:
    """One message of DNS: its names are safe text."""
    with contextlib.suppress(messages.MalformedError):
        found = messages.parse(data)
        assert found.name.isascii()
        assert found.name.isprintable()
        assert all(len(answer.address) in {4, 16} for answer in found.answers)


def head(data: bytes) -> None:
    """The beginning of what a connection carries: short, printable names, and no query."""
    with contextlib.suppress(NoHeadError):
        found = read_head(data, 2)
        assert found.app_protocol < len(APP_PROTOCOLS)
        for name in (found.server_name, found.method, found.path):
            assert len(name) <= 253
            assert name.isprintable()
        assert found.server_name.isascii()
        assert "?" not in found.path


def netlink(data: bytes) -> None:
    """One datagram of conntrack: as many rows as messages, less those that are malformed."""
    told = Messages()
    told.append(data)
    rows = connections.decode(told, connections.MESSAGE_NEW)
    assert len(rows) <= len(told)


def stream(data: bytes) -> None:
    """The inside of a batch: what gets through has the rows and bytes that its headers say, and it is judged beside
    others as it is alone."""
    for source in BATCHES:
        value = sealed(zstandard.ZstdCompressor(level=1).compress(data))
        with contextlib.suppress(BatchError):
            good, opened = open_batch(message(source)), open_batch(message(source, value=value))
            alone, beside = _rows_of([opened]), _rows_of([good, opened, good])
            if isinstance(alone, str) or isinstance(beside, str):
                assert alone == beside
                continue
            assert alone.height == source.rows
            assert beside.slice(source.rows, source.rows).equals(alone)
            sums = (int(alone[name].cast(int).sum()) for name in TABLES[source.table].bytes_columns)
            assert sum(sums) == source.byte_sum


def _rows_of(opened: list[Opened]) -> pl.DataFrame | str:
    """The rows of batches, or why they are refused."""
    try:
        return merged(opened).frame
    except BatchError as error:
        return error.reason


BATCHES: Final = [batch(table, rows=4) for table in TABLES]


def records(data: bytes) -> None:
    """The records of a batch of Kafka, as a broker takes them: read as kafka-python reads them, and passed."""
    content = sealed_records(bytes(two(OURS)[:61]) + data)
    part = MessageRecords(0, TopicPartition("topic", 3), MemoryRecords(content))
    found = part.take(1_000)
    expected, flaw = by_the_client(content)
    assert not part
    assert found[: len(expected)] == expected
    assert [message.flaw for message in found[len(expected) :]] == ([flaw] if flaw else [])


def _packets() -> Iterable[bytes]:
    for case in frames.CASES:
        yield bytes([LINKS.index(case.link_type)]) + case.frame


def _captures() -> Iterable[bytes]:
    plain = [case.frame for case in frames.CASES if case.link_type == 1]
    yield captures.pcap(plain[:5])
    yield captures.pcap(plain[5:8], order=">", magic=0xA1B23C4D)
    for order in "<>":
        blocks = (captures.packet(plain[0], order=order), captures.old_packet(plain[1], order=order))
        yield captures.section(order) + captures.interface(order=order) + b"".join(blocks)


def _dns() -> Iterable[bytes]:
    name = b"\x03web\x04shop\x03svc\x00"
    header = struct.Struct(">6H")
    yield header.pack(7, 0x0100, 1, 0, 0, 0) + name + struct.pack(">HH", 1, 1)
    answer = struct.pack(">HHHIH", 0xC00C, 1, 1, 30, 4) + bytes([10, 0, 0, 1])
    alias = struct.pack(">HHHIH", 0xC00C, 5, 1, 30, 2) + struct.pack(">H", 0xC010)
    yield header.pack(7, 0x8180, 1, 2, 0, 0) + name + struct.pack(">HH", 1, 1) + alias + answer


def _heads() -> Iterable[bytes]:
    yield b"GET /api/v1/items?id=1 HTTP/1.1\r\nHost: shop.example.com:8080\r\nAccept: */*\r\n\r\n"
    yield b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    memory = ssl.MemoryBIO()
    context = ssl.create_default_context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), memory, server_hostname="shop.example.com").do_handshake()
    yield memory.read()


def _netlink() -> Iterable[bytes]:
    def attribute(kind: int, body: bytes) -> bytes:
        return struct.pack("=HH", 4 + len(body), kind) + body + bytes(-len(body) % 4)

    def ends(*addresses: bytes) -> bytes:
        first = 1 if len(addresses[0]) == 4 else 3
        ip = b"".join(attribute(first + place, address) for place, address in enumerate(addresses))
        ports = attribute(1, b"\6") + attribute(2, b"\x9c\x40") + attribute(3, b"\0\x50")
        return attribute(0x8001, ip) + attribute(0x8002, ports)

    counts = attribute(1, bytes(7) + b"\5") + attribute(2, bytes(6) + b"\1\0")
    for family, addresses in ((2, (b"\x0a\0\0\1", b"\x0a\0\0\2")), (10, (bytes(15) + b"\1", bytes(15) + b"\2"))):
        body = struct.pack("=BBH", family, 0, 0)
        body += attribute(0x8001, ends(*addresses)) + attribute(0x8002, ends(*addresses[::-1]))
        body += attribute(3, struct.pack(">I", 14)) + attribute(0x8009, counts) + attribute(0x800A, counts)
        yield struct.pack("=IHHII", 16 + len(body), connections.MESSAGE_NEW, 2, 1, 1) + body


def _streams() -> Iterable[bytes]:
    for source in BATCHES:
        yield zstandard.ZstdDecompressor().decompress(frame_of(source.value))


def _records() -> Iterable[bytes]:
    return [bytes(two(headers)[61:]) for headers in (OURS, FOREIGN, [])]


TARGETS: Final[Mapping[str, Target]] = {
    "packet": Target(packet, _packets),
    "capture": Target(capture, _captures),
    "dns": Target(dns, _dns),
    "head": Target(head, _heads),
    "netlink": Target(netlink, _netlink),
    "stream": Target(stream, _streams),
    "records": Target(records, _records),
}
