"""What the integration tests share: runs of the demo, a small network, and patience with Kafka."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import pytest

from collector.sinks import kafka as kafka_sink
from pipeline.bus import kafka, kafka_quarantine, kafka_topics
from tests.collector.network import Network, routed_network
from tests.integration.demo_runs import DemoRun, DemoRuns, Enforce, Source, run
from tests.pipeline.bus.buses import KafkaBus

PATIENCE_SECONDS = 60.0


@pytest.fixture(scope="session")
def demo_runs(tmp_path_factory: pytest.TempPathFactory) -> DemoRuns:
    """The run of a way to enforce and to watch: the first who asks waits for it."""

    @cache
    def ran(enforce: Enforce, source: Source) -> DemoRun:
        return run(tmp_path_factory.mktemp(f"demo-{enforce}-{source}"), enforce, source)

    return ran


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    """Client, node and server, as `routed_network` makes them, for the tests of a module."""
    with routed_network() as network:
        yield network


@pytest.fixture
def bus(kafka_broker: str) -> Iterator[KafkaBus]:
    """A new topic of the broker."""
    bus = KafkaBus(kafka_broker)
    yield bus
    bus.close()


@pytest.fixture(autouse=True)
def _patience_with_kafka(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine a broker is slow, not away; a test of one that is away says how long that is waited for."""
    if request.node.get_closest_marker("kafka") is not None:
        monkeypatch.setattr(kafka_sink, "BLOCK_S", PATIENCE_SECONDS)
        for module, name in (
            (kafka, "CONNECT_SECONDS"),
            (kafka_quarantine, "ANSWER_SECONDS"),
            (kafka_quarantine, "BLOCK_SECONDS"),
            (kafka_topics, "CONNECT_SECONDS"),
            (kafka_topics, "APPEAR_SECONDS"),
        ):
            monkeypatch.setattr(module, name, PATIENCE_SECONDS)
