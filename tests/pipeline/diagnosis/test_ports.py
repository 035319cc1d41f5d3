"""Target ports that pods do not have."""

from __future__ import annotations

from pipeline.diagnosis.ports import undeclared_ports
from tests.pipeline.diagnosis.broken_cluster import dialled, evidence, pod, service

NAMED = service(port={"port": 80, "targetPort": "http"})
HTTP = [{"name": "http", "containerPort": 8080}]
OTHER = [{"name": "web", "containerPort": 8080}]


def test_a_name_that_all_pods_declare_is_well() -> None:
    assert not list(undeclared_ports(evidence(NAMED, pod("web-1", "10.0.0.1", ports=HTTP, app="web"))))


def test_a_name_that_no_pod_declares_is_an_error_with_what_they_do_declare() -> None:
    (finding,) = undeclared_ports(evidence(NAMED, pod("web-1", "10.0.0.1", ports=OTHER, app="web")))
    assert (finding.severity, finding.subject) == ("error", "Service shop/web port 80")
    assert finding.problem == "no container declares TCP port 'http', its targetPort"
    assert finding.evidence == ("pod web-1 declares 8080/TCP (web)",)


def test_a_name_of_another_protocol_is_not_declared() -> None:
    udp = [{"name": "http", "containerPort": 8080, "protocol": "UDP"}]
    (finding,) = undeclared_ports(evidence(NAMED, pod("web-1", "10.0.0.1", ports=udp, app="web")))
    assert finding.severity == "error"


def test_a_name_that_some_pods_lack_is_a_warning() -> None:
    pods = (pod("web-1", "10.0.0.1", ports=OTHER, app="web"), pod("web-2", "10.0.0.2", ports=HTTP, app="web"))
    (finding,) = undeclared_ports(evidence(NAMED, *pods))
    assert (finding.severity, finding.problem) == ("warning", "1 of 2 pods declare no TCP port 'http'")


def test_a_number_that_no_container_declares_is_a_note_and_an_error_where_connections_are_refused() -> None:
    numbered = service(port={"port": 80, "targetPort": 9999})
    web = pod("web-1", "10.0.0.1", ports=HTTP, app="web")
    (finding,) = undeclared_ports(evidence(numbered, web))
    assert finding.severity == "note"
    rows = [dialled(1, reached=True, outcome="refused"), dialled(1, reached=True, outcome="refused", opened=0)]
    (finding,) = undeclared_ports(evidence(numbered, web, rows=rows))
    assert finding.severity == "error"
    assert finding.evidence[0] == "1 connection of the history was refused"


def test_pods_that_declare_nothing_say_nothing_of_numbers() -> None:
    assert not list(undeclared_ports(evidence(service(), pod("web-1", "10.0.0.1", app="web"))))
