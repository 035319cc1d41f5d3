"""A busy cluster that never rests, told as a watcher would hear of it, and the flows of its pods with exact truth.

Every address is handed on at once: a pod's containers end, its address is freed and taken by a pod of another workload,
which talks as soon as its first container runs. What the API says comes later: the newcomer's status up to a second
after it talks, the leaver's deletion up to a second after its address was freed, and either up to another second later
at the watcher, each kind of object in order.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl

from pipeline.inventory.models import Resource, convert

SECOND = 1_000_000_000
BEGAN = 1_772_366_400 * SECOND
NODES, PODS, SERVICES = 200, 5_000, 800
REPLACED_EVERY_S = 0.05
WATCH_LAG_S = 1.0


@dataclass(frozen=True)
class Pod:
    """One pod's life, in seconds since the beginning: created, talking from `begins` to `ends`."""

    number: int
    workload: int
    node: int
    host: int  # of the node's range, from 10 on
    created: float
    begins: float
    ends: float

    @property
    def name(self) -> str:
        return f"app{self.workload}-{self.number}"

    @property
    def ip(self) -> str:
        return f"10.244.{self.node}.{self.host}"


@dataclass(frozen=True)
class Event:
    """A change as the watcher hears of it; `body` is None for a deletion."""

    heard: float
    kind: str
    name: str
    resource: Resource | None


@dataclass(frozen=True)
class Churn:
    """`seconds` of a cluster's life."""

    first: list[Resource]
    events: list[Event]
    pods: list[Pod]


def ns(seconds: float) -> int:
    return BEGAN + round(seconds * SECOND)


def stamp(seconds: float) -> str:
    return datetime.fromtimestamp(ns(seconds) // SECOND, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def body(pod: Pod, *, status: str, leaving: float | None = None) -> Resource:
    """The pod as its object says: `status` is one of pending, running, ended."""
    metadata: dict[str, Any] = {
        "name": pod.name,
        "namespace": "shop",
        "uid": f"uid-{pod.number}",
        "creationTimestamp": stamp(pod.created),
        "labels": {"app": f"app{pod.workload}"},
    }
    if leaving is not None:
        metadata["deletionTimestamp"] = stamp(leaving)
    state: dict[str, Any] = {"phase": "Pending"}
    if status != "pending":
        running = {"running": {"startedAt": stamp(pod.begins)}}
        ended = {"terminated": {"startedAt": stamp(pod.begins), "finishedAt": stamp(pod.ends)}}
        state = {
            "phase": "Running",
            "podIP": pod.ip,
            "podIPs": [{"ip": pod.ip}],
            "containerStatuses": [{"state": ended if status == "ended" else running}],
        }
    return convert(
        "v1",
        "Pod",
        {"kind": "Pod", "metadata": metadata, "spec": {"nodeName": f"node{pod.node}"}, "status": state},
    )


def churn(seconds: int, seed: int = 1) -> Churn:
    """A cluster's life of so many seconds."""
    rng = np.random.default_rng(seed)
    forever = float(seconds + 3600)
    living = [
        Pod(number, number % SERVICES, number % NODES, 10 + number // NODES, -3600.0, -3599.0, forever)
        for number in range(PODS)
    ]
    first = [*_fixed(), *(body(pod, status="running") for pod in living)]
    done: list[Pod] = []
    told: list[tuple[float, float, str, str, Resource | None]] = []  # when the API has it, lag
    waiting = 0  # the workload whose pod was removed before and is replaced now
    for number in range(round(seconds / REPLACED_EVERY_S)):
        freed = 5 + number * REPLACED_EVERY_S
        place = int(rng.integers(PODS))
        old = living[place]
        if freed - old.begins < 8:
            continue  # no pod is replaced before it has settled
        ends = freed - rng.uniform(0.05, 0.4)
        begins = freed + rng.uniform(0.2, 1.0)
        leaving = ends - rng.uniform(0.5, 4)
        old = Pod(old.number, old.workload, old.node, old.host, old.created, old.begins, ends)
        new = Pod(PODS + number, waiting, old.node, old.host, begins - rng.uniform(1.2, 4), begins, forever)
        waiting = old.workload
        done.append(old)
        living[place] = new
        changes = [
            (leaving, old, body(old, status="running", leaving=leaving)),
            (ends + rng.uniform(0.05, 0.3), old, body(old, status="ended", leaving=leaving)),
            (freed + rng.uniform(0.0, 1.0), old, None),
            (new.created, new, body(new, status="pending")),
            (begins + rng.uniform(0.05, 1.0), new, body(new, status="running")),
        ]
        changes[2] = (max(changes[1][0], changes[2][0]), old, None)
        told += [
            (when, float(rng.uniform(0, WATCH_LAG_S)), "Pod", pod.name, resource) for when, pod, resource in changes
        ]
    told.sort(key=lambda change: change[0])
    heard, events = 0.0, []
    for when, lag, kind, name, resource in told:
        heard = max(heard, when + lag * lag)  # mostly quick, at times a second
        events.append(Event(heard, kind, name, resource))
    return Churn(first, events, [*done, *living])


def _fixed() -> Iterator[Resource]:
    for number in range(NODES):
        spec = {"podCIDR": f"10.244.{number}.0/24"}
        status = {"addresses": [{"type": "InternalIP", "address": f"172.30.1.{number}"}]}
        metadata = {"name": f"node{number}", "creationTimestamp": stamp(-7200)}
        yield convert("v1", "Node", {"kind": "Node", "metadata": metadata, "spec": spec, "status": status})
    for number in range(SERVICES):
        ip = service_ip(number)
        service_spec = {"clusterIP": ip, "clusterIPs": [ip], "ports": [{"port": 80, "targetPort": 8080}]}
        metadata = {"name": f"app{number}", "namespace": "shop", "creationTimestamp": stamp(-7200)}
        yield convert("v1", "Service", {"kind": "Service", "metadata": metadata, "spec": service_spec})


def service_ip(number: int) -> str:
    return f"10.96.{number // 250}.{1 + number % 250}"


def traffic(pods: list[Pod], seconds: int, rows: int, seed: int = 2) -> pl.DataFrame:
    """Connections between pods that talk at the time, over Services: `start` (s), `src` and `dst` (rows of `pods`).

    A tenth has an end that began or will end within a second and a half; `is_edge` marks them.
    """
    rng = np.random.default_rng(seed)
    begins, ends = np.array([pod.begins for pod in pods]), np.array([pod.ends for pod in pods])
    start = rng.uniform(0, seconds, rows)
    is_edge = rng.random(rows) < 0.1
    src = _talking(rng, begins, ends, start)
    dst = _talking(rng, begins, ends, start)
    changed = np.flatnonzero((begins > 5) | (ends < seconds))
    chosen = rng.choice(changed, rows)
    near = np.where(
        (begins[chosen] > 5) & (rng.random(rows) < 0.5),
        begins[chosen] + rng.exponential(0.5, rows),
        ends[chosen] - rng.exponential(0.5, rows),
    )
    fits = is_edge & (begins[chosen] <= near) & (near < ends[chosen]) & (near > 0) & (near < seconds)
    is_edge &= fits
    start = np.where(fits, near, start)
    is_source = rng.random(rows) < 0.5
    other = _talking(rng, begins, ends, start)
    src = np.where(fits, np.where(is_source, chosen, other), src)
    dst = np.where(fits, np.where(is_source, other, chosen), dst)
    return pl.DataFrame({"start": start, "src": src, "dst": dst, "is_edge": is_edge}).sort("start")


def _talking(rng: np.random.Generator, begins: Any, ends: Any, start: Any) -> Any:
    """For each instant a pod that talks then."""
    chosen = rng.integers(0, len(begins), len(start))
    while True:
        silent = np.flatnonzero((start < begins[chosen]) | (start >= ends[chosen]))
        if not silent.size:
            return chosen
        chosen[silent] = rng.integers(0, len(begins), silent.size)
