"""The chart gives what its values ask for and refuses what it does not know; kustomize gives the same objects."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from operator import itemgetter
from pathlib import Path

import pytest
import yaml

from deploy.render import CHART, HELM, KUBERNETES, OVERLAYS, PROFILES, build, objects, profile, stale, template
from pipeline.cli import settings
from pipeline.config import PipelineConfig
from pipeline.inventory.watch.kinds import KINDS
from tests.deploy.charts import Object, given, refused, the
from tests.deploy_check import schemas

pytestmark = pytest.mark.manifests

SETTINGS = "flowatlas/settings"


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
        ("name=1st", "name"),
        ("nodeKeys.hostFolder=etc", "hostFolder"),
        ("kafka.create=true", "--set bus="),
        ("kafka.create=true,bus=,kafka.brokers=1", "kafka.brokers"),
        ("kafka.create=true,bus=,kafka.securityProtocol=PLAINTEXT", "SASL_SSL"),
        ("kafka.create=true,bus=,kafka.mechanism=PLAIN", "kafka.mechanism"),
        ("settings.collector.tcp_health=false", "collector.tcpHealth"),
        ("settings.collector.spool_bytes=1", "collector.spool.bytes"),
        ("settings.watcher.metrics_address=:1", "watcher.metricsPort"),
        ("settings.pipeline.bus=kafka://b:1", "settings.pipeline.bus"),
        ("settings.pipeline.partitions=ordinal/3", "pipeline.replicas=3"),
        ("settings.pipeline.partitions=0/2,pipeline.replicas=2", "pipeline.replicas=1"),
        ("settings.pipeline.partitions=ordinal/1,pipeline.autoscaling.by=hpa", "autoscaling"),
    ],
)
def test_values_that_cannot_work_are_refused_by_name(value: str, said: str) -> None:
    assert said in refused(value)


def test_what_a_component_is_told_by_values_can_be_set_by_them_alone() -> None:
    """A setting that its variable or flag would hide is refused: nothing that is asked for goes unheard."""
    everything = ("kafka.create=true", "bus=", "pipeline.lake=true", "pipeline.storage.enabled=true")
    keys = ("nodeKeys.hostFolder=/etc/flowatlas", "nodeKeys.rootSecret=root")
    for item in given(*everything, *keys, "webConfig.secret=web"):
        for container in item.get("spec", {}).get("template", {}).get("spec", {}).get("containers", ()):
            section, command = container["name"], container["args"]
            told = {v["name"].removeprefix(prefix).lower() for v in container["env"]
                    if v["name"].startswith(prefix := f"FLOWATLAS_{section.upper()}_")}  # fmt: skip
            flags = {word[2:].partition("=")[0].replace("-", "_") for word in command[1:]}
            told |= {"metrics_address" if flag == "metrics" else flag for flag in flags} | {"bus"}
            for key in told:
                assert f"settings.{section}.{key}" in refused(f"settings.{section}.{key}=x", *everything)


def test_numbers_of_a_file_are_settings_as_they_were_written(tmp_path: Path) -> None:
    """Helm reads them as floating point, and would write a million as 1e+06."""
    written = {"series_max": 2000000, "lake_flush_rows": 1000000, "window_s": 0.5, "series_namespace_share": 1}
    values = {"settings": {"pipeline": written}, "pipeline": {"autoscaling": {"by": "hpa", "lagMessages": 3000000}}}
    file = tmp_path / "values.yaml"
    file.write_text(yaml.safe_dump(values))
    found = objects(template(f"--values={file}"))
    environ = the(found, "ConfigMap")["data"] | {"FLOWATLAS_PIPELINE_STATE": "bus"}
    config = settings.load("pipeline", PipelineConfig, file=None, environ=environ, flags={})
    assert {key: getattr(config, key) for key in written} == written
    (metric,) = the(found, "HorizontalPodAutoscaler")["spec"]["metrics"]
    assert metric["pods"]["target"]["averageValue"] == "3000000"


@pytest.mark.parametrize(
    ("values", "is_spared"),
    [
        ((), True),
        (("collector.also=[]",), True),
        (("collector.resume=false",), True),
        (("collector.resume=false", "collector.also=[]"), False),
        (("collector.source=conntrack", "collector.also=[]"), False),
    ],
)
def test_the_runtimes_apparmor_profile_is_left_where_it_would_refuse_a_source(
    values: tuple[str, ...], is_spared: bool
) -> None:
    """It lets nobody write below /sys/fs/bpf, nor look at the processes of containers that have another."""
    _, container = collector(given(*values))
    assert container["securityContext"].get("appArmorProfile") == ({"type": "Unconfined"} if is_spared else None)
    sets = (f"--set{'-json' if '[' in value else ''}={value}" for value in values)
    older = the(objects(template("--kube-version=1.29.0", *sets)), "DaemonSet")["spec"]["template"]
    assert "appArmorProfile" not in older["spec"]["containers"][0]["securityContext"]
    key = "container.apparmor.security.beta.kubernetes.io/collector"
    assert older["metadata"]["annotations"].get(key) == ("unconfined" if is_spared else None)


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
    (elsewhere,) = (o for o in given("bus=kafka://a:9096\\,b:19092") if o["metadata"]["name"] == "flowatlas-pipeline"
                    and o["kind"] == "NetworkPolicy")  # fmt: skip
    assert {9096, 19092} <= {p["port"] for rule in elsewhere["spec"]["egress"] for p in rule["ports"]}
    for o in found:
        if o["kind"] in ("Deployment", "StatefulSet"):
            labels = o["spec"]["template"]["metadata"]["labels"]
            assert policies["flowatlas"]["podSelector"]["matchLabels"].items() <= labels.items()
            assert policies[o["metadata"]["name"]]["podSelector"]["matchLabels"].items() <= labels.items()


def test_the_dashboards_are_the_generated_ones_and_operators_find_them() -> None:
    found = given("dashboards.operator=true")
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
            assert o["spec"]["allowCrossNamespaceImport"], "a Grafana is in a namespace of its own as a rule"
            reference = o["spec"]["configMapRef"]
            assert reference["key"] in maps[reference["name"]]["data"]


def test_the_rules_are_the_generated_ones() -> None:
    rule = the(given("monitoring.rules=true"), "PrometheusRule")
    assert rule["spec"] == yaml.safe_load((CHART / "generated" / "alerts.yaml").read_text())


def test_openshift_allows_the_collector_what_it_asks_for_and_no_more() -> None:
    found = profile("openshift")
    for pods_and_constraints in (found, profile("production", "openshift"), profile("demo", "openshift")):
        kinds = {kind for v in collector(pods_and_constraints)[0].get("volumes", ()) for kind in v if kind != "name"}
        assert kinds <= set(the(pods_and_constraints, "SecurityContextConstraints")["volumes"])
    constraints = the(found, "SecurityContextConstraints")
    pod, container = collector(found)
    assert constraints["allowedCapabilities"] == container["securityContext"]["capabilities"]["add"]
    assert constraints["allowHostPID"] is pod.get("hostPID", False)
    assert constraints["users"] == ["system:serviceaccount:flowatlas:flowatlas-collector"]
    for kind in ("Deployment", "StatefulSet"):
        assert "runAsUser" not in the(found, kind)["spec"]["template"]["spec"]["securityContext"]


def test_names_that_yaml_would_take_for_something_else_stay_names(tmp_path: Path) -> None:
    """`123` and `no` are names of secrets and classes; a bus of IPv6 addresses looks like a list."""
    users = dict.fromkeys(("collector", "watcher", "pipeline"), "123")
    values = {
        "bus": "kafka://[fd00::1]:9096",
        "image": {"pullSecrets": ["123"]},
        "collector": {"priorityClassName": "no"},
        "pipeline": {"storage": {"enabled": True, "storageClassName": "1"}, "autoscaling": {"by": "keda"},
                     "files": {"configMap": "1", "secret": "2"}},
        "settings": {"pipeline": {"group": "7"}},
        "kafka": {"securityProtocol": "SASL_SSL", "caSecret": "123", "userSecrets": users},
        "dashboards": {"operator": True, "folder": "Net: flows"},
    }  # fmt: skip
    file = tmp_path / "values.yaml"
    file.write_text(yaml.safe_dump(values))
    found = objects(template(f"--values={file}"))
    assert schemas.wrong(found) == []
    assert the(found, "ScaledObject")["spec"]["triggers"][0]["metadata"]["bootstrapServers"] == "[fd00::1]:9096"
    assert {o["spec"]["folder"] for o in found if o["kind"] == "GrafanaDashboard"} == {"Net: flows"}


@pytest.mark.parametrize("storage", ["true", "false"])
def test_files_that_settings_name_are_in_the_pipelines_pod(storage: str) -> None:
    where = "/etc/flowatlas/files"
    found = given(
        "pipeline.files.configMap=outside",
        "pipeline.files.secret=store",
        f"pipeline.storage.enabled={storage}",
        f"settings.pipeline.outside={where}/outside.yaml",
        "settings.pipeline.lake=s3://telemetry/flowatlas",
        f"settings.pipeline.lake_options=aws_region=eu\\,aws_secret_access_key=@{where}/key",
    )
    pod = the(found, "StatefulSet")["spec"]["template"]["spec"]
    (mount,) = [m for m in pod["containers"][0]["volumeMounts"] if m["mountPath"] == where]
    (volume,) = [v for v in pod["volumes"] if v["name"] == mount["name"]]
    assert volume["projected"]["sources"] == [{"configMap": {"name": "outside"}}, {"secret": {"name": "store"}}]
    environ = the(found, "ConfigMap")["data"] | {"FLOWATLAS_PIPELINE_STATE": "bus"}
    config = settings.load("pipeline", PipelineConfig, file=None, environ=environ, flags={})
    assert config.lake_options == ("aws_region=eu", f"aws_secret_access_key=@{where}/key")
    assert config.outside == Path(where) / "outside.yaml"


def test_fixed_shares_are_as_many_as_there_are_pipelines() -> None:
    assert the(given("settings.pipeline.partitions=ordinal/3", "pipeline.replicas=3"), "StatefulSet")
    assert the(given("settings.pipeline.partitions=0/1"), "StatefulSet")
    assert the(given("settings.pipeline.partitions=group", "pipeline.replicas=3"), "StatefulSet")


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
    assert not [o for o in found if o["kind"] == "Pod"], "the pod of `helm test` would know no password or authority"
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
