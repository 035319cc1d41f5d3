"""The objects for a cluster are valid, run with the least privilege that works, and use settings that exist."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from collector.kafka_config import KafkaConfig
from pipeline.cli import settings
from pipeline.cli.main import parser
from pipeline.inventory.watch.kinds import KINDS

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the validator's own libraries deprecate each other
    import kubernetes_validate

BASE = Path(__file__).resolve().parents[2] / "deploy" / "kustomize" / "base"
KUBERNETES = ("1.30", "1.34", "1.37")
WRITING_VERBS = {"create", "update", "patch", "delete", "deletecollection", "impersonate", "bind", "escalate", "*"}


def kustomization() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((BASE / "kustomization.yaml").read_text())
    return loaded


def objects() -> list[dict[str, Any]]:
    return [o for name in kustomization()["resources"] for o in yaml.safe_load_all((BASE / name).read_text())]


def of_kind(*kinds: str) -> list[dict[str, Any]]:
    return [o for o in objects() if o["kind"] in kinds]


def pod_specs() -> Iterator[tuple[str, dict[str, Any]]]:
    for workload in of_kind("DaemonSet", "Deployment", "StatefulSet"):
        yield workload["metadata"]["name"], workload["spec"]["template"]["spec"]


def containers() -> Iterator[tuple[str, dict[str, Any]]]:
    for name, spec in pod_specs():
        for container in (*spec.get("initContainers", ()), *spec["containers"]):
            yield f"{name}/{container['name']}", container


def test_every_file_is_named_in_the_kustomization() -> None:
    assert sorted(kustomization()["resources"]) == sorted(
        path.name for path in BASE.glob("*.yaml") if path.name != "kustomization.yaml"
    )


@pytest.mark.parametrize("version", KUBERNETES)
def test_objects_are_valid(version: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for item in objects():
            kubernetes_validate.validate(item, version, strict=True)


def test_no_container_is_privileged_or_keeps_a_capability_that_it_does_not_need() -> None:
    added = {}
    for name, container in containers():
        context = container["securityContext"]
        assert not context.get("privileged"), name
        assert context["allowPrivilegeEscalation"] is False, name
        assert context["readOnlyRootFilesystem"] is True, name
        assert context["capabilities"]["drop"] == ["ALL"], name
        added[name] = context["capabilities"].get("add", [])
    assert added == {
        "flowatlas-collector/collector": ["BPF", "NET_ADMIN", "NET_RAW", "PERFMON", "SYS_PTRACE"],
        "flowatlas-watcher/watcher": [],
        "flowatlas-pipeline/pipeline": [],
    }


def test_pods_have_seccomp_resources_and_no_service_links() -> None:
    for name, spec in pod_specs():
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert spec["enableServiceLinks"] is False, name
    for name, container in containers():
        assert {"cpu", "memory", "ephemeral-storage"} <= set(container["resources"]["requests"]), name
        assert "memory" in container["resources"]["limits"], name


def test_only_the_collector_is_root_and_only_the_watcher_has_a_token() -> None:
    specs = dict(pod_specs())
    assert {name for name, spec in specs.items() if not spec["securityContext"].get("runAsNonRoot")} == {
        "flowatlas-collector"
    }
    assert {name for name, spec in specs.items() if spec["automountServiceAccountToken"]} == {"flowatlas-watcher"}


def test_images_have_a_tag_and_it_is_not_latest() -> None:
    tags = {image["name"]: str(image["newTag"]) for image in kustomization()["images"]}
    assert {container["image"].partition(":")[0] for _, container in containers()} == set(tags)
    assert all(
        container["image"].endswith(f":{tags[container['image'].partition(':')[0]]}") for _, container in containers()
    )
    assert "latest" not in tags.values()


def test_rbac_reads_named_kinds_only() -> None:
    for role in of_kind("ClusterRole", "Role"):
        for rule in role["rules"]:
            assert not set(rule["verbs"]) & WRITING_VERBS
            assert not {"*", "secrets", "configmaps"} & set(rule["resources"])
            assert "*" not in rule["apiGroups"]


def test_the_watcher_may_read_exactly_the_kinds_that_it_watches() -> None:
    (role,) = of_kind("ClusterRole")
    allowed = {(rule["apiGroups"][0], name) for rule in role["rules"] for name in rule["resources"]}
    assert allowed == {(kind.group, kind.resource) for kind in KINDS}
    assert all(rule["verbs"] == ["get", "list", "watch"] for rule in role["rules"])
    (binding,) = of_kind("ClusterRoleBinding")
    assert [subject["name"] for subject in binding["subjects"]] == ["flowatlas-watcher"]


def test_services_select_pods_and_ports_that_exist() -> None:
    labels = {
        w["metadata"]["name"]: w["spec"]["template"]["metadata"]["labels"]
        for w in of_kind("DaemonSet", "Deployment", "StatefulSet")
    }
    ports = {name: {p["name"] for c in spec["containers"] for p in c["ports"]} for name, spec in pod_specs()}
    for service in of_kind("Service"):
        selected = [name for name, own in labels.items() if service["spec"]["selector"].items() <= own.items()]
        assert len(selected) == 1
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports[selected[0]]


def test_arguments_and_environment_make_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.cli import collect, serve, watch

    (config_map,) = of_kind("ConfigMap")
    for key, value in config_map["data"].items():
        assert key.startswith(tuple(f"{settings.PREFIX}{section.upper()}_" for section in settings.SECTIONS))
        monkeypatch.setenv(key, value)
    seen = {}
    for name, container in containers():
        with monkeypatch.context() as own:
            for variable in container["env"]:
                own.setenv(variable["name"], variable.get("value", "pod-0"))
            given = [a.replace("$(NODE_NAME)", "node-1").replace("$(HOST_IP)", "192.0.2.1") for a in container["args"]]
            arguments = parser().parse_args(given)
            settings.load("kafka", KafkaConfig, file=None, environ=os.environ, flags={})
            module = {"collect": collect, "pipeline": serve, "watch": watch}[arguments.command]
            seen[name] = module.configuration(arguments)
    collector = seen["flowatlas-collector/collector"]
    assert collector.metrics_address == "192.0.2.1:9465"
    mounts = {
        mount["mountPath"]
        for name, c in containers()
        if name.startswith("flowatlas-collector")
        for mount in c["volumeMounts"]
    }
    assert {str(path) for path in (collector.pin, collector.journal, collector.spool)} == mounts
    assert seen["flowatlas-pipeline/pipeline"].listen_address == ("", 9464), "every address, of both families"
    assert seen["flowatlas-pipeline/pipeline"].is_state_on_bus
    assert seen["flowatlas-pipeline/pipeline"].is_live, "for who comes by `kubectl port-forward`"
    buses = {config.bus for config in seen.values()}
    assert len(buses) == 1, "who ships and who reads must meet"
