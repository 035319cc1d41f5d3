"""A cluster told change by change, in seconds since its beginning, and what its snapshots say as of an instant."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import polars as pl

from pipeline.inventory.addresses import parse
from pipeline.inventory.endpoints import UNKNOWN
from pipeline.inventory.history import History
from pipeline.inventory.models import Resource, convert
from pipeline.inventory.snapshot import Snapshot
from pipeline.inventory.spans import END

SECOND = 1_000_000_000
BEGAN = 1_772_366_400 * SECOND
"""2026-03-01 12:00:00 UTC, second 0 of these tests."""


def at(seconds: float) -> int:
    """The instant that is so many seconds after the beginning."""
    return BEGAN + round(seconds * SECOND)


def stamp(seconds: float) -> str:
    """The instant as objects write it: in whole seconds."""
    return datetime.fromtimestamp(at(seconds) // SECOND, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def made(api_version: str, kind: str, name: str, created: float = -3600, **more: Any) -> Resource:
    """Any object; `metadata` adds to the metadata, other keywords are the object's other parts."""
    metadata = {"name": name, "uid": f"{name}-1", "creationTimestamp": stamp(created), **more.pop("metadata", {})}
    return convert(api_version, kind, {"apiVersion": api_version, "kind": kind, "metadata": metadata, **more})


def pod(
    name: str,
    ip: str = "",
    *,
    created: float = -3600,
    uid: str = "",
    phase: str = "Running",
    leaving: bool = False,
    finished: float | None = None,
    labels: dict[str, str] | None = None,
    owner: tuple[str, str] | None = None,
    on: str = "node-a",
    host_network: bool = False,
    host_ip: str = "",
    port: int = 0,
) -> Resource:
    metadata: dict[str, Any] = {"namespace": "shop", "labels": labels or {}, "uid": uid or f"{name}-1"}
    if leaving:
        metadata["deletionTimestamp"] = stamp(0)
    if owner:
        metadata["ownerReferences"] = [{"kind": owner[0], "name": owner[1], "controller": True}]
    ended = [] if finished is None else [{"state": {"terminated": {"finishedAt": stamp(finished)}}}]
    status = {"phase": phase, "podIP": ip, "containerStatuses": ended} if ip else {"phase": "Pending"}
    status |= {"hostIP": host_ip} if host_ip else {}
    ports = [{"ports": [{"containerPort": port}]}] if port else []
    spec = {"nodeName": on, "hostNetwork": host_network, "containers": ports}
    return made("v1", "Pod", name, created, metadata=metadata, spec=spec, status=status)


def node(name: str, ip: str, zone: str = "", created: float = -7200, labels: dict[str, str] | None = None) -> Resource:
    labels = {**(labels or {}), **({"topology.kubernetes.io/zone": zone} if zone else {})}
    status = {"addresses": [{"type": "InternalIP", "address": ip}]}
    return made("v1", "Node", name, created, metadata={"labels": labels}, status=status)


def service(name: str, ip: str, port: int = 80, created: float = -3600, uid: str = "", **spec: Any) -> Resource:
    spec = {"clusterIP": ip, "clusterIPs": [ip], "ports": [{"port": port}], **spec}
    return made("v1", "Service", name, created, metadata={"namespace": "shop", "uid": uid or f"{name}-1"}, spec=spec)


def slices(service: str, *ips: str, port: int = 8080, name: str = "") -> Resource:
    """The EndpointSlice of a Service with one port."""
    return made(
        "discovery.k8s.io/v1",
        "EndpointSlice",
        name or f"{service}-x",
        metadata={"namespace": "shop", "labels": {"kubernetes.io/service-name": service}},
        endpoints=[{"addresses": [ip], "conditions": {"ready": True}} for ip in ips],
        ports=[{"name": "", "port": port, "protocol": "TCP"}],
    )


class Told:
    """A history and short words for telling it."""

    def __init__(self, *first: Resource, listed: float = 0, keep_s: float = 900) -> None:
        self.history = History(keep_s=keep_s)
        self.relist(listed, *first)

    def relist(self, seconds: float, *objects: Resource) -> None:
        """An epoch that begins with these objects."""
        self.history.begin()
        self.put(seconds, *objects)
        self.history.synced(at(seconds))

    def put(self, seconds: float, *objects: Resource) -> None:
        for item in objects:
            self.history.put(at(seconds), item)

    def delete(self, seconds: float, kind: str, name: str, *, watched: bool = True) -> None:
        """The object is gone, now, or at any time since the last mark where nobody `watched`."""
        if watched:
            self.history.mark(at(seconds))
        versions = {"EndpointSlice": "discovery.k8s.io/v1", "ReplicaSet": "apps/v1", "Job": "batch/v1"}
        namespace = "" if kind == "Node" else "shop"
        self.history.delete(at(seconds), versions.get(kind, "v1"), kind, namespace, name)

    def holder(self, ip: str, seconds: float) -> str:
        """Name of who held an address; "" where nobody did."""
        return holder(self.history.snapshot(), ip, at(seconds))

    def spans(self, ip: str) -> list[tuple[str, float, float]]:
        """Name of the holder, since when and until when, in seconds; whatever is beyond a day is infinite."""
        snapshot = self.history.snapshot()
        hi, lo = parse(ip)
        rows = snapshot.addresses.filter((pl.col("addr_hi") == hi) & (pl.col("addr_lo") == lo)).sort("since")
        return [
            (snapshot.endpoints["name"][row["endpoint_id"]], seconds(row["since"]), seconds(row["until"]))
            for row in rows.iter_rows(named=True)
        ]


def seconds(time_ns: int) -> float:
    """An instant in seconds since the beginning."""
    value = (time_ns - BEGAN) / SECOND
    return value if abs(value) < 86_400 else value * float("inf")


def holder(snapshot: Snapshot, ip: str, time_ns: int) -> str:
    """Name of who held an address at an instant, `unknown` for two; "" where nobody did."""
    hi, lo = parse(ip)
    found = snapshot.addresses.filter(
        (pl.col("addr_hi") == hi)
        & (pl.col("addr_lo") == lo)
        & (pl.col("since") <= time_ns)
        & (pl.col("until") > time_ns)
    )["endpoint_id"].to_list()
    assert len(found) <= 1, "an address has one holder at a time"
    if not found:
        return ""
    return "unknown" if found[0] == UNKNOWN else str(snapshot.endpoints["name"][found[0]])


def described(snapshot: Snapshot, *, only_open: bool = False) -> dict[str, list[tuple[object, ...]]]:
    """The frames that hold ids, with names in place of them; all rows, or those that hold still."""
    frames = {
        "addresses": snapshot.addresses,
        "listeners": snapshot.listeners,
        "dialled": snapshot.dialled,
        "node_ports": snapshot.node_ports,
        "backends": snapshot.backends,
    }
    ends = snapshot.endpoints.select("id", "kind", "name", "workload", "zone", "uid")
    services = snapshot.services.select("service_id", "service", "service_port")
    found = {}
    for name, every in frames.items():
        frame = every.filter(pl.col("until") == END) if only_open else every
        if "endpoint_id" in frame.columns:
            frame = frame.join(ends, left_on="endpoint_id", right_on="id").drop("endpoint_id")
        if "service_id" in frame.columns:
            frame = frame.join(services, on="service_id").drop("service_id")
        found[name] = sorted(frame.rows())
    return found
