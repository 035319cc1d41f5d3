"""Policies on one core: compilation and what changes cost, cold verdicts of distinct pairs, and flows with verdicts on.

`python tests/bench/bench_policies.py [FLOWS]`; run with POLARS_MAX_THREADS=1 to measure one core. Prints one JSON line
a figure. Growth is measured over ten times the pods and ten times the policies. Seconds are the processor's and not the
clock's, so that what else the machine does counts for little; with one thread both are the same on an idle machine.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from statistics import median
from typing import Any, Final

import numpy as np
import polars as pl

from collector.schema import OUTCOMES
from pipeline.aggregate.flows import FlowMetrics
from pipeline.aggregate.policies import PolicyMetrics
from pipeline.aggregate.rollups import summed
from pipeline.attribution import attribute
from pipeline.attribution.policies import PAIR, Policies, PolicyTimeline, compile_policies
from pipeline.attribution.policies.live import LivePolicies
from pipeline.intake import CHUNK_ROWS
from pipeline.inventory import snapshot
from pipeline.inventory.models import Resource, convert
from pipeline.inventory.policy_history import KINDS, PolicyEpoch
from pipeline.inventory.snapshot import Snapshot
from pipeline.inventory.spans import BEGINNING
from tests.bench.figures import show
from tests.bench.history import EPOCH

SERVICES: Final = 800
NAMESPACES: Final = 50
APPS_A_NAMESPACE: Final = 20
PORTS: Final = (80, 443, 5432, 8080, 9090)
_FIRST_POD: Final = (0xFFFF << 32) | (10 << 24)


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000_000
    for pods, policies in ((5_000, 500), (5_000, 1_000), (50_000, 1_000), (5_000, 10_000)):
        growth(pods, policies)
    live_path(rows)


def growth(pods: int, policies: int) -> None:
    """Compilation, the next policy, the next pods, and cold verdicts, in a cluster of one size."""
    cluster = converted(objects(pods, policies))
    picture = snapshot.build(cluster)
    size = f"{pods} pods, {policies} policies"
    compile_s = timed(lambda: compile_policies(cluster, picture))[1]
    show("policy_compile_seconds", compile_s, "s", {"target": 1, "size": size})
    written = tuple(item for item in cluster if isinstance(item, KINDS))
    before = replace(picture, endpoints=picture.endpoints.head(picture.endpoints.height - 30))
    live = PolicyTimeline()
    epochs = [PolicyEpoch(BEGINNING, written)]
    live.use(before, epochs)
    live.current()
    epochs.append(PolicyEpoch(EPOCH, (*written[:-1], *converted([policy(policies + 1)]))))

    def current(cluster: Snapshot) -> Policies:
        live.use(cluster, epochs)
        return live.current()

    change_s = timed(lambda: current(before))[1]
    show("policy_change_seconds", change_s, "s", {"target": 1, "size": size})
    pods_s = timed(lambda: current(picture))[1]
    show(
        "policy_30_endpoints_seconds", pods_s, "s", {"size": size, "identities": live.current().identities.is_pod.size}
    )
    pairs = distinct_pairs(picture, pods, 50_000)
    compiled = compile_policies(cluster, picture)
    judge_s = median(timed(lambda: compiled.judge(pairs))[1] for _ in range(3))
    show("policy_cold_verdicts_per_second", pairs.height / judge_s, "pairs/s", {"target": 50_000, "size": size})


def live_path(rows: int) -> None:
    """Flows of 100,000 distinct pairs under 1,000 policies through attribution, verdicts, mismatches and roll-ups.

    The same chunks go through with and without policies, in turn, so that the ratio holds on a busy machine.
    """
    cluster = converted(objects(5_000, 1_000) + services(5_000))
    picture = snapshot.build(cluster)
    epochs = [PolicyEpoch(BEGINNING, tuple(item for item in cluster if isinstance(item, KINDS)))]
    policies, flow_metrics = LivePolicies(), FlowMetrics()
    flow_metrics.use(picture)
    metrics = PolicyMetrics(policies.timeline)
    metrics.use(picture)
    pairs = distinct_pairs(picture, 5_000, 100_000)
    policies.timeline.use(picture, epochs)
    is_denied = policies.timeline.current().judgement(pairs).rows["verdict"] == "denied"
    pairs = flows_of(pairs, is_denied)
    random = np.random.default_rng(2)
    plain, judged, alone = [], [], []
    for number in range(-(-rows // CHUNK_ROWS)):
        chunk = pairs[random.integers(0, pairs.height, CHUNK_ROWS)].with_columns(
            start=pl.lit(EPOCH, pl.Int64) + pl.int_range(pl.len()) * 1_000
        )

        def without(flows: pl.DataFrame = chunk) -> pl.DataFrame:
            attributed = attribute(flows, picture)
            flow_metrics.add(attributed)
            flow_metrics.kept()  # what is put off until somebody asks is paid for too
            return attributed

        def judged_of(flows: pl.DataFrame) -> pl.DataFrame:
            return policies.judge(flows, picture, epochs)

        def counted(flows: pl.DataFrame, sums: pl.DataFrame) -> None:
            metrics.add_sums(sums)
            metrics.add(flows)

        attributed, plain_s = timed(without)
        flows, judge_s = timed(partial(judged_of, attributed))
        sums = summed(flows, picture)  # of which `without` has paid already
        policies_s = judge_s + timed(partial(counted, flows, sums))[1]
        if number:  # the first chunk compiles and judges most pairs
            plain.append(plain_s)
            judged.append(plain_s + policies_s)
            alone.append(policies_s)
        else:
            show("policy_first_chunk_seconds", policies_s, "s", {"rows": CHUNK_ROWS, "compilation": "included"})
    count, against = CHUNK_ROWS * len(plain), {"distinct_pairs": pairs.height}
    show("policy_stage_flows_per_second", count / sum(alone), "flows/s", against)
    show("services_flows_per_second", count / sum(plain), "flows/s", {"policies": "off", **against})
    show("policy_flows_per_second", count / sum(judged), "flows/s", {"target": 2_000_000, "policies": "on", **against})


def converted(bodies: list[dict[str, Any]]) -> list[Resource]:
    return [convert(item["apiVersion"], item["kind"], item) for item in bodies]


def services(pods: int) -> list[dict[str, Any]]:
    """800 Services; pod N answers for number N % 800."""
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": f"s{n}", "namespace": f"ns{n % NAMESPACES}"},
            "spec": {
                "type": "ClusterIP",
                "clusterIP": f"10.96.{n // 200}.{n % 200 + 1}",
                "ports": [{"name": f"p{port}", "port": port, "targetPort": port} for port in PORTS],
            },
        }
        for n in range(min(SERVICES, pods))
    ]


def flows_of(pairs: pl.DataFrame, is_denied: pl.Series) -> pl.DataFrame:
    """A flow a pair, as collectors report it where policies are enforced; three in four through a Service."""
    count = pairs.height
    numbers = pairs["dst_id"].to_numpy().astype(np.uint64) % SERVICES
    vip = np.uint64((0xFFFF << 32) | (10 << 24) | (96 << 16)) + (numbers // 200 << np.uint64(8)) + numbers % 200 + 1
    dialled = np.where(np.arange(count) % 4 > 0, vip, pairs["backend_lo"].to_numpy()).astype(np.uint64)
    zero, small = np.zeros(count, np.uint8), np.arange(count, dtype=np.uint64)
    return pairs.select(
        *(f"{end}_{half}" for end in ("src", "backend") for half in ("hi", "lo")),
        "backend_port",
        "protocol",
        dst_hi=pl.col("backend_hi"),
        dst_lo=pl.Series(dialled),
        dst_port=pl.col("backend_port"),
        nat_src_hi=pl.col("src_hi"),
        nat_src_lo=pl.col("src_lo"),
        node=pl.lit("node0").cast(pl.Categorical),
        time=pl.lit(EPOCH + 10**9, pl.Int64),
        flow_id=pl.Series(small),
        outcome=pl.when(is_denied)
        .then(pl.lit(OUTCOMES.index("no_reply"), pl.UInt8))
        .otherwise(pl.lit(OUTCOMES.index("closed"), pl.UInt8)),
        opened=pl.Series(zero + np.uint8(1)),
        packets=pl.Series(small % 100),
        bytes=pl.Series(small % 10_000),
        reply_packets=pl.Series(small % 100),
        reply_bytes=pl.Series(small % 10_000),
    )


def objects(pods: int, policies: int) -> list[dict[str, Any]]:
    """A busy cluster: apps in namespaces, deny-all and per-app policies, every tenth with address ranges."""
    found: list[dict[str, Any]] = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": f"ns{n}", "labels": {"team": f"t{n % 7}"}}}
        for n in range(NAMESPACES)
    ]
    for n in range(pods):
        namespace, app = n % NAMESPACES, n // NAMESPACES % APPS_A_NAMESPACE
        metadata = {
            "name": f"p{n}",
            "namespace": f"ns{namespace}",
            "labels": {"app": f"a{app}", "pod-template-hash": f"{n}"},
            "ownerReferences": [{"kind": "StatefulSet", "name": f"a{app}", "controller": True}],
        }
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
    started = time.process_time()
    result = work()
    return result, time.process_time() - started


if __name__ == "__main__":
    main()
