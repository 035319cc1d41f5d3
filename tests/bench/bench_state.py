"""The cluster's state over time: what 10,000 pods cost to read from the bus, to keep, to change and to picture.

`python tests/bench/bench_state.py [PODS]`. Prints one JSON line a figure. The batches are made before, and memory is
counted without them: it is what the process grows by, objects, history and one snapshot together.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from collector.schema import STATE
from pipeline.bus import Message
from pipeline.decode import decode
from pipeline.inventory.feed import Feed
from pipeline.inventory.history import History
from tests.bench.figures import show
from tests.pipeline.shipments import message
from tests.pipeline.state_batches import Row, delete, mark, put, state, synced

SECOND = 1_000_000_000
NOW = 1_772_366_400 * SECOND
NODES = 200
ROWS = 4_000
"""Rows in a batch: some two MB of text."""
CHURN = 20_000
"""Pods replaced, at 25 a second: that many spans are kept."""


def main() -> None:
    pods = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    size = f"{pods:,} pods, {pods // 10:,} Services with slices, {NODES} nodes"
    first = messages([put(NOW, body) for body in everything(pods)] + [synced(NOW)])
    apply(Feed(History()), first[:1])  # what decoding needs for itself is not the state's
    before = resident_bytes()
    started = time.perf_counter()
    history = History()
    feed = Feed(history)
    apply(feed, first)
    history.snapshot()
    show("state_rebuild_seconds", time.perf_counter() - started, "s", f"{size}; {sum(len(m.value) for m in first):,} B")
    show("state_memory_bytes", resident_bytes() - before, "B", {"of": size, "target": 60_000_000})

    churn(feed, len(first), pods)
    times, kept = [], history.snapshot().addresses.height
    for number in range(50):
        history.put(NOW + (CHURN + number) * SECOND // 25, converted(pod(number, "again", CHURN // 25)))
        started = time.perf_counter()
        history.snapshot()
        times.append(time.perf_counter() - started)
    show(
        "state_snapshot_seconds",
        median(times),
        "s",
        {"of": f"{kept:,} address spans, after one change", "target": 5e-3},
    )
    show(
        "state_memory_after_churn_bytes", resident_bytes() - before, "B", f"{CHURN:,} pods replaced in 800 s, all kept"
    )


def churn(feed: Feed, seq: int, pods: int) -> None:
    """Replace pods one after another, each at its predecessor's address."""
    changes = []
    for number in range(CHURN):
        at = NOW + number * SECOND // 25
        old, new = pod(number % pods, "first", -60), pod(number % pods, f"next{number // pods}", number // 25)
        if number >= pods:
            old = pod(number % pods, f"next{number // pods - 1}", (number - pods) // 25)
        changes += [delete(at, old), put(at, {**new, "status": {"phase": "Pending"}}), put(at + SECOND // 2, new)]
        changes += [mark(at)] * (number % 6 == 0)
    batches = messages(changes, seq)
    started = time.perf_counter()
    apply(feed, batches)
    show("state_changes_per_second", len(changes) / (time.perf_counter() - started), "changes/s", "decode included")


def apply(feed: Feed, batches: list[Message]) -> None:
    for one in batches:
        batch = decode(one, {STATE.name: STATE})
        if not feed.take(batch.name.node, batch.name.epoch, batch.name.seq, batch.frame):
            raise RuntimeError("the feed did not take a batch")


def messages(rows: list[Row], seq: int = 0) -> list[Message]:
    firsts = range(0, len(rows), ROWS)
    return [message(state(1, number, rows[first : first + ROWS])) for number, first in enumerate(firsts, start=seq)]


def everything(pods: int) -> Iterator[dict[str, Any]]:
    for number in range(NODES):
        yield {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {
                "name": f"node-{number}",
                "uid": f"0e9d1c7e-0000-4000-8000-{number:012d}",
                "creationTimestamp": "2026-01-01T00:00:00Z",
                "resourceVersion": f"9{number:08}",
                "labels": {"topology.kubernetes.io/zone": f"zone-{number % 3}", "kubernetes.io/os": "linux"},
            },
            "spec": {"podCIDR": f"10.{number // 256}.{number % 256}.0/24"},
            "status": {"addresses": [{"type": "InternalIP", "address": f"192.0.2.{number}"}]},
        }
    for number in range(pods // 10):
        name, namespace = f"app-{number}", f"team-{number % 50}"
        metadata = {
            "namespace": namespace,
            "creationTimestamp": "2026-01-02T00:00:00Z",
            "resourceVersion": f"8{number:08}",
        }
        yield {
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "metadata": {
                **metadata,
                "name": f"{name}-5f6d7c8b9",
                "ownerReferences": [{"kind": "Deployment", "name": name, "controller": True}],
            },
        }
        yield {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {**metadata, "name": name, "uid": f"5e9d1c7e-0000-4000-8000-{number:012d}"},
            "spec": {
                "clusterIP": f"10.200.{number // 256}.{number % 256}",
                "ports": [{"name": "http", "port": 80, "targetPort": 8080}],
                "selector": {"app": name},
            },
        }
        yield {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {**metadata, "name": f"{name}-x7k2p", "labels": {"kubernetes.io/service-name": name}},
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
            "endpoints": [
                {"addresses": [address(member)], "conditions": {"ready": True}, "nodeName": f"node-{member % NODES}"}
                for member in range(number, pods, pods // 10)
            ],
        }
    yield from (pod(number, "first", -60) for number in range(pods))


def pod(number: int, generation: str, created: int) -> dict[str, Any]:
    """The pod that has the numbered address, made so many seconds after NOW."""
    app = number % 1000
    ip = address(number)
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"app-{app}-5f6d7c8b9-{generation}-{number}",
            "namespace": f"team-{app % 50}",
            "uid": f"{hash(generation) & 0xFFFFFFFF:08x}-0000-4000-8000-{number:012d}",
            "creationTimestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(NOW // SECOND + created)),
            "resourceVersion": f"7{hash((number, created)) % 10**8:08}",
            "labels": {"app": f"app-{app}", "pod-template-hash": "5f6d7c8b9", "team": f"team-{app % 50}"},
            "ownerReferences": [{"kind": "ReplicaSet", "name": f"app-{app}-5f6d7c8b9", "controller": True}],
        },
        "spec": {
            "nodeName": f"node-{number % NODES}",
            "containers": [{"ports": [{"containerPort": 8080, "name": "http", "protocol": "TCP"}]}],
        },
        "status": {
            "phase": "Running",
            "podIP": ip,
            "podIPs": [{"ip": ip}],
            "hostIP": f"192.0.2.{number % NODES}",
            "containerStatuses": [{"state": {}}],
        },
    }


def address(number: int) -> str:
    node = number % NODES
    return f"10.{node // 256}.{node % 256}.{2 + number // NODES}"


def converted(body: dict[str, Any]) -> Any:
    from pipeline.inventory.models import convert

    return convert(body["apiVersion"], body["kind"], json.loads(json.dumps(body)))


def resident_bytes() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


if __name__ == "__main__":
    main()
