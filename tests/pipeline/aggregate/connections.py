"""Connections to a small cluster of Services, attributed, for tests of what is computed from them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from pipeline.aggregate.samples import Samples
from pipeline.attribution import attribute
from pipeline.inventory.addresses import parse
from pipeline.inventory.models import convert
from pipeline.inventory.snapshot import Snapshot, build
from tests.pipeline.small_cluster import node, pod, service

SECOND = 10**9
NOW = 1_800_000_000 * SECOND
CLIENTS = ("10.0.1.5", "10.0.2.5")
WEB = ("10.0.1.6", "10.0.2.6", "10.0.2.8")
SOLO = "10.0.2.9"
DATABASE = "10.0.2.7"
VIPS = {"web": "10.96.0.5", "sticky": "10.96.0.6", "empty": "10.96.0.7", "database": "10.96.0.8", "solo": "10.96.0.9"}


def labelled(body: dict[str, Any], app: str) -> dict[str, Any]:
    return {**body, "metadata": {**body["metadata"], "labels": {"app": app}}}


def services_cluster(*more: dict[str, Any]) -> Snapshot:
    """`web` and `sticky` (ClientIP, 60 s) share three pods, `solo` has one, `empty` none; `database` has an address and
    `peers` none, over one pod."""
    objects = [
        node("node-a", "192.0.2.10", "10.0.1.0/24"),
        node("node-b", "192.0.2.11", "10.0.2.0/24"),
        pod("client-a", "node-a", CLIENTS[0]),
        pod("client-b", "node-b", CLIENTS[1]),
        *(labelled(pod(f"web-{ip}", "node-a" if ip[5] == "1" else "node-b", ip), "web") for ip in WEB),
        labelled(pod("solo", "node-b", SOLO), "solo"),
        labelled(pod("database-0", "node-b", DATABASE), "database"),
        service("web", VIPS["web"], 80, selector={"app": "web"}, ports=[{"port": 80, "targetPort": 8080}]),
        service(
            "sticky",
            VIPS["sticky"],
            80,
            selector={"app": "web"},
            ports=[{"port": 80, "targetPort": 8080}],
            sessionAffinity="ClientIP",
            sessionAffinityConfig={"clientIP": {"timeoutSeconds": 60}},
        ),
        service("empty", VIPS["empty"], 80, selector={"app": "nobody"}),
        service("solo", VIPS["solo"], 80, selector={"app": "solo"}),
        service("database", VIPS["database"], 5432, selector={"app": "database"}),
        service("peers", "None", 5432, selector={"app": "database"}),
        *more,
    ]
    return build([convert(body["apiVersion"], body["kind"], body) for body in objects])


@dataclass(frozen=True)
class Call:
    """One connection that was opened; to a Service where `service` is given, straight to the backend otherwise."""

    backend: str
    service: str = ""
    at: float = 0.0
    """Seconds after NOW."""
    src: str = CLIENTS[0]
    port: int = 80
    backend_port: int = 8080
    node: str = "node-a"
    opened: int = 1


def attributed(calls: Iterable[Call], snapshot: Snapshot) -> pl.DataFrame:
    """The rows of connections as attribution leaves them."""
    rows = []
    for call in calls:
        dialled = VIPS.get(call.service, call.backend)
        ends = {"src": call.src, "nat_src": call.src, "dst": dialled, "backend": call.backend}
        halves = {
            f"{end}_{half}": value
            for end, ip in ends.items()
            for half, value in zip(("hi", "lo"), parse(ip), strict=True)
        }
        rows.append(
            {
                "node": call.node,
                "start": NOW + int(call.at * SECOND),
                **halves,
                "dst_port": call.port if call.service else call.backend_port,
                "backend_port": call.backend_port,
                "protocol": 6,
                "opened": call.opened,
            }
        )
    schema = {
        "node": pl.Categorical,
        "start": pl.Int64,
        **{f"{end}_{half}": pl.UInt64 for end in ("src", "nat_src", "dst", "backend") for half in ("hi", "lo")},
        "dst_port": pl.UInt16,
        "backend_port": pl.UInt16,
        "protocol": pl.UInt8,
        "opened": pl.UInt8,
    }
    return attribute(pl.DataFrame(rows, schema=schema), snapshot)


def with_span(snapshot: Snapshot, ip: str, since: float, until: float) -> Snapshot:
    """The same cluster, where an address answers from and to so many seconds after NOW only."""
    hi, lo = parse(ip)
    is_it = (pl.col("addr_hi") == hi) & (pl.col("addr_lo") == lo)
    span = {"since": NOW + int(since * SECOND), "until": NOW + int(until * SECOND)}
    changed = [pl.when(is_it).then(pl.lit(at)).otherwise(name).alias(name) for name, at in span.items()]
    return replace(snapshot, backends=snapshot.backends.with_columns(changed))


def exposed(samples: Iterable[Samples], metric: str) -> dict[tuple[str, ...], float]:
    """Values by labels of one metric among samples."""
    (told,) = [one for one in samples if one.metric.name == metric]
    keys = told.labels.rows()
    assert len(set(keys)) == len(keys), "a series is there twice"
    return dict(zip(keys, told.values.to_list(), strict=True))
