"""What pods asked of DNS, by the truth, against the metrics: to the question, by namespace, class of name and answer.

Written from the lab's manifests alone: it shares no look-up with what it checks. Pure: rows and text in, a report out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from prometheus_client.parser import text_string_to_metric_families

from deploy.lab.objects import Cluster

DOMAIN: Final = "cluster.local"
PORT: Final = 53
NO_ANSWER: Final = "no_answer"

Asked = Counter[tuple[str, str, str]]
"""Questions by the client's namespace, the name's class and the response code."""


@dataclass(frozen=True, slots=True)
class QuestionReport:
    """The outcome of one comparison."""

    counted: int = 0
    """Questions that were answered and are in the metrics as they were asked."""
    wrong: list[str] = field(default_factory=list)
    """What is not so, one a line."""


def compare_questions(rows: Sequence[Mapping[str, Any]], cluster: Cluster, metrics: str) -> QuestionReport:
    """Judge the metrics by the truth's rows.

    Answered questions must be there exactly. Of those that nobody answered there may be fewer: the collectors give them
    up after 5 s, which some do not live to see. hostNetwork pods have no interface of their own to be seen at.
    """
    told, found = _told(rows, cluster), _found(metrics)
    wrong = [
        f"{namespace}: {found[key]} questions for {name_class} names with {rcode}, {told[key]} were asked"
        for key in sorted(told.keys() | found.keys())
        for namespace, name_class, rcode in [key]
        if (found[key] > told[key] if rcode == NO_ANSWER else found[key] != told[key])
    ]
    answered = sum(min(count, told[key]) for key, count in found.items() if key[2] != NO_ANSWER)
    return QuestionReport(answered, wrong)


def name_class(name: str, cluster: Cluster) -> str:
    """What a name means in the lab."""
    labels = name.split(".")
    if not name.endswith(f".{DOMAIN}"):
        return "outside" if len(labels) > 1 else "single_label"
    match labels[:-2]:
        case [service, namespace, "svc"] if (known := cluster.services.get((namespace, service))) is not None:
            return "service" if known.cluster_ip or known.external_name else "headless"
        case [_, namespace, "svc"] if namespace in {pod.namespace for pod in cluster.pods.values()}:
            return "cluster_unknown"
        case [host, _, namespace, "svc"] if (namespace, host) in cluster.pods:
            return "pod"
    return "search"


def _told(rows: Sequence[Mapping[str, Any]], cluster: Cluster) -> Asked:
    told: Asked = Counter()
    for row in rows:
        client = row["client"]
        if row["dst_port"] != PORT or "pod" not in client:
            continue
        if cluster.pods[client["namespace"], client["pod"]].host_network:
            continue
        answer = row.get("answer")
        rcode = NO_ANSWER if answer is None else "NXDOMAIN" if answer == "NXDOMAIN" else "NOERROR"
        told[client["namespace"], name_class(row["asked"], cluster), rcode] += 1
    return told


def _found(metrics: str) -> Asked:
    found: Asked = Counter()
    for family in text_string_to_metric_families(metrics):
        for sample in family.samples:
            if sample.name == "flowatlas_dns_queries_total":
                labels = sample.labels
                found[labels["source_namespace"], labels["name_class"], labels["rcode"]] += int(sample.value)
    return found
