"""DNS as clients meet it: questions that failed or that nobody answered, by workload."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Final

from .evidence import Evidence, Name, full
from .finding import Finding, Severity

CHECK: Final = "dns"
_QUERIES: Final = "flowatlas_dns_queries_total"
NAMES: Final = (_QUERIES,)
_GOOD: Final = frozenset({"NOERROR", "NXDOMAIN"})
"""A name that does not exist is an answer."""
SHARE: Final = 0.05
QUESTIONS: Final = 3


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
