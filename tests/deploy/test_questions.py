"""The demo's check of DNS metrics finds what is wrong."""

from __future__ import annotations

from typing import Any

import pytest

from deploy.demo.questions import compare_questions, name_class
from deploy.lab.cluster import MANIFESTS
from deploy.lab.objects import load

CLUSTER = load(MANIFESTS)
CLIENT = next(pod for pod in CLUSTER.pods.values() if not pod.host_network)
AGENT = next(pod for pod in CLUSTER.pods.values() if pod.host_network)
SERVICE = "kube-dns.kube-system.svc.cluster.local"


def row(asked: str, answer: Any, pod: Any = CLIENT) -> dict[str, Any]:
    told = {"client": {"namespace": pod.namespace, "pod": pod.name}, "dst_port": 53, "asked": asked}
    return told if answer is None else {**told, "answer": answer}


def metrics(*counts: tuple[str, str, int]) -> str:
    client = f'source_namespace="{CLIENT.namespace}"'
    lines = [
        f'flowatlas_dns_queries_total{{{client},name_class="{kind}",rcode="{rcode}"}} {count}\n'
        for kind, rcode, count in counts
    ]
    return "# TYPE flowatlas_dns_queries_total counter\n" + "".join(lines)


TRUTH = [row(SERVICE, ["10.96.0.10"]), row("x.org", "NXDOMAIN"), row("x.org", "NXDOMAIN"), row("x.org", None)]
SOUND = (("service", "NOERROR", 1), ("outside", "NXDOMAIN", 2))


@pytest.mark.parametrize(
    ("counts", "wrong"),
    [
        (SOUND, 0),
        ((*SOUND, ("outside", "no_answer", 1)), 0),
        ((*SOUND, ("outside", "no_answer", 2)), 1),  # more than were asked
        (SOUND[:1], 1),  # one kind is missing
        (((SOUND[0]), ("outside", "NXDOMAIN", 3)), 1),  # counted twice
        ((("headless", "NOERROR", 1), SOUND[1]), 2),  # another class
        ((*SOUND, ("pod", "NOERROR", 1)), 1),  # nobody asked that
    ],
)
def test_every_question_must_be_counted_as_it_was_asked(counts: tuple[tuple[str, str, int], ...], wrong: int) -> None:
    report = compare_questions(TRUTH, CLUSTER, metrics(*counts))
    assert len(report.wrong) == wrong
    if not wrong:
        assert report.counted == 3


def test_pods_without_an_interface_of_their_own_are_not_expected() -> None:
    assert compare_questions([row(SERVICE, ["10.96.0.10"], AGENT)], CLUSTER, "").wrong == []


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        (SERVICE, "service"),
        ("database.production.svc.cluster.local", "headless"),
        ("database-1.database.production.svc.cluster.local", "pod"),
        ("databse.production.svc.cluster.local", "cluster_unknown"),
        ("x.org.production.svc.cluster.local", "search"),
        ("x.org.cluster.local", "search"),
        ("x.org", "outside"),
        ("x", "single_label"),
    ],
)
def test_the_class_of_a_name_in_the_lab(name: str, wanted: str) -> None:
    assert name_class(name, CLUSTER) == wanted
