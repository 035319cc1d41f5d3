"""DNS as clients meet it, by workload: questions that failed, that went past the cluster's DNS, that were wasted."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Final

from .evidence import Evidence, Name, counted, full
from .finding import Finding, Severity

CHECK: Final = "dns"
BYPASS: Final = "dns-bypass"
SEARCHES: Final = "dns-searches"
_QUERIES: Final = "flowatlas_dns_queries_total"
_BYPASS: Final = "flowatlas_dns_bypass_queries_total"
NAMES: Final = (_QUERIES, _BYPASS)
_GOOD: Final = frozenset({"NOERROR", "NXDOMAIN"})
"""A name that does not exist is an answer."""
SHARE: Final = 0.05
QUESTIONS: Final = 3
SEARCHED: Final = 0.5
MANY: Final = 1000
"""From so many questions on, more than such a part that only a search list makes is told."""


def failing_dns(evidence: Evidence) -> Iterator[Finding]:
    """Workloads of whose questions 5 % or more failed; an error where that is half of all workloads that asked."""
    asked: dict[Name, float] = defaultdict(float)
    failed: dict[Name, dict[str, float]] = defaultdict(dict)
    for (namespace, workload, rcode), count in evidence.scrape.by(
        _QUERIES, "source_namespace", "source_workload", "rcode"
    ).items():
        asked[namespace, workload] += count
        if rcode not in _GOOD and count:
            failed[namespace, workload][rcode] = count
    bad = [who for who, codes in failed.items() if sum(codes.values()) >= max(SHARE * asked[who], QUESTIONS)]
    severity: Severity = "error" if len(bad) > 1 and 2 * len(bad) >= len(asked) else "warning"
    for who in bad:
        if not evidence.is_asked(who):
            continue
        codes = ", ".join(f"{count:g} {code}" for code, count in sorted(failed[who].items()))
        yield Finding(
            CHECK,
            severity,
            f"workload {full(who)}",
            f"{sum(failed[who].values()) / asked[who]:.0%} of its questions to DNS failed",
            (
                f"{codes} of {asked[who]:g} since the pipeline started",
                f"the same holds for {len(bad) - 1} of {len(asked) - 1} other workloads that asked",
            ),
            "kubectl -n kube-system get pods,endpointslices -l k8s-app=kube-dns -o wide",
        )


def past_cluster_dns(evidence: Evidence) -> Iterator[Finding]:
    """Workloads that ask another server than the cluster's DNS: policies and records of the cluster miss it."""
    pair = ("source_namespace", "source_workload", "destination_namespace", "destination_workload")
    for (from_ns, from_name, to_ns, to_name), count in evidence.scrape.by(_BYPASS, *pair).items():
        if not count or not evidence.is_asked((from_ns, from_name)):
            continue
        columns = "NAME:.metadata.name,POLICY:.spec.dnsPolicy,SERVERS:.spec.dnsConfig.nameservers"
        yield Finding(
            BYPASS,
            "warning",
            f"workload {full((from_ns, from_name))}",
            f"it asks {full((to_ns, to_name))} and not the cluster's DNS",
            (f"{counted(count, 'question')} since the pipeline started",),
            f"kubectl -n {from_ns} get pods -o custom-columns={columns}",
        )


def wasted_searches(evidence: Evidence) -> Iterator[Finding]:
    """Workloads most of whose many questions are names that only a search list makes."""
    who = ("source_namespace", "source_workload")
    asked = evidence.scrape.by(_QUERIES, *who)
    for (namespace, workload), searched in evidence.scrape.by(_QUERIES, *who, name_class="search").items():
        total = asked[namespace, workload]
        if total < MANY or searched <= SEARCHED * total or not evidence.is_asked((namespace, workload)):
            continue
        yield Finding(
            SEARCHES,
            "note",
            f"workload {full((namespace, workload))}",
            f"{searched / total:.0%} of its questions to DNS are names that only its search list makes",
            (
                f"{searched:g} of {total:g} questions since the pipeline started",
                "outside names that end in a dot, or dnsConfig with ndots 1 or 2, ask once",
            ),
            f"kubectl -n {namespace} get pods -o custom-columns=NAME:.metadata.name,OPTIONS:.spec.dnsConfig.options",
        )
