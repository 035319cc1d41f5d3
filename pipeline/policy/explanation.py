"""One connection explained: every look-up with the objects that answered it, then the policies of each backend.

A Service that was dialled may be answered by any of its backends, so each is explained; none is taken for the others.
The invariant: ids come from `attribution.attribute` and verdicts agree with `Policies.judge`, as for any flow.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import polars as pl

from ..attribution.flows import attribute
from ..attribution.lookups import lookups_of
from ..attribution.names import with_structs
from ..attribution.policies import Policies
from ..inventory.addresses import Address, halves_of, text_of
from ..inventory.models import EndpointSlice, Resource, namespace_of
from ..inventory.snapshot import Snapshot
from ..inventory.spans import BEGINNING
from .parties import namespaces_of, party_of
from .walk import Question, SideWalk, asked_for, walk

_OBJECT: Final = ("kind", "namespace", "name", "uid")
_LAYERS: Final = ("ingress", "mesh")


@dataclass(frozen=True, slots=True)
class Dialled:
    """A connection as a person names it, addresses worked out."""

    src_ip: str
    dst_ip: str
    port: int
    protocol: int
    at: int
    """When it began, in ns since the epoch."""


@dataclass(frozen=True, slots=True)
class LookUp:
    """One thing that was looked up, the answer, and the objects that it rests on: kind, namespace, name, uid."""

    asked: str
    answer: str
    objects: Sequence[Mapping[str, str]] = ()


@dataclass(frozen=True, slots=True)
class Judged:
    """What the policies say of one backend."""

    connection: str
    verdict: str
    egress: SideWalk
    ingress: SideWalk
    alike: Sequence[str] = ()
    """Other backends of which the same holds, word for word."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """The whole of it."""

    look_ups: Sequence[LookUp]
    backends: Sequence[Judged]
    verdict: str
    """`allowed` or `denied` where all backends agree, `depends on the backend` where not, `no verdict` without one."""


def explain(objects: Sequence[Resource], snapshot: Snapshot, policies: Policies, dialled: Dialled) -> Explanation:
    """Explain a connection under the policies compiled for the snapshot."""
    first = _attributed(snapshot, dialled, [(dialled.dst_ip, dialled.port)])
    (row,) = first.to_dicts()
    look_ups = [
        _end(snapshot, "source", dialled.src_ip, row["src_id"], dialled.at),
        *_services(snapshot, objects, row, dialled),
    ]
    services = _service_ids(snapshot, row)
    redirects = services if row["via"] != "backend" else []
    if redirects:
        answering = _backends(snapshot, redirects, dialled.at)
    elif row["destination"]["kind"] == "Service":
        answering = []  # the Service's address, at a port that it has not
    else:
        answering = [(dialled.dst_ip, dialled.port)]
    if not answering:
        look_ups.append(LookUp("backend", "nobody answers there, so no policy has anything to say"))
        return Explanation(look_ups, (), "no verdict")
    found = _attributed(snapshot, dialled, answering).to_dicts()
    look_ups += [
        _end(snapshot, "backend" if redirects else "destination", ip, backend["dst_id"], dialled.at)
        for (ip, _), backend in zip(answering, found, strict=True)
    ]
    look_ups += [LookUp(layer, _written(row[layer])) for layer in _LAYERS if row.get(layer)]
    look_ups.append(LookUp("certainty", ", ".join(str(row[key]) for key in ("attribution", "reason") if row[key])))
    namespaces = namespaces_of(objects)
    judged: list[Judged] = []
    for (ip, port), backend in zip(answering, found, strict=True):
        source = party_of(snapshot, backend["src_id"], _address(dialled.src_ip), namespaces)
        destination = party_of(snapshot, backend["dst_id"], _address(ip), namespaces)
        question = Question(source, destination, dialled.protocol, port)
        sides = walk(policies, "egress", question), walk(policies, "ingress", question)
        verdict = "denied" if any(side.verdict == "denied" for side in sides) else "allowed"
        _add(judged, Judged(asked_for(question), verdict, *sides))
    verdicts = {item.verdict for item in judged}
    return Explanation(look_ups, judged, verdicts.pop() if len(verdicts) == 1 else "depends on the backend")


def _add(judged: list[Judged], new: Judged) -> None:
    """Add an answer, or only the name of its connection to one that says the same."""
    for place, known in enumerate(judged):
        if _said(known) == _said(new):
            judged[place] = Judged(
                known.connection, known.verdict, known.egress, known.ingress, (*known.alike, new.connection)
            )
            return
    judged.append(new)


def _said(judged: Judged) -> tuple[object, ...]:
    """What is said but for the names of the ends."""
    return tuple(
        (side.verdict, side.why, [(s.kind, s.namespace, s.name, s.effect, s.rule, _marks(s.rules)) for s in side.steps])
        for side in (judged.egress, judged.ingress)
    )


def _marks(rules: Iterable[Any]) -> list[tuple[bool, bool]]:
    return [(rule.peer.met, rule.port.met) for rule in rules]


def _attributed(snapshot: Snapshot, dialled: Dialled, backends: Sequence[tuple[str, int]]) -> pl.DataFrame:
    """One row a backend: the connection as if that one had answered."""
    size = len(backends)
    ends = {
        "src": [dialled.src_ip] * size,
        "nat_src": [dialled.src_ip] * size,
        "dst": [dialled.dst_ip] * size,
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
            pl.Series("dst_port", [dialled.port] * size, dtype=pl.UInt16),
            pl.Series("backend_port", [port for _, port in backends], dtype=pl.UInt16),
            pl.Series("start", [dialled.at] * size, dtype=pl.Int64),
            pl.Series("protocol", [dialled.protocol] * size, dtype=pl.UInt8),
        ]
    )
    attributed = attribute(rows.lazy(), snapshot)
    return with_structs(attributed, snapshot).collect()


def _service_ids(snapshot: Snapshot, row: Mapping[str, Any]) -> list[int]:
    """The Service ports that may have been dialled: one, several where that is ambiguous, or none."""
    if row["service_set"] is not None:
        return list(lookups_of(snapshot).service_sets[row["service_set"]])
    return [] if row["service_id"] is None else [row["service_id"]]


def _backends(snapshot: Snapshot, services: Sequence[int], at: int) -> list[tuple[str, int]]:
    held = snapshot.backends.filter(
        pl.col("service_id").is_in(services), pl.col("since") <= at, at < pl.col("until"), "is_ready"
    ).sort("addr_hi", "addr_lo", "port")
    return list(zip(text_of(held["addr_hi"], held["addr_lo"]).to_list(), held["port"].to_list(), strict=True))


def _services(
    snapshot: Snapshot, objects: Sequence[Resource], row: Mapping[str, Any], dialled: Dialled
) -> list[LookUp]:
    """What was dialled, and through which slices it leads where."""
    asked = f"dialled {dialled.dst_ip}, port {dialled.port}"
    if row["service_candidates"]:
        names = ", ".join(f"{item['namespace']}/{item['name']}" for item in row["service_candidates"])
        return [LookUp(asked, f"ambiguous: {names}")]
    if row["service_id"] is None:
        is_service = row["destination"]["kind"] == "Service"
        answer = "the address of a Service, at a port that it does not have" if is_service else "no Service's address"
        return [LookUp(asked, answer, _objects(snapshot, row["dst_id"]) if is_service else ())]
    service = snapshot.services.row(row["service_id"], named=True)
    name = f"{service['service_namespace']}/{service['service']}"
    how = str(row["via"]).replace("_", " ")
    answer = f"Service {name} ({service['service_type']}), port {service['service_port']}, by its {how}"
    slices = [
        {"kind": item.kind, "namespace": namespace_of(item), "name": item.metadata.name, "uid": item.metadata.uid or ""}
        for item in objects
        if isinstance(item, EndpointSlice)
        and (namespace_of(item), item.service) == (service["service_namespace"], service["service"])
    ]
    found = [LookUp(asked, answer, _objects(snapshot, service["endpoint_id"]))]
    if row["via"] != "backend":
        backends = _backends(snapshot, [row["service_id"]], dialled.at)
        named = ", ".join(f"{ip}:{port}" for ip, port in backends) or "none that is ready"
        told = "by its EndpointSlices" if slices else "by its selector, for there are no EndpointSlices"
        found.append(LookUp(f"backends of Service {name}", f"{told}: {named}", slices))
    return found


def _end(snapshot: Snapshot, which: str, ip: str, endpoint_id: int, at: int) -> LookUp:
    """Who held an address."""
    row = snapshot.endpoints.row(endpoint_id, named=True)
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
    return LookUp(asked, answer + _since(snapshot, ip, at), _objects(snapshot, endpoint_id))


def _since(snapshot: Snapshot, ip: str, at: int) -> str:
    address = _address(ip)
    held = snapshot.addresses.filter(
        pl.col("addr_hi") == address.hi, pl.col("addr_lo") == address.lo, pl.col("since") <= at, at < pl.col("until")
    )
    since = held["since"].max() if held.height else BEGINNING
    if not isinstance(since, int) or since == BEGINNING:
        return ""
    return f", which has it since {datetime.fromtimestamp(since / 1e9, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _objects(snapshot: Snapshot, endpoint_id: int) -> list[dict[str, str]]:
    row = snapshot.endpoints.row(endpoint_id, named=True)
    return [{key: str(row[key]) for key in _OBJECT}]


def _written(value: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {item}" for key, item in value.items() if item is not None)


def _address(ip: str) -> Address:
    halves = halves_of(pl.Series([ip]))
    return Address(halves["hi"][0], halves["lo"][0])
