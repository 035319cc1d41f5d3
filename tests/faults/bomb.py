"""Tenants of a cluster of which one is a bomb of series: `python -m tests.faults.bomb SHAPE ROUNDS ROWS`.

Two tenants do the same in every round. From some round on a third does what would make a series of everything, and at
last, while it goes on, two come that were not there before. Prints as JSON what was counted before and after, what
those have that came late, and what it took in memory and time. In a process of its own, for memory.
"""

from __future__ import annotations

import gc
import hashlib
import json
import logging
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from collector.schema import FLOWS, MAX_ROWS, OUTCOMES, UTF8, Batch, encode
from pipeline.config import PipelineConfig
from pipeline.decode import merged
from pipeline.envelope import open_batch
from pipeline.inventory.addresses import parse
from pipeline.inventory.history import History
from pipeline.inventory.models import convert
from pipeline.outputs.meters import Meters
from pipeline.outputs.publication import Publication
from pipeline.stages import Stages
from pipeline.state import ClusterState
from tests.faults.counts import often
from tests.pipeline.shipments import NOW, SECOND, message
from tests.pipeline.small_cluster import node

STEADY_ROUNDS: Final = 4
TENANTS: Final = ("shop", "bank")
LATE: Final = ("late", "later")
LATE_ROUNDS: Final = 2
BOMB: Final = "bomb"
PEERS: Final = often(50, 400)
"""Pods of each tenant, each a workload of its own, that talk to some others each."""
LATE_PEERS: Final = PEERS // 5
TALKS_TO: Final = 10
SERIES: Final = 18 * len(TENANTS) * PEERS * TALKS_TO
"""The budget: a bit more than twice what the tenants may make at most, were conversations to fail in all ways. Each of
them, and of the late ones, is within the share that the others leave it."""
NODE: Final = "node-a"
_REFUSED: Final = OUTCOMES.index("refused")
_OPEN: Final = OUTCOMES.index("open")


class Cluster:
    """Pods with addresses, in tenants, as a watcher would tell of them."""

    def __init__(self) -> None:
        self._history = History()
        self._history.begin()
        self._now_ns = NOW
        self._history.put(NOW, convert("v1", "Node", node(NODE, "192.0.2.10", "10.0.0.0/8")))
        for tenants, peers in ((TENANTS, PEERS), (LATE, LATE_PEERS)):
            for tenant in tenants:
                for number in range(peers):
                    self.put(tenant, f"{tenant}-{number}", address(PLACES.index(tenant), number))

    def put(self, namespace: str, name: str, ip: int) -> None:
        """A pod that is a workload of its own."""
        text = f"10.{ip >> 16}.{ip >> 8 & 255}.{ip & 255}"
        body = {
            "metadata": {"name": name, "namespace": namespace, "uid": f"uid-{name}"},
            "spec": {"nodeName": NODE},
            "status": {"phase": "Running", "podIP": text, "podIPs": [{"ip": text}], "hostIP": "192.0.2.10"},
        }
        self._history.put(self._now_ns, convert("v1", "Pod", body))

    def delete(self, namespace: str, name: str) -> None:
        self._history.delete(self._now_ns, "v1", "Pod", namespace, name)

    def complete(self) -> None:
        """All that there is at first has been put."""
        self._history.synced(self._now_ns)

    def advance(self, seconds: float) -> None:
        """Let time go by: what ended is kept for a while."""
        self._now_ns += int(seconds * SECOND)
        self._history.mark(self._now_ns)

    @property
    def now_ns(self) -> int:
        return self._now_ns

    def state(self, _: Meters) -> ClusterState:
        return ClusterState(self._history.snapshot(), {}, epochs=self._history.policy_epochs())


PLACES: Final = (*TENANTS, BOMB, *LATE)


def address(of: int, number: int) -> int:
    """The last 24 bits of a pod's address; `of` is the place of its tenant."""
    return (of + 1 << 17) + number


def flows(src: Any, dst: Any, port: Any, outcome: int, now_ns: int) -> dict[str, Any]:
    """Rows of connections of 1,000 bytes each way between IPv4 addresses as numbers."""
    rows = len(src)
    columns: dict[str, Any] = {
        name: [""] * rows if kind == UTF8 else np.zeros(rows, dtype=kind) for name, kind in FLOWS.columns.items()
    }
    mapped = np.uint64(parse("0.0.0.0").lo)  # noqa: S104 - what every IPv4 address has in front
    hi = np.uint64(parse("0.0.0.0").hi)  # noqa: S104
    for end, numbers in (("src", src), ("nat_src", src), ("dst", dst), ("backend", dst)):
        columns[f"{end}_lo"] = mapped + numbers.astype(np.uint64)
        columns[f"{end}_hi"][:] = hi
    columns["dst_port"], columns["backend_port"] = port.astype(np.uint16), port.astype(np.uint16)
    columns["src_port"][:] = columns["nat_src_port"][:] = 40_000
    columns["start"][:], columns["time"][:] = now_ns - SECOND, now_ns
    columns["flow_id"] = np.arange(rows, dtype=np.uint64)
    columns["protocol"][:], columns["outcome"][:], columns["opened"][:] = 6, outcome, 1
    columns["packets"][:] = columns["reply_packets"][:] = 10
    columns["bytes"][:] = columns["reply_bytes"][:] = 1_000
    return columns


TEN: Final = 10 << 24


def steady(now_ns: int, tenants: tuple[str, ...] = TENANTS, peers: int = PEERS) -> dict[str, Any]:
    """What tenants do in every round."""
    pairs = [
        (TEN + address(PLACES.index(tenant), number), TEN + address(PLACES.index(tenant), (number * 7 + step) % peers))
        for tenant in tenants
        for number in range(peers)
        for step in range(TALKS_TO)
    ]
    src, dst = (np.array(ends) for ends in zip(*pairs, strict=True))
    return flows(src, dst, np.full(len(src), 443), _OPEN, now_ns)


def everywhere(cluster: Cluster, rows: int, chance: np.random.Generator) -> Iterator[dict[str, Any]]:
    """A pod tries any port of any address, and any address tries any port of it: each half of the rows."""
    me = np.full(rows // 2, TEN + address(2, 0))
    while True:
        ips, ports = chance.integers(11 << 24, 100 << 24, (2, rows // 2)), chance.integers(1, 65_536, (2, rows // 2))
        yield flows(me, ips[0], ports[0], _REFUSED, cluster.now_ns)
        yield flows(ips[1], me, ports[1], _REFUSED, cluster.now_ns)


def many(cluster: Cluster, rows: int, chance: np.random.Generator) -> Iterator[dict[str, Any]]:
    """As many pods as rows, each a workload of its own, talk to any other."""
    pods = TEN + address(2, 0) + np.arange(rows)
    while True:
        yield flows(pods, chance.permutation(pods), np.full(rows, 80), _OPEN, cluster.now_ns)


CHURNING: Final = 200


def churning(cluster: Cluster, rows: int, chance: np.random.Generator) -> Iterator[dict[str, Any]]:
    """Pods give way to others in other namespaces with every round, a quarter of an hour apart."""
    return _generations(cluster, rows, chance, lambda generation: f"{BOMB}-{generation}")


def renaming(cluster: Cluster, rows: int, chance: np.random.Generator) -> Iterator[dict[str, Any]]:
    """The same in one namespace."""
    return _generations(cluster, rows, chance, lambda _: BOMB)


def _generations(
    cluster: Cluster, rows: int, chance: np.random.Generator, namespace: Callable[[int], str]
) -> Iterator[dict[str, Any]]:
    generation = 0
    while True:
        generation += 1
        cluster.advance(1_000)
        for number in range(CHURNING):
            if generation > 1:
                cluster.delete(namespace(generation - 1), f"churn-{generation - 1}-{number}")
            cluster.put(namespace(generation), f"churn-{generation}-{number}", address(2, number))
        cluster.advance(2)
        ends = TEN + address(2, 0) + chance.integers(0, CHURNING, (2, rows))
        yield flows(ends[0], ends[1], np.full(rows, 80), _OPEN, cluster.now_ns)


SHAPES: Final[dict[str, Callable[[Cluster, int, np.random.Generator], Iterator[dict[str, Any]]]]] = {
    "everywhere": everywhere,
    "many": many,
    "churning": churning,
    "renaming": renaming,
}
CALM: Final = "calm"
"""No bomb at all."""


def main() -> None:
    shape, (rounds, rows) = sys.argv[1], map(int, sys.argv[2:])
    logging.disable(logging.WARNING)
    cluster = Cluster()
    for number in range(rows if shape == "many" else 1 if shape == "everywhere" else 0):
        cluster.put(BOMB, f"{BOMB}-{number}", address(2, number))
    cluster.complete()
    config = PipelineConfig(
        bus="file:///unused", state=Path("unused"), series_max=SERIES, series_max_per_family=SERIES // 5
    )
    stages, publication = Stages(config, cluster.state, Meters()), Publication()
    made = SHAPES[shape](cluster, rows, np.random.default_rng(17)) if shape != CALM else None
    told: dict[str, list[Any]] = {}
    sent, seq = 0, 0

    def apply(columns: dict[str, Any]) -> None:
        nonlocal sent, seq
        for at in range(0, len(columns["flow_id"]), MAX_ROWS):
            part = {name: column[at : at + MAX_ROWS] for name, column in columns.items()}
            size = int(part["bytes"].sum() + part["reply_bytes"].sum())
            batch = Batch(FLOWS.name, NODE, 1, seq, len(part["flow_id"]), size, encode(FLOWS, part))
            stages.apply([merged([open_batch(message(batch))])])
            sent, seq = sent + size, seq + 1

    def note(at: int) -> None:
        for name, value in measured(publication.text(), at).items():
            told.setdefault(name, []).append(value)
        told.setdefault("round", []).append(at)
        told.setdefault("sent", []).append(sent)
        told.setdefault("rss", []).append(rss())

    peak, scraped = 0, {True: 0.0, False: 0.0}
    for at in range(STEADY_ROUNDS + rounds + LATE_ROUNDS):
        if at >= STEADY_ROUNDS and made is not None:
            for _ in range(2 if shape == "everywhere" else 1):
                apply(next(made))
        if at >= STEADY_ROUNDS + rounds:
            apply(steady(cluster.now_ns, LATE, LATE_PEERS))
        apply(steady(cluster.now_ns))
        publication.publish(stages.samples())
        began_s = time.process_time()
        publication.text()
        if at:
            scraped[at >= STEADY_ROUNDS] += time.process_time() - began_s
        peak = max(peak, rss())
        if at in {STEADY_ROUNDS - 1, STEADY_ROUNDS + rounds + LATE_ROUNDS - 1}:
            note(at + 1)
    scrapes = [scraped[False] / (STEADY_ROUNDS - 1), scraped[True] / (rounds + LATE_ROUNDS)]
    print(json.dumps({**told, "peak": peak, "scraped": scrapes}))


def measured(page: bytes, rounds: int) -> dict[str, Any]:
    """What a page has: series of traffic, its size, the flow bytes of all, a digest of each tenant's own series and
    what they grow by in each of `rounds`, and a digest of the late ones' own."""
    own: Counter[str] = Counter()
    late: Counter[str] = Counter()
    series, total, folded = 0, 0, 0
    for family in text_string_to_metric_families(page.decode()):
        for sample in family.samples:
            is_own = sample.name.startswith(("flowatlas_pipeline_", "flowatlas_state_", "flowatlas_series_"))
            series += not is_own
            total += int(sample.value) * (sample.name == "flowatlas_flow_bytes_total")
            folded += int(sample.value) * (sample.name == "flowatlas_series_folded_total")
            if not is_own and {"source_namespace", "destination_namespace", "namespace"} & sample.labels.keys():
                names = [sample.labels.get(f"{side}namespace") for side in ("source_", "destination_", "")]
                if sample.name.endswith("_total") and set(names) & set(LATE):
                    late[json.dumps([sample.name, sorted(sample.labels.items())])] += int(sample.value)
                elif sample.name.endswith("_total") and all(name in (*TENANTS, None) for name in names):
                    own[json.dumps([sample.name, sorted(sample.labels.items())])] += int(sample.value)
    uneven = {name: value for name, value in own.items() if value % rounds}
    assert not uneven, "each round is alike"
    grown = sorted((name, value // rounds) for name, value in own.items())
    return {
        "series": series,
        "page": len(page),
        "flow_bytes": total,
        "folded": folded,
        "own": hashlib.sha256(json.dumps(grown).encode()).hexdigest(),
        "own_series": len(own),
        "late": hashlib.sha256(json.dumps(sorted(late.items())).encode()).hexdigest(),
        "late_series": len(late),
    }


def rss() -> int:
    """Bytes that are resident now."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


if __name__ == "__main__":
    main()
