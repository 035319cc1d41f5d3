"""Policies on one core: compilation, cold verdicts of distinct pairs, and flows with verdicts on.

`python tests/bench/bench_policies.py [FLOWS]`; run with POLARS_MAX_THREADS=1 to measure one core. Prints one JSON line
a figure. Growth is measured over ten times the pods and ten times the policies.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any, Final

import numpy as np
import polars as pl

from pipeline.attribution.policies import PAIR, Policies, compile_policies
from pipeline.inventory import snapshot
from pipeline.inventory.models import convert
from pipeline.inventory.snapshot import Snapshot
from tests.bench.figures import show

NAMESPACES: Final = 50
APPS_A_NAMESPACE: Final = 20
PORTS: Final = (80, 443, 5432, 8080, 9090)
_FIRST_POD: Final = (0xFFFF << 32) | (10 << 24)


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000_000
    for pods, policies in ((5_000, 500), (5_000, 1_000), (50_000, 1_000), (5_000, 10_000)):
        cluster = [convert(item["apiVersion"], item["kind"], item) for item in objects(pods, policies)]
        picture = snapshot.build(cluster)
        compiled, compile_s = timed(lambda c=cluster, p=picture: compile_policies(c, p))  # type: ignore[misc]  # bound now
        pairs = distinct_pairs(picture, pods, 50_000)
        judge_s = median(timed(lambda p=compiled, q=pairs: p.judge(q))[1] for _ in range(3))  # type: ignore[misc]  # bound now
        size = f"{pods} pods, {policies} policies"
        show("policy_compile_seconds", compile_s, "s", {"target": 1, "size": size})
        show("policy_cold_verdicts_per_second", pairs.height / judge_s, "pairs/s", {"target": 50_000, "size": size})
    flows_with_verdicts(rows)


def flows_with_verdicts(rows: int) -> None:
    """Flows of 100,000 distinct pairs under 1,000 policies: verdicts by number, then the roll-up that they feed."""
    cluster = [convert(item["apiVersion"], item["kind"], item) for item in objects(5_000, 1_000)]
    picture = snapshot.build(cluster)
    compiled = compile_policies(cluster, picture)
    pairs = distinct_pairs(picture, 5_000, 100_000)
    chosen = np.random.default_rng(2).integers(0, pairs.height, rows)
    flows = pairs[chosen].with_columns(bytes=pl.lit(1_000, dtype=pl.UInt64))
    seconds = timed(lambda: rolled_up(compiled, flows))[1]
    show("policy_flows_per_second", rows / seconds, "flows/s", {"target": 2_000_000, "distinct_pairs": pairs.height})


def rolled_up(policies: Policies, flows: pl.DataFrame) -> pl.DataFrame:
    """Bytes by what allowed or denied them in each direction."""
    verdicts = policies.judgement(flows).rows
    return (
        flows.select("bytes")
        .hstack(verdicts)
        .group_by("verdict", "egress", "ingress_policy")
        .agg(pl.col("bytes").sum())
    )


def objects(pods: int, policies: int) -> list[dict[str, Any]]:
    """A busy cluster: apps in namespaces, deny-all and per-app policies, every tenth with address ranges."""
    found: list[dict[str, Any]] = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": f"ns{n}", "labels": {"team": f"t{n % 7}"}}}
        for n in range(NAMESPACES)
    ]
    for n in range(pods):
        namespace, app = n % NAMESPACES, n // NAMESPACES % APPS_A_NAMESPACE
        metadata = {"name": f"p{n}", "namespace": f"ns{namespace}", "labels": {"app": f"a{app}", "team": f"t{n % 7}"}}
        ports = [{"name": "http", "containerPort": 8080}]
        ip = _FIRST_POD + n & 0xFFFFFFFF
        status = {"phase": "Running", "podIP": ".".join(str(ip >> shift & 255) for shift in (24, 16, 8, 0))}
        spec = {"containers": [{"ports": ports}]}
        found.append({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, "status": status})
    return found + [policy(n) for n in range(policies)]


def policy(number: int) -> dict[str, Any]:
    namespace, app = number % NAMESPACES, number // NAMESPACES % APPS_A_NAMESPACE
    near = {"podSelector": {"matchLabels": {"app": f"a{(app + 1) % APPS_A_NAMESPACE}"}}}
    far = {"namespaceSelector": {"matchLabels": {"team": f"t{number % 7}"}}}
    block = {"ipBlock": {"cidr": f"10.0.{number % 200}.0/24", "except": [f"10.0.{number % 200}.16/28"]}}
    rules: list[dict[str, Any]] = [
        {"from": [near, far], "ports": [{"port": "http"}, {"port": PORTS[number % len(PORTS)]}]},
        {"from": [block] if number % 10 == 0 else [far], "ports": [{"port": 9090, "endPort": 9099}]},
    ]
    spec = {
        "podSelector": {"matchLabels": {"app": f"a{app}"}} if number >= NAMESPACES else {},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": rules if number >= NAMESPACES else [],
        "egress": [{"to": [{"namespaceSelector": {}}]}, {"to": [block]}],
    }
    metadata = {"name": f"np{number}", "namespace": f"ns{namespace}"}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata, "spec": spec}


def distinct_pairs(picture: Snapshot, pods: int, count: int) -> pl.DataFrame:
    """Distinct pairs of pods, ports and protocols."""
    random = np.random.default_rng(1)
    ends = picture.addresses.sort("addr_lo")
    src, dst = random.integers(0, pods, count * 2), random.integers(0, pods, count * 2)
    sources, destinations = ends[src], ends[dst]
    frame = pl.DataFrame(
        {
            "src_id": sources["endpoint_id"],
            "dst_id": destinations["endpoint_id"],
            "src_hi": sources["addr_hi"],
            "src_lo": sources["addr_lo"],
            "backend_hi": destinations["addr_hi"],
            "backend_lo": destinations["addr_lo"],
            "backend_port": random.choice(np.array(PORTS, dtype=np.uint16), count * 2),
            "protocol": np.full(count * 2, 6, dtype=np.uint8),
        }
    )
    return frame.unique(PAIR, maintain_order=True).head(count)


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    started = time.perf_counter()
    result = work()
    return result, time.perf_counter() - started


if __name__ == "__main__":
    main()
