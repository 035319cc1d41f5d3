"""Nodes that sign what they ship, over a real broker, and one that speaks for another."""

from __future__ import annotations

import time
import uuid
from pathlib import Path

import pytest

from collector.metrics import Metrics
from collector.nodekeys import Signer, derived
from collector.schema import Batch
from collector.sinks import Settled
from collector.sinks.kafka import KafkaSink
from collector.sinks.spool import SpoolSink
from pipeline.bus import Message, open_reader
from pipeline.intake import Intake
from pipeline.nodekeys import NodeKeys
from pipeline.outputs.meters import Meters
from tests.collector.test_nodekeys import ROOT, written
from tests.pipeline.batches_for_tests import batch

pytestmark = pytest.mark.kafka
LIMIT = 1 << 23


def ship(bus: str, signer: Signer | None, *batches: Batch, spool: Path | None = None) -> None:
    def kafka(on_settled: Settled | None = None) -> KafkaSink:
        return KafkaSink(bus, Metrics(), LIMIT, on_settled, headers=signer.headers if signer else Batch.headers)

    sink = SpoolSink(spool, Metrics(), LIMIT, kafka) if spool is not None else kafka()
    sink.start()
    for one in batches:
        sink.send(one)
    assert sink.flush(60)
    sink.stop()


def test_a_node_speaks_for_no_other(kafka_broker: str, tmp_path: Path) -> None:
    bus, unique = f"kafka://{kafka_broker}", uuid.uuid4().hex
    a, b = f"a-{unique}", f"b-{unique}"
    signers = {node: Signer(written(tmp_path / node, derived(ROOT, node).hex())) for node in (a, b)}
    ship(bus, signers[a], batch(node=a), batch(node=b, rows=1))
    ship(bus, None, batch(node=b, seq=1, rows=2))
    ship(bus, signers[b], batch(node=b), batch(node=b, seq=1), spool=tmp_path / "spool")
    reader = open_reader(bus, unique, [batch().topic])
    reader.start()
    found: list[Message] = []
    deadline = time.monotonic() + 90
    while len(found) < 5 and time.monotonic() < deadline:
        found += [one for one in reader.poll(0.5) if unique.encode() in one.key]
    reader.stop()
    intake = Intake(Meters(), keys=NodeKeys(written(tmp_path / "root", ROOT.hex())))
    came = {(name.node, name.seq, name.rows) for chunk in intake.take(found) for rows in chunk for name in rows.names}
    assert came == {(a, 0, 10), (b, 0, 10), (b, 1, 10)}
    assert sorted((reason, int(one.headers["rows"])) for one, reason in intake.refused) == [
        ("forged", 1),
        ("unsigned", 2),
    ]
