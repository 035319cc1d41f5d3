"""DNS metrics: every exchange once, under the client's workload."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.schema import NO_ANSWER
from pipeline.aggregate.dns import DnsMetrics
from pipeline.aggregate.samples import Samples
from pipeline.attribution.dnsqueries import attribute_dns
from tests.pipeline.attribution.dns_answers import FRONT, Answer
from tests.pipeline.dns_cluster import BEYOND, DNS_SERVICE, asked, dns_cluster

CLUSTER = dns_cluster()
CLIENTS = {FRONT: "front", "10.0.2.5": "front", "10.0.2.7": "database"}
NAMES = {"front.shop.svc.cluster.local": "service", "x.org.cluster.local": "search", "x.org": "outside"}
SHOP = ("shop", "front", "Deployment")


def counted(*batches: list[Answer]) -> dict[str, Samples]:
    metrics = DnsMetrics()
    for batch in batches:
        metrics.add(attribute_dns(asked(*batch), CLUSTER), CLUSTER)
    return {samples.metric.name: samples for samples in metrics.samples()}


def values(samples: Samples) -> dict[tuple[str, ...], int]:
    return dict(zip(samples.labels.rows(), samples.values.to_list(), strict=True))


def test_questions_by_class_type_and_answer() -> None:
    """The chain that ndots:5 makes of one name beyond the cluster: three questions in vain, one in earnest."""
    chain = [
        Answer(f"www.example.com.{search}", 100, rcode=3, address="")
        for search in ("shop.svc.cluster.local", "svc.cluster.local", "cluster.local")
    ]
    rows = [*chain, Answer("www.example.com", 100), Answer("www.example.com", 101, "10.0.2.5", kind=28, rcode=2)]
    rare = [Answer("x.example.com", 102, kind=999, rcode=NO_ANSWER), Answer("x.example.com", 102, kind=999, rcode=11)]
    assert values(counted(rows, rare)["flowatlas_dns_queries_total"]) == {
        (*SHOP, "search", "A", "NXDOMAIN"): 3,
        (*SHOP, "outside", "A", "NOERROR"): 1,
        (*SHOP, "outside", "AAAA", "SERVFAIL"): 1,
        (*SHOP, "outside", "other", "no_answer"): 1,
        (*SHOP, "outside", "other", "11"): 1,
    }


def test_latency_is_of_answers_to_questions_that_were_seen() -> None:
    rows = [
        Answer("x.org", 100, latency_ns=100_000),
        Answer("x.org", 100, latency_ns=3_000_000),
        Answer("x.org", 100, latency_ns=0),
        Answer("x.org", 100, latency_ns=5 * 10**9, rcode=NO_ANSWER),
    ]
    samples = counted(rows)["flowatlas_dns_latency_seconds"]
    assert samples.labels.rows() == [(*SHOP, "outside")]
    told = samples.values.to_list()[0]
    assert [told[bound] for bound in ("0.0001", "0.00025", "0.0025", "0.005", "+Inf")] == [1, 1, 1, 2, 2]
    assert told["sum"] == pytest.approx(0.0031)


def test_what_goes_past_the_clusters_dns_says_from_whom_to_whom() -> None:
    rows = [Answer("x.org", 100, server=BEYOND), Answer("x.org", 101, server=BEYOND), Answer("x.org", 102)]
    found = values(counted(rows)["flowatlas_dns_bypass_queries_total"])
    assert found == {(*SHOP, "", "outside", "External"): 2}


questions = st.builds(
    Answer,
    name=st.sampled_from(sorted(NAMES)),
    at=st.just(100),
    client=st.sampled_from(sorted(CLIENTS)),
    rcode=st.sampled_from([0, 3]),
    kind=st.sampled_from([1, 28]),
    is_first=st.booleans(),
    server=st.sampled_from([DNS_SERVICE, BEYOND]),
    latency_ns=st.integers(1, 10**10),
)


@settings(deadline=None)  # a shared machine may pause
@given(st.lists(st.lists(questions, max_size=12), max_size=4))
def test_each_exchange_is_counted_once_however_batched(batches: list[list[Answer]]) -> None:
    wanted: Counter[tuple[str, str, str, str]] = Counter()
    for row in (row for batch in batches for row in batch if row.is_first):
        rcode, kind = {0: "NOERROR", 3: "NXDOMAIN"}[row.rcode], {1: "A", 28: "AAAA"}[row.kind]
        wanted[CLIENTS[row.client], NAMES[row.name], kind, rcode] += 1
    found = counted(*batches)
    queries = {
        (labels[1], *labels[3:]): value for labels, value in values(found["flowatlas_dns_queries_total"]).items()
    }
    assert queries == wanted
    timed = found["flowatlas_dns_latency_seconds"].values.to_list()
    assert sum(value["+Inf"] for value in timed) == wanted.total()
    past = sum(row.is_first and row.server == BEYOND for batch in batches for row in batch)
    assert sum(values(found["flowatlas_dns_bypass_queries_total"]).values()) == past


def test_totals_outlive_the_numbering_of_a_snapshot() -> None:
    metrics = DnsMetrics()
    for snapshot in (CLUSTER, replace(CLUSTER, numbering=object())):
        metrics.add(attribute_dns(asked(Answer("x.org", 100)), snapshot), snapshot)
    assert values(metrics.samples()[0]) == {(*SHOP, "outside", "A", "NOERROR"): 2}
