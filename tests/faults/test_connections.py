"""Connections that stall, break in the middle or stay half open: nothing is lost, nothing spins."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from collector.sinks import kafka as kafka_sink
from pipeline.bus.kafka_topics import KafkaTopics
from pipeline.bus.topics import wanted_topics
from tests.faults.counts import often
from tests.faults.proxy import Proxy
from tests.faults.shipping import await_progress, reconcile, under_load
from tests.kafka_broker import KafkaBroker
from tests.pipeline.bus.buses import refused_connections

pytestmark = pytest.mark.kafka

STALL_SECONDS = 5.0
RESETS = often(20, 500)


def test_stalls_resets_and_half_open_connections_lose_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka_sink, "DELIVERY_S", 12.0)  # a connection that is half open is given up after half of it
    with ExitStack() as stack:
        stack.enter_context(refused_connections())
        proxy = stack.enter_context(Proxy())
        broker = KafkaBroker({"advertised.listeners": f"PLAINTEXT://{proxy.address}"})
        broker.prepare()
        stack.push(broker)
        proxy.target = broker.bootstrap
        broker.start()
        url = f"kafka://{proxy.address}"
        with KafkaTopics(url) as topics:
            topics.create(wanted_topics(partitions=4, replication=1))
        with under_load(url, tmp_path) as (shippers, takers):
            await_progress(shippers, takers)
            for _ in range(2):
                proxy.stall()
                cpu = time.process_time()
                time.sleep(STALL_SECONDS)
                assert time.process_time() - cpu < 0.6 * STALL_SECONDS, "it spins"
                proxy.resume()
                await_progress(shippers, takers)
            for _ in range(RESETS):
                proxy.reset()
                time.sleep(0.2)  # in the middle of whatever is under way by then
            await_progress(shippers, takers)
            before = proxy.accepted
            proxy.half_open()
            await_progress(shippers, takers)
            assert proxy.accepted >= before + len(shippers) + len(takers), "all have dialled anew"
    reconcile(shippers, takers, in_order=False)
