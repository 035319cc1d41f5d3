"""`deploy/compose.yaml`: everything that it names is there, and its parts point at each other.

No engine runs here: what is held is that our own commands parse, that files are there, that addresses agree, and that
Prometheus' own checker takes the configuration.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.cli.main import parser

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = sorted(name for name, service in SERVICES.items() if "build" in service)
_VARIABLE = re.compile(r"\$\{(\w+):-([^}]*)\}")


def resolved(text: str) -> str:
    """The text with each variable at its default."""
    return _VARIABLE.sub(lambda match: match[2], text)


def mounts(service: dict[str, Any]) -> list[tuple[str, str]]:
    return [tuple(resolved(volume).split(":")[:2]) for volume in service.get("volumes", [])]  # type: ignore[misc]


def provisioned(name: str) -> Any:
    return yaml.safe_load((DEPLOY / "compose" / "grafana" / name).read_text())


@pytest.mark.parametrize("name", OURS)
def test_our_commands_parse(name: str) -> None:
    assert parser().parse_args([resolved(word) for word in SERVICES[name]["command"]])


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_what_is_mounted_is_there(name: str) -> None:
    """A file that is missing becomes an empty folder in the container, without a word."""
    for source, _ in mounts(SERVICES[name]):
        if source.startswith("."):
            assert (DEPLOY / source).exists(), source
        elif not source.startswith("~"):  # the user's own
            assert source in COMPOSE["volumes"]


@pytest.mark.root
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="no setpriv")
def test_the_watcher_reads_a_kubeconfig_that_is_its_owners_alone(tmp_path: Path) -> None:
    """As kind and kubectl leave it: the user's, with mode 0600."""
    file = tmp_path / "config"
    file.write_text("clusters")
    file.chmod(0o600)
    os.chown(file, 1000, 1000)
    watcher = SERVICES["watcher"]
    assert watcher["cap_drop"] == ["ALL"]
    kept = ",".join(["-all", *(f"+{name.lower()}" for name in watcher.get("cap_add", ()))])
    user = str(watcher.get("user", "65532:65532")).partition(":")[0]
    command = ["setpriv", f"--reuid={user}", f"--bounding-set={kept}", f"--inh-caps={kept}", "--no-new-privs"]
    said = subprocess.run([*command, "cat", str(file)], capture_output=True, text=True, check=False)
    assert said.stdout == "clusters", said.stderr


def test_flows_are_told_to_who_comes_through_the_published_port() -> None:
    """The address of the network's bridge asks then, not the loopback."""
    pipeline = SERVICES["pipeline"]
    assert pipeline["environment"]["FLOWATLAS_PIPELINE_LIVE"] == "on"
    assert all(port.startswith("127.0.0.1:") for port in pipeline["ports"])


@pytest.mark.parametrize("name", OURS)
def test_our_images_are_built_by_the_recipes_on_the_base_that_is_named(name: str) -> None:
    build = SERVICES[name]["build"]
    recipe = DEPLOY / build["context"] / build["dockerfile"]
    assert recipe.stem == ("collector" if name == "collector" else "pipeline")
    assert re.findall(r"^ARG (\w+)=", recipe.read_text(), re.MULTILINE)[0] in build["args"]


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_images_can_be_pinned_and_ports_are_of_this_machine_alone(name: str) -> None:
    service = SERVICES[name]
    image = service["build"]["args"]["BASE"] if name in OURS else service["image"]
    match = _VARIABLE.fullmatch(image)
    assert match
    assert re.fullmatch(r"[\w./-]+:[\w.-]*\d[\w.-]*", match[2]), "no tag that names a version"
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    unconfined = ["apparmor=unconfined"] if name == "collector" else []
    assert service["security_opt"] == ["no-new-privileges:true", *unconfined]


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_what_a_service_waits_for_is_a_service_that_is_always_there(name: str) -> None:
    assert {other for other in SERVICES[name].get("depends_on", []) if "profiles" in SERVICES[other]} == set()
    assert set(SERVICES[name].get("depends_on", [])) <= SERVICES.keys()


@pytest.mark.parametrize("name", OURS)
def test_the_bus_is_a_listener_that_kafka_tells_of(name: str) -> None:
    (bus,) = [word.removeprefix("--bus=kafka://") for word in SERVICES[name]["command"] if word.startswith("--bus=")]
    listeners = SERVICES["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"].split(",")
    is_outside = SERVICES[name].get("network_mode") == "host"
    assert f"{'OUTSIDE' if is_outside else 'INSIDE'}://{bus}" in listeners


def test_prometheus_scrapes_where_each_serves() -> None:
    config = yaml.safe_load((DEPLOY / "compose" / "prometheus.yaml").read_text())
    targets = {
        job["job_name"].removeprefix("flowatlas-"): job["static_configs"][0]["targets"]
        for job in config["scrape_configs"]
    }
    served = {}
    for name in OURS:
        for word in SERVICES[name]["command"]:
            if match := re.fullmatch(r"--(?:listen|metrics)=0\.0\.0\.0:(\d+)", word):
                is_host = SERVICES[name].get("network_mode") == "host"
                served[name] = [f"{'host.docker.internal' if is_host else name}:{match[1]}"]
    assert targets == served
    assert [path for _, path in mounts(SERVICES["prometheus"]) if path in config["rule_files"]] == config["rule_files"]


def test_grafana_finds_prometheus_and_the_dashboards() -> None:
    (source,) = provisioned("datasources.yaml")["datasources"]
    (provider,) = provisioned("dashboards.yaml")["providers"]
    (folder,) = [s for s, target in mounts(SERVICES["grafana"]) if target == provider["options"]["path"]]
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert (source["type"], source["isDefault"], source["url"]) == ("prometheus", True, "http://prometheus:9090")
    assert (DEPLOY / folder / Path(home).relative_to(provider["options"]["path"])).is_file()


@pytest.mark.prometheus
def test_promtool_takes_the_configuration(tmp_path: Path) -> None:
    """With the mounts' paths of this machine in place of the container's."""
    text = (DEPLOY / "compose" / "prometheus.yaml").read_text()
    for source, target in mounts(SERVICES["prometheus"]):
        text = text.replace(f"- {target}", f"- {(DEPLOY / source).resolve()}")
    (tmp_path / "prometheus.yaml").write_text(text)
    done = subprocess.run(
        ["promtool", "check", "config", str(tmp_path / "prometheus.yaml")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 rule files found" in done.stdout
