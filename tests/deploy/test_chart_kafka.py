"""Kafka as the chart makes it, speaks to it, and scales the pipelines by it."""

from __future__ import annotations

from pathlib import Path

import pytest

from collector.kafka_config import KafkaConfig
from collector.schema import KNOWN_TABLES
from pipeline.bus.topics import wanted_topics
from pipeline.cli import settings
from tests.deploy.charts import given, the

pytestmark = pytest.mark.manifests

USERS = ("collector", "watcher", "pipeline")
OURS = tuple(f"kafka.userSecrets.{user}=me" for user in USERS)


@pytest.mark.parametrize(("partitions", "replicas", "hours"), [(12, 3, 24), (4, 1, 48)])
def test_kafkas_topics_are_those_that_flowatlas_topics_makes(partitions: int, replicas: int, hours: int) -> None:
    values = f"kafka.partitions={partitions}", f"kafka.replicas={replicas}", f"kafka.retentionHours={hours}"
    made = {
        o["metadata"]["name"]: o["spec"]
        for o in given("kafka.create=true", "bus=", *values)
        if o["kind"] == "KafkaTopic"
    }
    assert made == {
        topic.name: {
            "partitions": topic.partitions,
            "replicas": topic.replication,
            "config": made[topic.name]["config"],
        }
        for topic in wanted_topics(partitions, replicas, hours)
    }
    for topic in wanted_topics(partitions, replicas, hours):
        assert {key: str(value).lower() for key, value in made[topic.name]["config"].items()} == topic.settings


def test_kafka_gives_each_each_user_its_own_rights() -> None:
    found = given("kafka.create=true", "bus=")
    tables = {table.topic for table in KNOWN_TABLES.values()}
    state = KNOWN_TABLES["state"].topic
    rights = {
        name: {
            (acl["resource"]["type"], acl["resource"]["name"], operation)
            for acl in the(found, "KafkaUser", name)["spec"]["authorization"]["acls"]
            for operation in acl["operations"]
            if operation != "Describe"
        }
        for name in ("collector", "watcher", "pipeline")
    }
    assert rights["collector"] == {("topic", topic, "Write") for topic in tables - {state}}
    assert rights["watcher"] == {("topic", state, "Write")}
    assert rights["pipeline"] == {
        *(("topic", topic, "Read") for topic in tables),
        ("topic", "flowatlas.quarantine.v1", "Write"),
        ("group", "flowatlas", "Read"),
    }
    pods = {o["metadata"]["name"]: o for o in found if o["kind"] in ("DaemonSet", "Deployment", "StatefulSet")}
    for name, workload in pods.items():
        volumes = {
            v["name"]: v["secret"]["secretName"]
            for v in workload["spec"]["template"]["spec"]["volumes"]
            if "secret" in v
        }
        assert volumes == {"kafka-ca": "flowatlas-kafka-cluster-ca-cert", "kafka-user": name}


@pytest.mark.parametrize(("by", "kind"), [("hpa", "HorizontalPodAutoscaler"), ("keda", "ScaledObject")])
def test_who_scales_the_pipeline_has_its_replicas_to_itself(by: str, kind: str) -> None:
    found = given(f"pipeline.autoscaling.by={by}")
    assert the(found, kind)["spec"]["scaleTargetRef"]["name"] == "flowatlas-pipeline"
    pipeline = the(found, "StatefulSet")["spec"]
    assert "replicas" not in pipeline


@pytest.mark.parametrize(
    ("values", "tls", "sasl", "parameters"),
    [
        (("kafka.create=true", "bus="), "enable", "scram_sha512", {"username", "password", "ca"}),
        (
            (
                "kafka.securityProtocol=SASL_PLAINTEXT",
                "kafka.mechanism=PLAIN",
                *OURS,
            ),
            None,
            "plaintext",
            {"username", "password"},
        ),
        (
            ("kafka.securityProtocol=SSL", "kafka.caSecret=ca", *OURS),
            "enable",
            None,
            {"ca", "cert", "key"},
        ),
        (("kafka.securityProtocol=SSL",), "enable", None, set()),
        ((), None, None, set()),
    ],
)
def test_keda_speaks_to_kafka_as_the_pipeline_does(
    values: tuple[str, ...], tls: str | None, sasl: str | None, parameters: set[str]
) -> None:
    found = given("pipeline.autoscaling.by=keda", *values)
    (trigger,) = the(found, "ScaledObject")["spec"]["triggers"]
    assert (trigger["metadata"].get("tls"), trigger["metadata"].get("sasl")) == (tls, sasl)
    assert ("authenticationRef" in trigger) is bool(parameters)
    if not parameters:
        assert not [o for o in found if o["kind"] == "TriggerAuthentication"]
        return
    known = the(found, "TriggerAuthentication")
    assert known["metadata"]["name"] == trigger["authenticationRef"]["name"]
    references = [*known["spec"].get("env", ()), *known["spec"].get("secretTargetRef", ())]
    assert {reference["parameter"] for reference in references} == parameters
    pod = the(found, "StatefulSet")["spec"]["template"]["spec"]
    mounted = {v["secret"]["secretName"] for v in pod["volumes"] if "secret" in v}
    assert {reference["name"] for reference in known["spec"].get("secretTargetRef", ())} == mounted
    for reference in known["spec"].get("env", ()):
        assert reference["name"] in {v["name"] for v in pod["containers"][0]["env"]}


@pytest.mark.parametrize(
    ("values", "protocol"),
    [
        (("kafka.create=true", "bus="), "SASL_SSL"),
        (("kafka.securityProtocol=SSL", "kafka.caSecret=ca", *OURS), "SSL"),
        ((), "PLAINTEXT"),
    ],
)
def test_what_pods_are_told_of_kafka_is_a_setting_and_its_files_are_mounted(
    values: tuple[str, ...], protocol: str
) -> None:
    for item in given(*values):
        for container in item.get("spec", {}).get("template", {}).get("spec", {}).get("containers", ()):
            environ = {v["name"]: v["value"] for v in container["env"] if "value" in v}
            config = settings.load("kafka", KafkaConfig, file=None, environ=environ, flags={})
            assert config.security_protocol == protocol
            mounts = [Path(mount["mountPath"]) for mount in container.get("volumeMounts", ())]
            for file in (config.ca_file, config.cert_file, config.key_file, config.password_file):
                assert file is None or file.parent in mounts
            assert config.is_tls == (config.ca_file is not None)
            assert config.is_sasl == (config.password_file is not None)
