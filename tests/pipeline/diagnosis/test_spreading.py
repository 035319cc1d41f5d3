"""Uneven endpoints and session affinity that is not kept, as the metrics tell."""

from __future__ import annotations

from pipeline.diagnosis.spreading import broken_affinity, uneven
from tests.pipeline.diagnosis.broken_cluster import evidence, service, told

PORT = 'service_namespace="shop",service="web",service_port="80"'


def load(gini: float, *counts: int) -> str:
    lines = [f"flowatlas_service_endpoint_gini_ratio{{{PORT}}} {gini}"]
    lines += [
        f'flowatlas_service_endpoint_connections_total{{{PORT},endpoint="web-{number}",node="n1"}} {count}'
        for number, count in enumerate(counts, 1)
    ]
    return "\n".join(lines) + "\n"


def affinity(**counts: int) -> str:
    name = "flowatlas_service_affinity_connections_total"
    return "".join(f'{name}{{{PORT},affinity="{where}"}} {count}\n' for where, count in counts.items())


def test_uneven_endpoints_are_told_the_busiest_first() -> None:
    (finding,) = uneven(evidence(metrics=load(0.45, 10, 190)))
    assert (finding.severity, finding.subject) == ("warning", "Service shop/web port 80")
    assert finding.evidence == (
        "web-2: 190 connections since the pipeline started",
        "web-1: 10 connections since the pipeline started",
    )


def test_a_service_with_affinity_says_so() -> None:
    known = evidence(service(sessionAffinity="ClientIP"), metrics=load(0.45, 10, 190))
    (finding,) = uneven(known)
    assert finding.evidence[-1] == "it has sessionAffinity ClientIP: few clients come to few endpoints"


def test_even_endpoints_and_few_connections_say_nothing() -> None:
    assert not list(uneven(evidence(metrics=load(0.4, 40, 160))))
    assert not list(uneven(evidence(metrics=load(0.5, 1, 79))))


def test_affinity_that_is_broken_is_told_with_how_often() -> None:
    (finding,) = broken_affinity(evidence(metrics=affinity(kept=7, broken=3)))
    assert (finding.severity, finding.subject) == ("warning", "Service shop/web port 80")
    assert finding.evidence == ("3 of 10 connections of returning clients since the pipeline started",)


def test_affinity_that_is_kept_or_whose_endpoint_is_gone_is_not_told() -> None:
    assert not list(broken_affinity(evidence(metrics=affinity(kept=7, moved=3, broken=0))))


def test_of_another_service_nothing_is_said() -> None:
    objects = (service(), service("other", clusterIP="10.96.0.2"))
    metrics = load(0.45, 10, 190) + affinity(broken=3)
    for name, expected in (("web", ["Service shop/web port 80"] * 2), ("other", [])):
        known = evidence(*objects, metrics=metrics, service=("shop", name))
        assert [subject for _, subject in told([*uneven(known), *broken_affinity(known)])] == expected
