"""The workload of a pod."""

from __future__ import annotations

import pytest

from pipeline.inventory.owners import owners_of, workload_of
from tests.pipeline.inventory.objects import owned, pod


def test_a_bare_pod_is_its_own_workload() -> None:
    assert workload_of(pod("debug"), {}) == ("Pod", "debug")


def test_a_known_replica_set_leads_to_its_deployment() -> None:
    owners = owners_of([owned("apps/v1", "ReplicaSet", "web-abc", ("Deployment", "storefront"))])
    assert workload_of(pod("web-abc-1", owner=("ReplicaSet", "web-abc")), owners) == ("Deployment", "storefront")


def test_a_known_replica_set_leads_to_whatever_owns_it() -> None:
    owners = owners_of([owned("apps/v1", "ReplicaSet", "web-abc", ("Rollout", "web"))])
    labels = {"pod-template-hash": "abc"}
    assert workload_of(pod("web-abc-1", owner=("ReplicaSet", "web-abc"), labels=labels), owners) == ("Rollout", "web")


def test_a_known_replica_set_without_an_owner_is_the_workload() -> None:
    owners = owners_of([owned("apps/v1", "ReplicaSet", "web-abc", None)])
    labels = {"pod-template-hash": "abc"}
    workload = workload_of(pod("web-abc-1", owner=("ReplicaSet", "web-abc"), labels=labels), owners)
    assert workload == ("ReplicaSet", "web-abc")


def test_a_replica_set_of_another_namespace_is_another() -> None:
    owners = owners_of([owned("apps/v1", "ReplicaSet", "web-abc", ("Deployment", "other"), namespace="elsewhere")])
    assert workload_of(pod("web-abc-1", owner=("ReplicaSet", "web-abc")), owners) == ("ReplicaSet", "web-abc")


def test_an_unknown_replica_set_is_named_after_its_deployment_and_the_hash() -> None:
    labels = {"pod-template-hash": "5d4f9c7b86"}
    workload = workload_of(pod("p", owner=("ReplicaSet", "web-api-5d4f9c7b86"), labels=labels), {})
    assert workload == ("Deployment", "web-api")


@pytest.mark.parametrize("labels", [{}, {"pod-template-hash": ""}, {"pod-template-hash": "other"}])
def test_an_unknown_replica_set_without_its_hash_keeps_its_name(labels: dict[str, str]) -> None:
    assert workload_of(pod("p", owner=("ReplicaSet", "web-abc"), labels=labels), {}) == ("ReplicaSet", "web-abc")


def test_a_known_job_leads_to_its_cron_job() -> None:
    owners = owners_of([owned("batch/v1", "Job", "nightly-1", ("CronJob", "nightly"))])
    assert workload_of(pod("p", owner=("Job", "nightly-1")), owners) == ("CronJob", "nightly")


def test_an_unknown_job_with_a_due_minute_is_a_cron_jobs() -> None:
    assert workload_of(pod("p", owner=("Job", "nightly-29458560")), {}) == ("CronJob", "nightly")


@pytest.mark.parametrize("name", ["import-20240101", "import-123", "import-294585600", "29458560"])
def test_an_unknown_job_with_another_number_is_a_job(name: str) -> None:
    assert workload_of(pod("p", owner=("Job", name)), {}) == ("Job", name)


def test_a_static_pod_is_named_without_its_node() -> None:
    assert workload_of(pod("kube-proxy-node1", owner=("Node", "node1")), {}) == ("Pod", "kube-proxy")


@pytest.mark.parametrize("kind", ["StatefulSet", "DaemonSet", "ReplicationController", "SparkApplication"])
def test_any_other_owner_is_the_workload(kind: str) -> None:
    assert workload_of(pod("p-0", owner=(kind, "p")), {}) == (kind, "p")
