"""What the pipeline's metrics tell: DNS and its use, packets too large, plaintext, nodes unseen and uncovered."""

from __future__ import annotations

from pipeline.diagnosis.capture import uncovered_nodes, unseen_nodes
from pipeline.diagnosis.dns import failing_dns, past_cluster_dns, wasted_searches
from pipeline.diagnosis.overlay import retransmits_between_nodes, too_large_packets
from pipeline.diagnosis.plaintext import plaintext
from tests.pipeline.diagnosis.broken_cluster import dialled, evidence, node, pod, service, told


def questions(workload: str, rcode: str, count: int) -> str:
    return (
        f'flowatlas_dns_queries_total{{source_namespace="shop",source_workload="{workload}",rcode="{rcode}"}} {count}\n'
    )


def pair(name: str, value: int, more: str = "") -> str:
    ends = 'source_namespace="shop",source_workload="web",destination_namespace="db",destination_workload="sql"'
    return f"{name}{{{ends}{more}}} {value}\n"


def test_dns_names_that_do_not_exist_are_answers() -> None:
    assert not list(failing_dns(evidence(metrics=questions("web", "NXDOMAIN", 50) + questions("web", "NOERROR", 50))))


def test_a_client_whose_dns_fails_is_a_warning_with_the_codes() -> None:
    metrics = questions("web", "no_answer", 10) + questions("web", "NOERROR", 10) + questions("api", "NOERROR", 30)
    (finding,) = failing_dns(evidence(metrics=metrics))
    assert (finding.severity, finding.subject) == ("warning", "workload shop/web")
    assert finding.problem == "50% of its questions to DNS failed"
    assert finding.evidence[0] == "10 no_answer of 20 since the pipeline started"


def test_dns_that_fails_for_half_of_all_clients_is_an_error_for_each() -> None:
    metrics = questions("web", "SERVFAIL", 10) + questions("api", "no_answer", 10) + questions("ok", "NOERROR", 9)
    assert told(list(failing_dns(evidence(metrics=metrics)))) == [
        ("error", "workload shop/web"),
        ("error", "workload shop/api"),
    ]


def test_of_a_service_only_what_concerns_its_pods_is_told() -> None:
    objects = (node("n1"), node("n2"), service(), pod("web", "10.0.0.1", on="n1", app="web"))
    metrics = questions("web", "SERVFAIL", 10) + questions("api", "SERVFAIL", 10)
    known = evidence(*objects, metrics=metrics, service=("shop", "web"))
    assert told(list(failing_dns(known))) == [("error", "workload shop/web")]
    assert told(list(unseen_nodes(known))) == [("error", "node n1")]


def test_a_few_failures_among_many_questions_are_not_told() -> None:
    assert not list(failing_dns(evidence(metrics=questions("web", "SERVFAIL", 3) + questions("web", "NOERROR", 97))))
    assert not list(failing_dns(evidence(metrics=questions("web", "SERVFAIL", 2))))


def test_questions_past_the_clusters_dns_are_told() -> None:
    (finding,) = past_cluster_dns(evidence(metrics=pair("flowatlas_dns_bypass_queries_total", 3)))
    assert (finding.severity, finding.subject) == ("warning", "workload shop/web")
    assert finding.problem == "it asks db/sql and not the cluster's DNS"
    assert finding.evidence == ("3 questions since the pipeline started",)
    assert not list(past_cluster_dns(evidence(metrics=pair("flowatlas_dns_bypass_queries_total", 0))))


def searched(search: int, outside: int) -> str:
    who = 'flowatlas_dns_queries_total{source_namespace="shop",source_workload="web"'
    return f'{who},name_class="search"}} {search}\n{who},name_class="outside"}} {outside}\n'


def test_questions_that_a_search_list_wastes_are_a_note() -> None:
    (finding,) = wasted_searches(evidence(metrics=searched(750, 250)))
    assert (finding.severity, finding.subject) == ("note", "workload shop/web")
    assert finding.problem == "75% of its questions to DNS are names that only its search list makes"


def test_few_questions_and_half_of_many_are_no_waste() -> None:
    assert not list(wasted_searches(evidence(metrics=searched(750, 249))))
    assert not list(wasted_searches(evidence(metrics=searched(5000, 5000))))


def test_packets_that_were_too_large_are_told_and_other_drops_are_not() -> None:
    dropped = pair("flowatlas_drops_total", 4, ',reason="pkt_too_big"')
    (finding,) = too_large_packets(evidence(metrics=dropped))
    assert (finding.severity, finding.subject) == ("error", "shop/web to db/sql")
    assert not list(too_large_packets(evidence(metrics=pair("flowatlas_drops_total", 4, ',reason="netfilter_drop"'))))


def test_segments_sent_again_between_nodes_and_not_within_are_told() -> None:
    within = dialled(1, reached=True, on="n1", packets=500, reply_packets=500, retransmits=1)
    between = dialled(2, reached=True, on="n2", packets=500, reply_packets=500, retransmits=50)
    (finding,) = retransmits_between_nodes(evidence(rows=[within, between]))
    assert (finding.severity, finding.subject) == ("warning", "node n2 to node n1")
    assert finding.problem == "TCP sends 5.0% of its segments again between them, and 0.1% within nodes"


def test_segments_sent_again_everywhere_are_no_overlays_fault() -> None:
    rows = [
        dialled(number, reached=True, on=on, packets=500, reply_packets=500, retransmits=50)
        for number, on in enumerate(("n1", "n2"))
    ]
    assert not list(retransmits_between_nodes(evidence(rows=rows)))


def test_plaintext_to_a_mesh_is_told() -> None:
    (finding,) = plaintext(evidence(metrics=pair("flowatlas_mesh_plaintext_connections_total", 2)))
    assert finding.evidence == ("2 connections since the pipeline started",)
    assert not list(plaintext(evidence(metrics=pair("flowatlas_mesh_plaintext_connections_total", 0))))


def test_a_node_without_a_collector_is_an_error() -> None:
    metrics = 'flowatlas_pipeline_rows_total{table="flows",node="n1"} 5\n'
    metrics += 'flowatlas_pipeline_rows_total{table="state",node="n2"} 5\n'
    assert told(list(unseen_nodes(evidence(node("n1"), node("n2"), metrics=metrics)))) == [("error", "node n2")]


def test_a_node_whose_traffic_is_in_no_flow_names_its_worst_pods() -> None:
    metrics = (
        'flowatlas_node_capture_coverage_ratio{node="n1"} 0.9\nflowatlas_node_capture_coverage_ratio{node="n2"} 1\n'
    )
    metrics += 'flowatlas_capture_coverage_ratio{node="n1",namespace="shop",pod="web-1"} 0.5\n'
    metrics += 'flowatlas_capture_coverage_ratio{node="n1",namespace="shop",pod="web-2"} 0.99\n'
    (finding,) = uncovered_nodes(evidence(metrics=metrics))
    assert finding.subject == "node n1"
    assert finding.evidence == ("shop/web-1: 50.0%",)
