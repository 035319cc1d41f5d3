"""`flowatlas topics` against a real broker: made as they should be, and what is changed there is found."""

from __future__ import annotations

import pytest
from kafka.admin import ConfigResource, KafkaAdminClient

from collector.schema import FLOWS
from pipeline.cli.main import main
from tests.kafka_broker import KafkaBroker
from tests.pipeline.bus.buses import refused_connections

pytestmark = pytest.mark.kafka


def test_topics_are_made_once_and_a_change_is_found(capsys: pytest.CaptureFixture[str]) -> None:
    with KafkaBroker() as broker:
        bus = ("--bus", f"kafka://{broker.bootstrap}")
        assert main(["topics", "check", *bus]) == 1
        assert capsys.readouterr().out.count("is missing") == 6
        assert main(["topics", "create", *bus, "--partitions", "2"]) == 0
        assert "flowatlas.flows.v1: made, 2 partitions, 1 replicas" in capsys.readouterr().out
        assert main(["topics", "create", *bus]) == 0
        assert capsys.readouterr().out == "6 topics are as they should be\n"
        assert main(["topics", "check", *bus, "--partitions", "4", "--retention-hours", "48"]) == 1
        said = capsys.readouterr().out
        assert "flowatlas.dns.v1 has 2 partitions, not 4" in said
        assert "flowatlas.drops.v1 has retention.ms 86400000, not 172800000" in said
        admin = KafkaAdminClient(bootstrap_servers=broker.bootstrap)
        admin.alter_configs([ConfigResource("topic", FLOWS.topic, configs={"cleanup.policy": "compact"})])
        admin.close()
        assert main(["topics", "check", *bus]) == 1
        assert "flowatlas.flows.v1 has cleanup.policy compact, not delete" in capsys.readouterr().out


def test_a_bus_without_topics_and_one_that_does_not_answer_are_wrong_use(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.bus.kafka_topics.CONNECT_SECONDS", 0.5)
    assert main(["topics", "check", "--bus", "file:///tmp/x"]) == 2
    assert "only Kafka has topics" in capsys.readouterr().err
    with refused_connections():
        assert main(["topics", "check", "--bus", "kafka://127.0.0.1:1"]) == 2
    assert "not connected to" in capsys.readouterr().err
