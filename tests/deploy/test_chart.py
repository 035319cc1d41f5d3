"""The chart gives what its values ask for and refuses what it does not know; kustomize gives the same objects."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from operator import itemgetter
from pathlib import Path
from typing import Any

import pytest
import yaml

from collector.kafka_config import KafkaConfig
from collector.schema import KNOWN_TABLES
from deploy.render import CHART, HELM, KUBERNETES, OVERLAYS, PROFILES, build, objects, profile, stale, template
from pipeline.bus.topics import wanted_topics
from pipeline.cli import settings
from pipeline.config import PipelineConfig
from pipeline.inventory.watch.kinds import KINDS

pytestmark = pytest.mark.manifests

Object = dict[str, Any]
SETTINGS = "flowatlas/settings"
USERS = ("collector", "watcher", "pipeline")


def given(*values: str) -> list[Object]:
    """The objects with values as `--set` takes them, or `--set-json` where they hold brackets."""
    return objects(template(*(f"--set{'-json' if '[' in value else ''}={value}" for value in values)))


def refused(*values: str) -> str:
    """What helm says where it refuses values."""
    with pytest.raises(subprocess.CalledProcessError) as error:
        given(*values)
    return str(error.value.stderr)


def the(found: list[Object], kind: str, name: str = "") -> Object:
    (only,) = [o for o in found if o["kind"] == kind and name in o["metadata"]["name"]]
    return only


def collector(found: list[Object]) -> tuple[Object, Object]:
    """The collector's pod and its container."""
    pod = the(found, "DaemonSet")["spec"]["template"]["spec"]
    return pod, pod["containers"][0]


def comparable(found: list[Object]) -> dict[str, Object]:
    """By kind and name, without what each tool adds of its own."""
    by_name = {}
    for item in json.loads(json.dumps(found)):
        metadata = item["metadata"]
        if "helm.sh/hook" in metadata.get("annotations", {}) or item["kind"] == "Namespace":
            continue
        template = item.get("spec", {}).get("template", {})
        template.get("metadata", {}).get("annotations", {}).pop(SETTINGS, None)
        if template and not template["metadata"].get("annotations"):
            template["metadata"].pop("annotations", None)
        for container in template.get("spec", {}).get("containers", ()):
            for key, order in (("env", "name"), ("volumeMounts", "mountPath")):
                container[key] = sorted(container.get(key, ()), key=itemgetter(order))
        if template:
            template["spec"]["volumes"] = sorted(template["spec"].get("volumes", ()), key=itemgetter("name"))
        by_name[f"{item['kind']}/{metadata['name']}"] = item
    return by_name


def test_the_committed_manifests_are_what_the_chart_renders() -> None:
    assert stale() == [], "make manifests"


@pytest.mark.parametrize("name", sorted(path.name for path in OVERLAYS.iterdir()))
def test_an_overlay_is_its_profile(name: str) -> None:
    built, rendered = comparable(objects(build(OVERLAYS / name))), comparable(profile(name))
    assert built.keys() == rendered.keys()
    for key, item in rendered.items():
        assert built[key] == item, key


CAPABILITIES = {
    ("ebpf",): ["BPF", "NET_ADMIN", "PERFMON"],
    ("conntrack",): ["NET_ADMIN"],
    ("packets",): ["NET_ADMIN", "NET_RAW"],
    ("auto",): ["BPF", "NET_ADMIN", "NET_RAW", "PERFMON"],
    ("conntrack", "counters"): ["NET_ADMIN", "SYS_PTRACE"],
    ("conntrack", "drops"): ["BPF", "NET_ADMIN", "PERFMON"],
    ("conntrack", "dns"): ["NET_ADMIN", "NET_RAW"],
}


@pytest.mark.parametrize(("sources", "expected"), CAPABILITIES.items())
def test_the_collector_gets_exactly_what_its_sources_need(sources: tuple[str, ...], expected: list[str]) -> None:
    source, *also = sources
    pod, container = collector(
        given(f"collector.source={source}", f"collector.also={json.dumps(also)}", "collector.tcpHealth=false")
    )
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"], "add": expected}
    assert pod.get("hostPID", False) is ("counters" in also)
    assert f"--sources={','.join(sources)}" in container["args"]


@pytest.mark.parametrize(
    ("source", "folders"),
    [
        ("auto", {"pin", "journal", "spool"}),
        ("ebpf", {"pin", "journal", "spool"}),
        ("conntrack", {"journal", "spool"}),
        ("packets", {"spool"}),
    ],
)
def test_the_collector_writes_to_the_folders_of_the_node_that_it_uses(source: str, folders: set[str]) -> None:
    pod, container = collector(given(f"collector.source={source}"))
    assert {volume["name"] for volume in pod["volumes"]} == folders
    paths = {volume["name"]: volume["hostPath"]["path"] for volume in pod["volumes"]}
    told = {v["name"]: v.get("value") for v in container["env"]}
    assert {name: told[f"FLOWATLAS_COLLECTOR_{name.upper()}"] for name in folders} == paths
    pod, _ = collector(given(f"collector.source={source}", "collector.resume=false", "collector.spool.enabled=false"))
    assert "volumes" not in pod


def test_the_profile_of_the_least_privileges_asks_for_one_capability_and_no_processes() -> None:
    pod, container = collector(profile("conntrack-only"))
    assert container["securityContext"]["capabilities"]["add"] == ["NET_ADMIN"]
    assert "hostPID" not in pod


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("collector.sourc=ebpf", "sourc"),
        ("collector.source=tcpdump", "source"),
        ('collector.also=["flows"]', "also"),
        ("bus=file:///tmp", "bus"),
        ("image.pipeline.digest=sha256:abc", "digest"),
        ("pipeline.autoscaling.by=cpu", "by"),
        ("bus=", "kafka.create"),
        ("pipeline.lake=true", "pipeline.storage.enabled"),
        ("kafka.securityProtocol=SASL_SSL", "userSecrets"),
    ],
)
def test_values_that_cannot_work_are_refused_by_name(value: str, said: str) -> None:
    assert said in refused(value)


def test_every_value_is_documented_and_has_a_schema() -> None:
    text = (CHART / "values.yaml").read_text()
    schema = json.loads((CHART / "values.schema.json").read_text())

    def walk(values: Object, properties: Object, path: str) -> None:
        for key, value in values.items():
            assert key in properties, f"{path}{key} has no schema"
            if isinstance(value, dict) and "properties" in properties[key]:
                walk(value, properties[key]["properties"], f"{path}{key}.")
        assert properties.keys() - values.keys() <= {"global"}, f"{path}: a schema of what is no value"

    values = yaml.safe_load(text)
    walk(values, schema["properties"], "")
    for key in values:
        block = re.search(rf"((?:^#.*\n)*)^{key}:.*\n((?:^ .*\n)*)", text, re.MULTILINE)
        assert block is not None
        assert "# --" in block[1] + block[2], f"{key} is not documented"


def test_a_digest_takes_the_place_of_a_tag() -> None:
    digest = "sha256:" + "0" * 64
    _, container = collector(given("image.collector.tag=1.2.3", f"image.collector.digest={digest}"))
    assert container["image"] == f"flowatlas-collector@{digest}"


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


def test_monitors_let_our_own_labels_stand_and_find_their_pods() -> None:
    found = given("monitoring.monitors=true")
    monitors = [o for o in found if o["kind"] in ("PodMonitor", "ServiceMonitor")]
    assert len(monitors) == 3
    services = {o["metadata"]["name"]: o for o in found if o["kind"] == "Service"}
    for monitor in monitors:
        (endpoint,) = monitor["spec"].get("endpoints") or monitor["spec"]["podMetricsEndpoints"]
        assert endpoint["honorLabels"] is True
        selected = monitor["spec"]["selector"]["matchLabels"]
        service = services[monitor["metadata"]["name"]]
        assert selected.items() <= service["metadata"]["labels"].items()
        assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}


def test_policies_deny_everything_and_allow_the_api_server_to_the_watcher_alone() -> None:
    found = given()
    policies = {o["metadata"]["name"]: o["spec"] for o in found if o["kind"] == "NetworkPolicy"}
    assert "ingress" not in policies["flowatlas"]
    assert "egress" not in policies["flowatlas"]
    ports = {
        name: {p["port"] for rule in spec.get("egress", ()) for p in rule["ports"]} for name, spec in policies.items()
    }
    assert ports["flowatlas-pipeline"] == {53, 9092, 9093}
    assert ports["flowatlas-watcher"] == {53, 9092, 9093, 443, 6443}
    for o in found:
        if o["kind"] in ("Deployment", "StatefulSet"):
            labels = o["spec"]["template"]["metadata"]["labels"]
            assert policies["flowatlas"]["podSelector"]["matchLabels"].items() <= labels.items()
            assert policies[o["metadata"]["name"]]["podSelector"]["matchLabels"].items() <= labels.items()


def test_the_dashboards_are_the_generated_ones_and_operators_find_them() -> None:
    found = given("dashboards.configMaps=true", "dashboards.operator=true")
    generated = {path.stem: path.read_text() for path in (CHART / "generated").glob("*.json")}
    maps = {
        o["metadata"]["name"]: o for o in found if o["kind"] == "ConfigMap" and "dashboard" in o["metadata"]["name"]
    }
    assert len(maps) == len(generated) > 0
    for name, o in maps.items():
        ((_, text),) = o["data"].items()
        assert text == generated[name.removeprefix("flowatlas-dashboard-")]
    for o in found:
        if o["kind"] == "GrafanaDashboard":
            reference = o["spec"]["configMapRef"]
            assert reference["key"] in maps[reference["name"]]["data"]


def test_the_rules_are_the_generated_ones() -> None:
    rule = the(given("monitoring.rules=true"), "PrometheusRule")
    assert rule["spec"] == yaml.safe_load((CHART / "generated" / "alerts.yaml").read_text())


def test_openshift_allows_the_collector_what_it_asks_for_and_no_more() -> None:
    found = profile("openshift")
    constraints = the(found, "SecurityContextConstraints")
    pod, container = collector(found)
    assert constraints["allowedCapabilities"] == container["securityContext"]["capabilities"]["add"]
    assert constraints["allowHostPID"] is pod.get("hostPID", False)
    assert constraints["users"] == ["system:serviceaccount:flowatlas:flowatlas-collector"]
    for kind in ("Deployment", "StatefulSet"):
        assert "runAsUser" not in the(found, kind)["spec"]["template"]["spec"]["securityContext"]


@pytest.mark.parametrize(("by", "kind"), [("hpa", "HorizontalPodAutoscaler"), ("keda", "ScaledObject")])
def test_who_scales_the_pipeline_has_its_replicas_to_itself(by: str, kind: str) -> None:
    found = given(f"pipeline.autoscaling.by={by}")
    assert the(found, kind)["spec"]["scaleTargetRef"]["name"] == "flowatlas-pipeline"
    pipeline = the(found, "StatefulSet")["spec"]
    assert "replicas" not in pipeline


@pytest.mark.parametrize("values", [("pipeline.replicas=3",), ("pipeline.autoscaling.by=keda",)])
def test_how_many_pipelines_there_are_may_change_while_they_run(values: tuple[str, ...]) -> None:
    """The group divides the partitions and a snapshot says what is counted; no pod knows how many it is one of."""
    found = given(*values)
    (container,) = the(found, "StatefulSet")["spec"]["template"]["spec"]["containers"]
    told = {v["name"]: v.get("value") for v in container["env"]}
    assert told["FLOWATLAS_PIPELINE_SNAPSHOT"]
    assert "FLOWATLAS_PIPELINE_PARTITIONS" not in told
    assert PipelineConfig(bus="kafka://kafka:9092", state=Path("bus")).partitions == "group"
    assert "PIPELINE_PARTITIONS" not in json.dumps([o for o in found if o["kind"] == "ConfigMap"])


def test_probes_speak_tls_where_the_web_config_asks_for_it() -> None:
    found = given("webConfig.secret=web", "webConfig.tls=true", "monitoring.monitors=true")
    for o in found:
        for container in o.get("spec", {}).get("template", {}).get("spec", {}).get("containers", ()):
            probes = [container[key] for key in container if key.endswith("Probe")]
            assert {probe["httpGet"]["scheme"] for probe in probes} == {"HTTPS"}
            assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
            assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
            assert {"name": "web", "mountPath": "/etc/flowatlas/web", "readOnly": True} in container["volumeMounts"]
        if o["kind"] == "ServiceMonitor":
            assert o["spec"]["endpoints"][0]["scheme"] == "https"


def test_the_watcher_may_read_what_it_watches_whatever_the_profile() -> None:
    for path in PROFILES.glob("*.yaml"):
        (role,) = [o for o in profile(path.stem) if o["kind"] == "ClusterRole"]
        allowed = {(rule["apiGroups"][0], name) for rule in role["rules"] for name in rule["resources"]}
        assert allowed == {(kind.group, kind.resource) for kind in KINDS}


def test_the_version_of_chart_and_images_is_the_projects() -> None:
    import tomllib

    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    version = tomllib.loads((Path(__file__).resolve().parents[2] / "pyproject.toml").read_text())["project"]["version"]
    assert chart["version"] == chart["appVersion"] == version


def test_a_packaged_chart_is_the_chart_wherever_it_is(tmp_path: Path) -> None:
    """The link to the generated dashboards and rules becomes files."""
    subprocess.run([str(HELM), "package", str(CHART), "-d", str(tmp_path)], check=True, capture_output=True)
    (archive,) = tmp_path.glob("*.tgz")
    values = [f"--set={value}" for value in ("dashboards.configMaps=true", "monitoring.rules=true")]
    command = [str(HELM), "template", "flowatlas", str(archive), "--namespace=flowatlas", "--kube-version", KUBERNETES]
    packaged = subprocess.run([*command, *values], check=True, capture_output=True, text=True, cwd=tmp_path).stdout
    assert objects(packaged) == objects(template(*values))
    bare = tmp_path / "flowatlas"
    shutil.unpack_archive(archive, tmp_path)
    shutil.rmtree(bare / "generated")
    for value, said in zip(values, ("no dashboards", "alerts.yaml"), strict=True):
        done = subprocess.run(
            [*command[:3], str(bare), *command[4:], value], capture_output=True, text=True, check=False
        )
        assert done.returncode != 0
        assert said in done.stderr


@pytest.mark.parametrize(
    ("values", "protocol"),
    [
        (("kafka.create=true", "bus="), "SASL_SSL"),
        (("kafka.securityProtocol=SSL", "kafka.caSecret=ca", *(f"kafka.userSecrets.{c}=me" for c in USERS)), "SSL"),
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
