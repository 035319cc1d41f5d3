"""The look-ups of one connection, each with the objects that answered it, at which versions, and since when.

The invariant: ids come from `attribution.attribute`, so what is said here is what any flow is given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import polars as pl

from ..attribution.flows import attribute
from ..attribution.lookups import lookups_of
from ..attribution.names import with_structs
from ..attribution.route_lookups import route_lookups_of
from ..inventory.addresses import Address, halves_of, text_of
from ..inventory.istio_models import DestinationRule, service_of
from ..inventory.models import Pod, namespace_of
from ..inventory.owners import controller_of
from ..inventory.slice_models import EndpointSlice
from ..inventory.snapshot import Snapshot
from .evidence import Evidence, Used, latest, used

BY_BACKEND: Final = frozenset({"backend", "headless"})
"""Values of `via` where the address dialled is the backend's own."""


@dataclass(frozen=True, slots=True)
class Dialled:
    """A connection as a person names it, addresses worked out."""

    src_ip: str
    dst_ip: str
    port: int
    protocol: int
    at: int
    """When it began, in ns since the epoch."""
    server_name: str = ""
    """The host that its first request or ClientHello asked for; "" where that is not known."""
    path: str = ""


@dataclass(frozen=True, slots=True)
class LookUp:
    """One thing that was looked up, the answer, and the objects that it rests on."""

    asked: str
    answer: str
    objects: Sequence[Used] = ()
    since: str = ""
    """Since when the answer holds, RFC 3339; "" where that is longer than is known."""


class LookUps:
    """Looks up the parts of one connection in one snapshot."""

    def __init__(self, snapshot: Snapshot, evidence: Evidence, dialled: Dialled) -> None:
        self._snapshot = snapshot
        self._evidence = evidence
        self._dialled = dialled

    def attributed(self, backends: Sequence[tuple[str, int]]) -> list[dict[str, Any]]:
        """One row a backend: the connection as if that one had answered."""
        size = len(backends)
        ends = {
            "src": [self._dialled.src_ip] * size,
            "nat_src": [self._dialled.src_ip] * size,
            "dst": [self._dialled.dst_ip] * size,
            "backend": [ip for ip, _ in backends],
        }
        rows = pl.DataFrame(
            [
                pl.Series("node", [None] * size, dtype=pl.Categorical),
                *(
                    halves_of(pl.Series(ips))[half].alias(f"{end}_{half}")
                    for end, ips in ends.items()
                    for half in ("hi", "lo")
                ),
                pl.Series("dst_port", [self._dialled.port] * size, dtype=pl.UInt16),
                pl.Series("backend_port", [port for _, port in backends], dtype=pl.UInt16),
                pl.Series("start", [self._dialled.at] * size, dtype=pl.Int64),
                pl.Series("protocol", [self._dialled.protocol] * size, dtype=pl.UInt8),
                pl.Series("server_name", [self._dialled.server_name] * size, dtype=pl.String),
                pl.Series("path", [self._dialled.path] * size, dtype=pl.String),
            ]
        )
        attributed = attribute(rows, self._snapshot)
        return with_structs(attributed.lazy(), self._snapshot).collect().to_dicts()

    def service_ids(self, row: Mapping[str, Any]) -> list[int]:
        """The Service ports that may have been dialled: one, several where that is ambiguous, or none."""
        if row["service_set"] is not None:
            return list(lookups_of(self._snapshot).service_sets[row["service_set"]])
        return [] if row["service_id"] is None else [row["service_id"]]

    def backends(self, services: Sequence[int]) -> list[tuple[str, int]]:
        """Address and port of those that answer for the Service ports and are ready."""
        held = self._backends(services)
        return list(zip(text_of(held["addr_hi"], held["addr_lo"]).to_list(), held["port"].to_list(), strict=True))

    def services(self, row: Mapping[str, Any]) -> list[LookUp]:
        """What was dialled, and through which slices it leads where."""
        asked = f"dialled {self._dialled.dst_ip}, port {self._dialled.port}"
        if row["service_candidates"]:
            names = ", ".join(f"{item['namespace']}/{item['name']}" for item in row["service_candidates"])
            candidates = [
                each
                for item in row["service_candidates"]
                for each in self._evidence.find("Service", item["namespace"], item["name"])
            ]
            return [LookUp(asked, f"ambiguous: {names}", candidates)]
        if row["service_id"] is None:
            is_service = row["destination"]["kind"] == "Service"
            answer = (
                "the address of a Service, at a port that it does not have" if is_service else "no Service's address"
            )
            return [LookUp(asked, answer, self._subject(row["dst_id"]) if is_service else ())]
        service = self._snapshot.services.row(row["service_id"], named=True)
        name = f"{service['service_namespace']}/{service['service']}"
        how = str(row["via"]).replace("_", " ")
        if how == "headless":
            how = "endpoint, for it is headless"
        answer = f"Service {name} ({service['service_type']}), port {service['service_port']}, by its {how}"
        found = [LookUp(asked, answer, self._subject(service["endpoint_id"]), latest(self._dials(row)))]
        if row["via"] not in BY_BACKEND:
            found.append(self._behind(name, service, row["service_id"]))
        return found

    def end(self, which: str, ip: str, endpoint_id: int) -> LookUp:
        """Who held an address."""
        row = self._snapshot.endpoints.row(endpoint_id, named=True)
        asked = f"{which} {ip}"
        if row["kind"] == "Unknown":
            return LookUp(asked, "an address of the cluster that nothing held then, or that two claim")
        if row["kind"] == "External":
            return LookUp(asked, f"beyond the cluster: {row['name']}")
        name = f"{row['namespace']}/{row['name']}" if row["namespace"] else row["name"]
        answer = f"{row['kind']} {name}"
        if row["kind"] == "Pod" and row["workload_kind"] != "Pod":
            answer += f", of {row['workload_kind']} {row['workload']}"
        if row["kind"] == "Pod" and row["node"]:
            answer += f", on Node {row['node']}"
        address = address_of(ip)
        is_there = (pl.col("addr_hi") == address.hi) & (pl.col("addr_lo") == address.lo)
        held = self._now(self._snapshot.addresses.filter(is_there))
        return LookUp(asked, answer, [*self._subject(endpoint_id), *self._owner(endpoint_id)], latest(held))

    def layers(self, row: Mapping[str, Any]) -> list[LookUp]:
        """The route and the mesh that the connection belongs to."""
        found = []
        if self._dialled.server_name:
            asked = f"{self._dialled.server_name}{self._dialled.path}"
            narrowed = {
                "head": ", which tells the route among several",
                "ambiguous_route": ", which leaves several routes",
            }
            found.append(LookUp("head", asked + narrowed.get(row["reason"], "")))
        if row.get("ingress_candidates"):
            candidates = row["ingress_candidates"]
            named = dict.fromkeys((each["kind"], each["namespace"], each["name"]) for each in candidates)
            objects = [each for name in named for each in self._evidence.find(*name)]
            found.append(LookUp("ingress", f"ambiguous: {'; '.join(map(_written, candidates))}", objects))
        if row.get("ingress"):
            route = route_lookups_of(self._snapshot).frame[row["route_id"]]
            entrance = route["entrance"][0].split("/")
            named = dict.fromkeys(((row["ingress"]["kind"], row["ingress"]["namespace"], row["ingress"]["name"]),))
            if len(entrance) == 3:
                named[entrance[0], entrance[1], entrance[2]] = None
            objects = [each for name in named for each in self._evidence.find(*name)]
            found.append(LookUp("ingress", _written(row["ingress"]), objects, latest(route)))
        if row.get("mesh"):
            found.append(LookUp("mesh", _written(row["mesh"]), self._rules(row)))
        return found

    def _behind(self, name: str, service: Mapping[str, Any], service_id: int) -> LookUp:
        slices = [
            used(item)
            for item in self._evidence.objects
            if isinstance(item, EndpointSlice)
            and (namespace_of(item), item.service) == (service["service_namespace"], service["service"])
        ]
        named = ", ".join(f"{ip}:{port}" for ip, port in self.backends([service_id])) or "none that is ready"
        told = "by its EndpointSlices" if slices else "by its selector, for there are no EndpointSlices"
        return LookUp(f"backends of Service {name}", f"{told}: {named}", slices, latest(self._backends([service_id])))

    def _backends(self, services: Sequence[int]) -> pl.DataFrame:
        held = self._now(self._snapshot.backends.filter(pl.col("service_id").is_in(services), "is_ready"))
        return held.sort("addr_hi", "addr_lo", "port")

    def _dials(self, row: Mapping[str, Any]) -> pl.DataFrame:
        """The facts by which the Service is dialled at the address, or at the port of any node."""
        address = address_of(self._dialled.dst_ip)
        is_port = (pl.col("service_id") == row["service_id"]) & (pl.col("port") == self._dialled.port)
        is_there = (pl.col("addr_hi") == address.hi) & (pl.col("addr_lo") == address.lo)
        name = {"node_port": "node_ports", **dict.fromkeys(BY_BACKEND, "backends")}.get(str(row["via"]), "dialled")
        frame = self._now(getattr(self._snapshot, name).filter(is_port))
        return frame if name == "node_ports" else frame.filter(is_there)

    def _now(self, spans: pl.DataFrame) -> pl.DataFrame:
        return spans.filter(pl.col("since") <= self._dialled.at, self._dialled.at < pl.col("until"))

    def _subject(self, endpoint_id: int) -> list[Used]:
        """The object of an endpoint, as the snapshot has it."""
        subjects = self._snapshot.subjects
        subject = subjects[endpoint_id] if endpoint_id < len(subjects) else None
        return [] if subject is None else [used(subject)]

    def _owner(self, endpoint_id: int) -> list[Used]:
        """What stands between a pod and its workload."""
        subjects = self._snapshot.subjects
        pod = subjects[endpoint_id] if endpoint_id < len(subjects) else None
        if not isinstance(pod, Pod):
            return []
        owner = controller_of(pod.metadata)
        if owner is None or owner.kind not in {"ReplicaSet", "Job"}:
            return []
        return self._evidence.find(owner.kind, namespace_of(pod), owner.name)

    def _rules(self, row: Mapping[str, Any]) -> list[Used]:
        """The DestinationRules that name the subset."""
        service = row["service"] and (row["service"]["namespace"], row["service"]["name"])
        return [
            used(item)
            for item in self._evidence.objects
            if isinstance(item, DestinationRule)
            and service_of(item.spec.host, namespace_of(item)) == service
            and any(subset.name == row["mesh"]["subset"] for subset in item.spec.subsets or ())
        ]


def address_of(ip: str) -> Address:
    """The address in a text."""
    halves = halves_of(pl.Series([ip]))
    return Address(halves["hi"][0], halves["lo"][0])


def _written(value: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {item}" for key, item in value.items() if item is not None)
