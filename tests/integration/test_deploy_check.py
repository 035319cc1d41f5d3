"""Every way to install is valid, admitted by a real API server, and as tight as it can be; and what is not is found."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from tests.deploy_check import __main__ as deploy_check
from tests.deploy_check import review, schemas
from tests.deploy_check.cases import Object, Rendered, pods, rendered
from tests.deploy_check.cluster import Cluster, RefusedError
from tests.kube_apiserver import KubeApiServer

pytestmark = [pytest.mark.apiserver, pytest.mark.manifests, pytest.mark.checkov]


@pytest.fixture(scope="module")
def installations() -> list[Rendered]:
    return rendered()


@pytest.fixture(scope="module")
def server() -> Iterator[KubeApiServer]:
    """One of our own: other tests count what the shared one has."""
    with KubeApiServer() as own:
        yield own


@pytest.fixture(scope="module")
def cluster(server: KubeApiServer) -> Cluster:
    ready = Cluster(server)
    ready.prepare()
    return ready


def test_every_installation_is_admitted_and_has_no_finding_without_a_reason(
    installations: list[Rendered], server: KubeApiServer
) -> None:
    rows, stale = deploy_check.check(installations, server)
    assert not [problem for row in rows for problem in (row.name, *row.problems) if row.problems]
    assert stale == []
    assert {row.levels["flowatlas-collector"] for row in rows} == {"privileged"}
    printed = deploy_check.table(rows).splitlines()
    assert len(printed) == len(installations) + 1
    assert all("0 unreasoned" in line for line in printed[1:])


def pipeline_of(installations: list[Rendered]) -> tuple[Object, Object]:
    """A copy of the pipeline's StatefulSet, and its pod's spec."""
    (workload,) = [o for o in installations[0].objects if o["kind"] == "StatefulSet"]
    workload = copy.deepcopy(workload)
    return workload, workload["spec"]["template"]["spec"]


def test_a_field_that_is_none_is_found_by_schema_and_api_server(
    installations: list[Rendered], cluster: Cluster
) -> None:
    workload, spec = pipeline_of(installations)
    assert (schemas.wrong([workload]), cluster.wrong([workload])) == ([], [])
    spec["hostNetworks"] = True
    assert "hostNetworks" in schemas.wrong([workload])[0]
    assert "hostNetworks" in cluster.wrong([workload])[0]


def test_a_field_that_another_projects_kind_does_not_have_is_refused(
    installations: list[Rendered], cluster: Cluster
) -> None:
    (everything,) = [case for case in installations if case.name == "helm everything"]
    for kind in ("KafkaUser", "KafkaTopic", "ServiceMonitor", "ScaledObject", "GrafanaDashboard", "PrometheusRule"):
        item = copy.deepcopy(next(o for o in everything.objects if o["kind"] == kind))
        assert cluster.wrong([item]) == []
        item["spec"]["surprise"] = 1
        assert "surprise" in cluster.wrong([item])[0], kind


def test_a_pod_that_is_not_as_tight_as_it_was_is_found(installations: list[Rendered], cluster: Cluster) -> None:
    workload, spec = pipeline_of(installations)
    (pod,) = pods([workload])
    assert cluster.level(pod) == "restricted"
    spec["hostPID"] = True
    (pod,) = pods([workload])
    assert cluster.level(pod) == "privileged"
    _, problems = deploy_check._levels(replace(installations[0], objects=[workload]), cluster)
    assert problems == ["Pod Security: flowatlas-pipeline fits privileged only"]


def test_a_pod_that_no_level_admits_is_refused_with_the_reason(installations: list[Rendered], cluster: Cluster) -> None:
    workload, spec = pipeline_of(installations)
    spec["containers"][0]["name"] = "Not A Name"
    (pod,) = pods([workload])
    with pytest.raises(RefusedError, match="RFC 1123"):
        cluster.level(pod)


def test_a_new_finding_has_no_reason_and_a_reason_without_a_finding_is_told(
    installations: list[Rendered], tmp_path: Path
) -> None:
    workload, spec = pipeline_of(installations)
    spec["containers"][0]["securityContext"]["privileged"] = True
    (tmp_path / "worse.yaml").write_text(yaml.safe_dump(workload))
    found = review.findings(tmp_path)
    known = review.exceptions()
    assert [f.check for f in review.unreasoned(found, known)] == ["CKV_K8S_16", "CKV2_K8S_6"]
    assert "CKV_K8S_19" in {entry.check for entry in review.unused(found, known)}


def test_an_exception_needs_a_reason(tmp_path: Path) -> None:
    path = tmp_path / "exceptions.yaml"
    path.write_text("- {check: CKV_K8S_1, resource: .*, reason: because}\n")
    with pytest.raises(ValueError, match="has no reason"):
        review.exceptions(path)
