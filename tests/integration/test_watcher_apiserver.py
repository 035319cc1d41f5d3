"""The watcher against a real API server and etcd: what stands on the bus is what the server has."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from kafka import KafkaConsumer, TopicPartition

from collector.schema import KNOWN_TABLES, STATE, parse_headers
from pipeline.bus import open_reader
from pipeline.inventory import manifests
from pipeline.inventory.watch import connection
from pipeline.inventory.watch.kinds import KINDS, Served
from pipeline.outputs.meters import Meters
from pipeline.state import BusState
from tests.kube_apiserver import TOKEN, KubeApiServer
from tests.pipeline.inventory.watch import state_log
from tests.pipeline.inventory.watch.fake_api import wait_for
from tests.pipeline.inventory.watch.runs import watching

pytestmark = pytest.mark.apiserver
_numbers = itertools.count()


@pytest.fixture
def namespace(apiserver: KubeApiServer) -> str:
    """A namespace of the test's own, with the account that the server wants of every pod."""
    name = f"test-{next(_numbers)}"
    apiserver.post("/api/v1/namespaces", {"metadata": {"name": name}})
    return name


def connecting(kubeconfig: Path) -> Callable[[], Awaitable[httpx2.AsyncClient]]:
    async def connect() -> httpx2.AsyncClient:
        return await connection.connect(connection.find(connection.Place(kubeconfig), {}))

    return connect


def pod(server: KubeApiServer, namespace: str, name: str, ip: str = "") -> dict[str, Any]:
    path = f"/api/v1/namespaces/{namespace}/pods"
    spec = {"nodeName": "node1", "containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 80}]}]}
    made = server.post(path, {"metadata": {"name": name, "labels": {"app": name}}, "spec": spec})
    if ip:
        made["status"] = {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}], "hostIP": "192.0.2.7"}
        made = server.put(f"{path}/{name}/status", made)
    return made


def service(server: KubeApiServer, namespace: str, name: str) -> dict[str, Any]:
    spec = {"selector": {"app": name}, "ports": [{"port": 80, "targetPort": 8080, "name": "http"}]}
    return server.post(f"/api/v1/namespaces/{namespace}/services", {"metadata": {"name": name}, "spec": spec})


def many_things(server: KubeApiServer, namespace: str) -> None:
    """Some of every kind that is built in."""
    apis = "/apis/{}/namespaces/" + namespace + "/{}"
    selector, template = {"matchLabels": {"a": "b"}}, {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [
        {"name": "c", "image": "i"}]}}  # fmt: skip
    server.post("/api/v1/nodes", {"metadata": {"name": f"node-{namespace}"}, "spec": {"podCIDR": "10.9.0.0/24"}})
    server.post(
        apis.format("apps/v1", "replicasets"),
        {"metadata": {"name": "rs"}, "spec": {"selector": selector, "template": template}},
    )
    template["spec"]["restartPolicy"] = "Never"  # type: ignore[index]
    server.post(apis.format("batch/v1", "jobs"), {"metadata": {"name": "job"}, "spec": {"template": template}})
    server.post(
        apis.format("discovery.k8s.io/v1", "endpointslices"),
        {
            "metadata": {"name": "web-1", "labels": {"kubernetes.io/service-name": "web"}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": ["10.9.0.1"], "conditions": {"ready": True}}],
            "ports": [{"name": "http", "port": 8080}],
        },
    )
    server.post(
        apis.format("networking.k8s.io/v1", "networkpolicies"),
        {"metadata": {"name": "np"}, "spec": {"podSelector": {}, "ingress": [{"from": [{"podSelector": {}}]}]}},
    )
    backend = {"service": {"name": "web", "port": {"number": 80}}}
    rule = {"host": "a.example", "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}
    server.post(
        apis.format("networking.k8s.io/v1", "ingresses"), {"metadata": {"name": "in"}, "spec": {"rules": [rule]}}
    )
    server.post(
        "/apis/networking.k8s.io/v1/ingressclasses",
        {"metadata": {"name": f"class-{namespace}"}, "spec": {"controller": "example.org/controller"}},
    )


def listed(server: KubeApiServer) -> dict[state_log.Key, str]:
    """Every object of a built-in kind that the server has, and its uid."""
    found = {}
    for kind in KINDS:
        if kind.is_required or kind.name == "ServiceCIDR":
            for item in server.get(Served(kind, kind.versions[0]).path)["items"]:
                metadata = item["metadata"]
                found[kind.name, metadata.get("namespace", ""), metadata["name"]] = metadata["uid"]
    return found


def told(log: state_log.Log) -> dict[state_log.Key, str]:
    return {key: row["uid"] for key, row in log.state.items()}


@contextmanager
def flowatlas_watch(bus: str, kubeconfig: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The command, as a process, until the block ends; it must end in order."""
    command = [sys.executable, "-m", "pipeline.cli.main", "watch", "--bus", bus, "--kubeconfig", str(kubeconfig)]
    process = subprocess.Popen(command)
    try:
        yield process
        process.send_signal(signal.SIGTERM)
        assert process.wait(90) == 0
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def test_a_folder_holds_what_the_server_has(apiserver: KubeApiServer, namespace: str, tmp_path: Path) -> None:
    """Objects from before, created, altered and deleted meanwhile; the process ends in order at a SIGTERM."""
    many_things(apiserver, namespace)
    for number in range(5):
        pod(apiserver, namespace, f"old-{number}", f"10.9.0.{number + 1}")
    with flowatlas_watch(f"file://{tmp_path}", apiserver.kubeconfig()):
        wait_for(lambda: bool(state_log.of_folder(tmp_path).marked_ns), 60)
        service(apiserver, namespace, "web")
        pod(apiserver, namespace, "new", "10.9.0.1")
        for number in range(3):
            apiserver.delete(f"/api/v1/namespaces/{namespace}/pods/old-{number}")
        apiserver.delete(f"/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies/np")
        now = time.time_ns()
        wait_for(lambda: state_log.of_folder(tmp_path).marked_ns > now, 60)
    log = state_log.of_folder(tmp_path)
    assert told(log) == listed(apiserver)
    assert len(log.epochs) == 1
    assert log.body("Pod", "new", namespace)["status"]["podIP"] == "10.9.0.1"
    assert [row["op"] for row in log.changes if row["name"] == "old-1"][-1] == "delete"
    read = BusState(open_reader(f"file://{tmp_path}", None, [STATE.topic]))(Meters())
    assert read.is_synced
    assert read.known_until == log.marked_ns
    assert read.snapshot.objects == Counter(kind for kind, _, _ in log.state), "pipelines read the same"


@pytest.mark.kafka
def test_a_topic_holds_what_the_server_has(apiserver: KubeApiServer, namespace: str, kafka_broker: str) -> None:
    began = time.time_ns()
    with flowatlas_watch(f"kafka://{kafka_broker}", apiserver.kubeconfig()):
        consumer = KafkaConsumer(bootstrap_servers=kafka_broker, auto_offset_reset="earliest", enable_auto_commit=False)
        wait_for(lambda: bool(consumer.partitions_for_topic(STATE.topic)), 60)
        consumer.assign([TopicPartition(STATE.topic, p) for p in consumer.partitions_for_topic(STATE.topic)])
        log, keys, partitions = state_log.Log(), [], set()

        def read() -> bool:
            for messages in consumer.poll(200).values():
                for message in messages:
                    name = parse_headers(dict(message.headers), KNOWN_TABLES)
                    if name.epoch < began:
                        continue  # other tests' watchers have told the same broker
                    log.add(name.epoch, name.seq, message.value)
                    keys.append(message.key)
                    partitions.add(message.partition)
            return log.marked_ns > now

        now = 0
        wait_for(read, 60)
        many_things(apiserver, namespace)
        pod(apiserver, namespace, "web", "10.9.0.9")
        apiserver.delete(f"/api/v1/namespaces/{namespace}/pods/web")
        pod(apiserver, namespace, "web", "10.9.0.9")
        now = time.time_ns()
        wait_for(read, 60)
        consumer.close()
    assert told(log) == listed(apiserver)
    assert next(row["op"] for row in log.changes if row["name"] == "web") == "put"
    assert len({row["uid"] for row in log.changes if row["name"] == "web"}) == 2, "two pods had the name"
    assert partitions == {0}
    assert len(set(keys)) == len(keys)
    assert all(key.startswith(b"cluster-watcher/") for key in keys)


def test_a_server_that_restarts_and_forgets_costs_nothing(apiserver: KubeApiServer, namespace: str) -> None:
    """The server goes, etcd is compacted, objects come and go before the watcher is back: lists tell them apart."""
    pod(apiserver, namespace, "stays", "10.9.0.1")
    pod(apiserver, namespace, "goes", "10.9.0.2")
    with watching(None, connect=connecting(apiserver.kubeconfig())) as run:
        run.settled()
        apiserver.stop()
        wait_for(lambda: run.counts.of("errors_total", "Pod", "connection") > 0)
        time.sleep(0.3)  # what was said before is still on its way
        stood = run.log.marked_ns
        time.sleep(0.3)
        assert run.log.marked_ns == stood, "no mark while nothing is known"
        apiserver.start()
        apiserver.delete(f"/api/v1/namespaces/{namespace}/pods/goes")
        pod(apiserver, namespace, "comes", "10.9.0.2")
        apiserver.compact()
        log = run.settled(60)
        assert told(log) == listed(apiserver)
        assert len(log.epochs) == 1
        assert ("delete", "goes") in [(row["op"], row["name"]) for row in log.changes]
        assert run.counts.of("relists_total", "Pod") <= 2


def test_a_version_that_etcd_forgot_makes_a_list(apiserver: KubeApiServer, namespace: str) -> None:
    """While the watcher stands still, the server restarts and etcd is compacted: its version is gone (410)."""
    with watching(None, connect=connecting(apiserver.kubeconfig())) as run:
        run.settled()
        apiserver.stop()
        wait_for(lambda: run.counts.of("errors_total", "Pod", "connection") > 0)
        apiserver.start()
        run.settled(60)
        before = run.counts.of("relists_total")
        apiserver.stop()
        with KubeApiServerBeside(apiserver) as beside:
            pod(beside, namespace, "unseen", "10.9.0.3")
            beside.compact()
        apiserver.start()
        log = run.settled(60)
        assert "unseen" in log.names("Pod")
        assert told(log) == listed(apiserver)
        assert run.counts.of("relists_total") > before
        assert run.counts.of("relists_total", "Pod", "expired") >= 1


class KubeApiServerBeside(KubeApiServer):
    """A second server over the same etcd, on another port, which no watcher knows."""

    def __init__(self, first: KubeApiServer) -> None:
        super().__init__()
        self._first = first

    def __enter__(self) -> KubeApiServerBeside:
        self.share(self._first)
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def crd(group: str, version: str, plural: str, kind: str) -> dict[str, Any]:
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{plural}.{group}",
            "annotations": {"api-approved.kubernetes.io": "unapproved, for a test"},
        },
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": plural, "singular": kind.lower(), "kind": kind, "listKind": f"{kind}List"},
            "versions": [{"name": version, "served": True, "storage": True, "schema": schema}],
        },
    }


def test_a_kind_that_is_installed_meanwhile_is_watched(apiserver: KubeApiServer, namespace: str) -> None:
    group = "gateway.networking.k8s.io"
    crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    routes = f"/apis/{group}/v1/namespaces/{namespace}/httproutes"
    with watching(None, connect=connecting(apiserver.kubeconfig())) as run:
        run.settled()
        apiserver.post(crds, crd(group, "v1", "httproutes", "HTTPRoute"))
        wait_for(lambda: _serves(apiserver, routes), 60)
        route = {"apiVersion": f"{group}/v1", "kind": "HTTPRoute", "metadata": {"name": "shop"}, "spec": {}}
        apiserver.post(routes, route)
        run.until(lambda log: log.names("HTTPRoute") == {"shop"})
        apiserver.post(routes, {**route, "metadata": {"name": "blog"}})
        run.until(lambda log: log.names("HTTPRoute") == {"shop", "blog"})
        apiserver.delete(f"{crds}/httproutes.{group}")
        run.until(lambda log: log.names("HTTPRoute") == set(), 60)
        run.settled()


def _serves(server: KubeApiServer, path: str) -> bool:
    try:
        server.get(path)
    except RuntimeError:
        return False
    return True


def test_a_long_list_comes_in_pages(apiserver: KubeApiServer, namespace: str) -> None:
    for number in range(510):
        service_path = f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"
        apiserver.post(service_path, {"metadata": {"name": f"s{number}"}, "addressType": "IPv4", "endpoints": []})
    with watching(None, connect=connecting(apiserver.kubeconfig())) as run:
        assert told(run.settled()) == listed(apiserver)


def users(server: KubeApiServer) -> Iterator[tuple[str, dict[str, Any]]]:
    certificate, key = ((server.folder / f"client.{end}").read_text() for end in ("crt", "key"))
    (server.folder / "token").write_text(TOKEN + "\n")
    yield "certificate", {"client-certificate": "client.crt", "client-key": "client.key"}
    yield "plugin", plugin(server.folder, "plugin", {"token": TOKEN})
    yield (
        "plugin's certificate",
        plugin(server.folder, "certifier", {"clientCertificateData": certificate, "clientKeyData": key}),
    )
    yield "token file", {"tokenFile": str(server.folder / "token")}


def plugin(folder: Path, name: str, status: dict[str, str]) -> dict[str, Any]:
    (folder / f"{name}.json").write_text(json.dumps({"kind": "ExecCredential", "status": status}))
    (folder / name).write_text(f"#!/bin/sh\ncat {folder}/{name}.json\n")
    (folder / name).chmod(0o700)
    return {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": f"./{name}"}}


def test_every_way_to_log_in(apiserver: KubeApiServer, tmp_path: Path) -> None:
    """A dump by each is the same, and fit to be read as --state."""
    dumps = {}
    for name, user in users(apiserver):
        command = [sys.executable, "-m", "pipeline.cli.main", "watch", "--once", "-o", f"{tmp_path}/{name}/"]
        kubeconfig = apiserver.kubeconfig(user)
        subprocess.run([*command, "--kubeconfig", str(kubeconfig)], check=True, timeout=180, env=_without_cluster())
        dumps[name] = (tmp_path / name / "state.jsonl").read_bytes()
    assert len(set(dumps.values())) == 1
    objects, refusals = manifests.load(tmp_path / "plugin")
    assert refusals == []
    assert len(objects) == len(listed(apiserver))


def test_who_may_not_in_is_told(apiserver: KubeApiServer) -> None:
    kubeconfig = apiserver.kubeconfig({"token": "wrong"})
    command = [sys.executable, "-m", "pipeline.cli.main", "watch", "--once", "--kubeconfig", str(kubeconfig)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=180, env=_without_cluster())
    assert ended.returncode == 2
    assert "unauthorized" in ended.stderr


def _without_cluster() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if not key.startswith(("KUBE", "FLOWATLAS"))}
