"""`flowatlas watch` as a person runs it: settings, exit codes, a dump, its metrics, an end in order."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from pipeline.catalog import METRICS
from pipeline.errors import ConfigError
from pipeline.inventory.watch.config import WatcherConfig
from tests.pipeline.inventory.watch import state_log
from tests.pipeline.inventory.watch.fake_api import FakeApi, status, wait_for

COMMAND = [sys.executable, "-m", "pipeline.cli.main", "watch"]


@pytest.fixture
def fake() -> Iterator[FakeApi]:
    with FakeApi() as made:
        made.put("Namespace", "shop", namespace="")
        made.put("Pod", "web-1", status={"podIP": "10.0.0.1"})
        yield made


@pytest.fixture
def kubeconfig(fake: FakeApi, tmp_path: Path) -> str:
    path = tmp_path / "kubeconfig"
    cluster = {"name": "c", "cluster": {"server": fake.url}}
    context = {"name": "x", "context": {"cluster": "c"}}
    path.write_text(json.dumps({"current-context": "x", "clusters": [cluster], "contexts": [context]}))
    return str(path)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, check=False, env=without_cluster())


def without_cluster() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if not key.startswith(("KUBE", "FLOWATLAS"))}


def test_a_dump_is_one_object_a_line_on_standard_output(kubeconfig: str) -> None:
    done = run("--once", "--kubeconfig", kubeconfig)
    assert done.returncode == 0, done.stderr
    objects = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(one["apiVersion"], one["kind"], one["metadata"]["name"]) for one in objects] == [
        ("v1", "Namespace", "shop"),
        ("v1", "Pod", "web-1"),
    ]


def test_a_dump_goes_into_a_file_or_a_folder(kubeconfig: str, tmp_path: Path) -> None:
    for output, path in (("one.jsonl", "one.jsonl"), ("new/", "new/state.jsonl"), (".", "state.jsonl")):
        assert run("--once", "--kubeconfig", kubeconfig, "-o", f"{tmp_path}/{output}").returncode == 0
        assert len((tmp_path / path).read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--bus", "file:///tmp/x", "--kubeconfig", "/nowhere/config"], "kubeconfig: /nowhere/config: "),
        (["--kubeconfig", "/nowhere/config"], "watcher: bus must be set"),
        (["--bus", "http://x"], "watcher.bus: 'http://x'"),
        (["--bus", "kafka://nohost", "--kubeconfig", "/nowhere"], "nohost"),
        (["--bus", "file:///tmp/x", "--node", "A B"], "watcher.node: 'A B'"),
    ],
)
def test_wrong_use_is_told_in_one_line(arguments: list[str], said: str) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_dump_of_a_server_that_is_not_there_or_forbids_is_an_error(fake: FakeApi, kubeconfig: str) -> None:
    fake.fault(status(403), "/pods")
    done = run("--once", "--kubeconfig", kubeconfig)
    assert (done.returncode, done.stdout) == (2, "")
    assert "forbidden: /api/v1/pods" in done.stderr


def test_the_command_ships_counts_and_ends_in_order(fake: FakeApi, kubeconfig: str, tmp_path: Path) -> None:
    bus = tmp_path / "bus"
    arguments = ["--bus", f"file://{bus}", "--kubeconfig", kubeconfig, "--node", "w", "--metrics", "127.0.0.1:0"]
    with (
        (tmp_path / "log").open("w") as log,
        subprocess.Popen([*COMMAND, *arguments], stderr=log, env=without_cluster()) as process,
    ):
        try:
            wait_for(lambda: state_log.of_folder(bus, "w").marked_ns > 0, 90)
            port = re.findall(r"metrics on port (\d+)", (tmp_path / "log").read_text())[0]
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as response:
                families = list(text_string_to_metric_families(response.read().decode()))
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(90) == 0
    exposed = {family.name + ("_total" if family.type == "counter" else "") for family in families}
    assert exposed == {metric.name for metric in METRICS if metric.exposer == "watcher"}
    values = {(s.name, *s.labels.values()): s.value for family in families for s in family.samples}
    assert values["flowatlas_watcher_objects", "Pod"] == 1
    assert values["flowatlas_watcher_relists_total", "Pod", "start"] == 1
    assert values["flowatlas_watcher_epochs_total", "start"] == 1
    assert values["flowatlas_watcher_current", "Node"] == 1
    assert values["flowatlas_watcher_rows_total", "state"] >= 3
    assert "Traceback" not in (tmp_path / "log").read_text()
    assert "HTTP Request" not in (tmp_path / "log").read_text(), "not a line for each question"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"bus": "file://"}, "watcher.bus"),
        ({"node": ""}, "watcher.node"),
        ({"mark_s": 0.0}, "watcher.mark_s"),
        ({"settle_s": float("nan")}, "watcher.settle_s"),
        ({"discovery_s": 1e9}, "watcher.discovery_s"),
        ({"in_flight_bytes": 1}, "watcher.in_flight_bytes"),
    ],
)
def test_a_setting_that_cannot_work_is_named(settings: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        WatcherConfig(**{"bus": "file:///x", **settings})  # type: ignore[arg-type]
