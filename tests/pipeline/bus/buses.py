"""Both buses as tests write to them: foreign bytes too, which no sink of ours would send."""

from __future__ import annotations

import gc
import json
import logging
import uuid
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic

from collector.schema import Batch, pack_record
from pipeline.bus import Message, Reader, open_reader
from pipeline.bus.topics import QUARANTINE_TOPIC


class Bus(Protocol):
    """One bus with a topic of its own."""

    topic: str

    def put(self, node: str, headers: Mapping[str, bytes], value: bytes) -> None:
        """Append one message of a node."""

    def reader(self, group: str = "group") -> Reader:
        """A reader of the topic, not started."""

    def quarantined(self) -> list[dict[str, str | bytes]]:
        """What was put aside: `reason`, `origin`, `value`."""


class FileBus:
    """Segments in a temporary folder, one message each."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.topic = "flowatlas.flows.v1"
        self._seq = 0

    def put(self, node: str, headers: Mapping[str, bytes], value: bytes) -> None:
        self.put_segment(node, pack_record(headers, value))

    def put_segment(self, node: str, content: bytes, epoch: int = 1, seq: int | None = None) -> Path:
        """Append a segment of any content."""
        folder = self.root / self.topic / node
        folder.mkdir(parents=True, exist_ok=True)
        if seq is None:
            seq = self._seq
            self._seq += 1
        path = folder / f"{epoch:020d}-{seq:012d}.seg"
        (folder / "part").write_bytes(content)
        (folder / "part").rename(path)
        return path

    def reader(self, group: str = "group") -> Reader:
        return open_reader(f"file://{self.root}", group, [self.topic])

    def quarantined(self) -> list[dict[str, str | bytes]]:
        folder = self.root / ".quarantine"
        notes = [json.loads(path.read_text()) for path in folder.glob("*.json")]
        return [
            {"reason": note["reason"], "origin": note["origin"], "value": (folder / note["value"]).read_bytes()}
            for note in notes
        ]


class KafkaBus:
    """A new topic of a real broker; it takes messages larger than ours may be."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap
        self.topic = f"test-{uuid.uuid4().hex}"
        with_large = NewTopic(
            self.topic, num_partitions=3, replication_factor=1, topic_configs={"max.message.bytes": "8388608"}
        )
        admin = KafkaAdminClient(bootstrap_servers=bootstrap)
        admin.create_topics([with_large])
        admin.close()
        self._producer: Any = self.producer()

    def producer(self, **settings: Any) -> Any:
        """A producer for this broker."""
        return KafkaProducer(
            bootstrap_servers=self.bootstrap,
            max_request_size=8 * 1024 * 1024,
            reconnect_backoff_max_ms=1_000,
            **settings,
        )

    def put(self, node: str, headers: Mapping[str, bytes], value: bytes) -> None:
        pairs = list(headers.items())
        self._producer.send(self.topic, key=node.encode(), value=value, headers=pairs).get(30)

    def put_anew(self, batches: Iterable[Batch]) -> None:
        """Append batches by another producer: after a cut the one of before knows of numbers that the broker lacks."""
        producer = self.producer()
        for one in batches:
            producer.send(self.topic, key=one.key, value=one.value, headers=list(one.headers().items())).get(30)
        producer.close()

    def reader(self, group: str = "group") -> Reader:
        return open_reader(f"kafka://{self.bootstrap}/", f"{group}-{self.topic}", [self.topic])

    def quarantined(self) -> list[dict[str, str | bytes]]:
        found = []
        for record in everything(self.bootstrap, QUARANTINE_TOPIC):
            headers = dict(record.headers)
            origin = headers["flowatlas-origin"].decode()
            if origin.startswith(self.topic):
                found.append({"reason": headers["flowatlas-reason"].decode(), "origin": origin, "value": record.value})
        return found

    def close(self) -> None:
        self._producer.close()
        self._producer = None


def everything(bootstrap: str, topic: str) -> list[Any]:
    """The records that a topic has."""
    consumer: Any = KafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest", group_id=None)
    places = [TopicPartition(topic, p) for p in consumer.partitions_for_topic(topic) or ()]
    consumer.assign(places)
    ends = consumer.end_offsets(places)
    records: list[Any] = []
    while any(consumer.position(place) < end for place, end in ends.items()):
        for more in consumer.poll(500).values():
            records += more
    consumer.close()
    return records


@contextmanager
def refused_connections() -> Iterator[None]:
    """Around what connects in vain: kafka-python leaves the socket of a refused connection to the garbage collector.

    It also logs its connections, and a log record that a test run captures would keep their sockets.
    """
    logger = logging.getLogger("kafka")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "unclosed <(socket|ssl)", ResourceWarning)
        try:
            yield
        finally:
            logger.setLevel(level)
            gc.collect()


def put(bus: Bus, batch: Batch) -> None:
    """Append one sound batch."""
    bus.put(batch.node, batch.headers(), batch.value)


def read(reader: Reader, count: int, polls: int = 300) -> list[Message]:
    """Poll until `count` messages have come, or give up."""
    messages: list[Message] = []
    for _ in range(polls):
        if len(messages) >= count:
            break
        messages += reader.poll(0.3)
    return messages


def read_to_end(reader: Reader, polls: int = 300) -> list[Message]:
    """Poll until all has come that there is, or give up."""
    messages: list[Message] = []
    for _ in range(polls):
        messages += reader.poll(0.3)
        if reader.caught_up():
            return messages
    raise AssertionError("it does not come to the end")
