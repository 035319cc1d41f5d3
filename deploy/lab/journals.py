"""The ground truth: what the generators and the servers say about every connection, put together.

Nothing here comes from the kernel's tables. A client's own row is the connection; where nobody told it who answered (a
sink, a reset, a probe, DNS), the backend's journal does, by the client's address and port. The connections that nginx
opens are those that its upstreams say they accepted from it.

A row has `id`, `scenario`, `client` ({namespace, pod} or {name}), `src_ip`, `src_port`, `dst_ip`, `dst_port` (as
dialled), `protocol` (6 or 17), `service` ({namespace, name, port, port_name} whose address was dialled, or null),
`backend` ({namespace, pod, ip, port}, {name, ip, port} outside the cluster, or null), `sent_bytes` and `received_bytes`
(payload as written to and read from the socket), `sent_again_bytes` and `received_again_bytes` (payload that TCP had to
send again, by the sender's own TCP_INFO; null where the sender is nginx, or hidden behind masquerade), `outcome`
(`closed`, `reset`, `refused`, `no_reply`), `opened_ns`, `closed_ns`, `denied_by` (NAMESPACE/POLICY or null), `tracked`
(see `misbehaviour`), `asked` (the name looked up, or null), `mesh` ({namespace, host, subset} where the client chose
it, or null), and `answer` on lookups. A client's own row has `connected_us`, how long its call to connect took, null
where it failed, and `head` ([protocol, server name, method, path] of what it said first, null where that was neither
TLS nor HTTP). An ingress's leg has `route` too: {namespace, name, host, path} of the rule that the request matched,
by what the backend was asked for.

What a sidecar takes from its own pod never leaves it and is not in the truth. In its place are the connections that the
sidecar opened, as the sidecars at the other end wrote them; their `mesh` has `mode` too.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from .files import Files
from .objects import Cluster, Pod

Row = dict[str, Any]
Peer = tuple[str, int]

CAPTURED: Final = "captured"
"""The scenario of connections that a sidecar takes."""

DNS_QUERY: Final = re.compile(r"dnsmasq\[\d+\]: \d+ (\S+)/(\d+) query\[A(?:AAA)?\] (\S+) from ")
SETTLE_S: Final = 0.2
SETTLE_LIMIT_S: Final = 60.0


class UnsettledError(RuntimeError):
    """A server still has open connections although all clients are done."""


def wait_settled(files: Files) -> None:
    """Wait until every connection that a server accepted has ended in its journal, twice in a row."""
    deadline = time.monotonic() + SETTLE_LIMIT_S
    calm = 0
    while calm < 2:
        time.sleep(SETTLE_S)
        events = [entry["event"] for path in files.journals() for entry in _read(path)]
        taken = [row for path in files.clients() for row in _read(path) if row["scenario"] == CAPTURED]
        is_calm = events.count("accepted") == events.count("ended") and len(taken) <= sum(1 for _ in _told(files))
        calm = calm + 1 if is_calm else 0
        if time.monotonic() > deadline:
            raise UnsettledError(f"{events.count('accepted') - events.count('ended')} connections are still open")


def collect(cluster: Cluster, files: Files) -> list[Row]:
    """All connections of all runs so far, in the order they began."""
    accepted: dict[Peer, list[Row]] = {}
    datagrams: dict[Peer, Row] = {}
    for path in files.journals():
        pod = cluster.pods.get(tuple(path.stem.split("_", 1)))  # type: ignore[arg-type]  # a miss is what get is for
        for entry in _read(path):
            if entry["event"] == "ended":
                entry["backend"] = _word(pod, path.stem, *entry["local"])
                accepted.setdefault(tuple(entry["peer"]), []).append(entry)
            elif entry["event"] == "datagram":
                assert pod is not None
                datagrams[tuple(entry["peer"])] = _word(pod, path.stem, pod.address, entry["port"])
    questions = dict(_questions(cluster, files))
    rows = [row for path in files.clients() for row in _read(path)]
    for row in rows:
        peer = row["src_ip"], row["src_port"]
        served = next((e for e in accepted.get(peer, ()) if row["protocol"] == 6 and _within(e, row)), None)
        if row["protocol"] == 6 and row["received_bytes"]:
            row["received_again_bytes"] = served["sent_again_bytes"] if served else None
        if row["backend"] is None and row["protocol"] == 6:
            row["backend"] = served["backend"] if served else None
        elif row["backend"] is None and row["dst_port"] == 53:
            row["backend"] = questions.get((*peer, row["asked"]))
        elif row["backend"] is None:
            row["backend"] = datagrams.get(peer)
    seen = [row for row in rows if row["scenario"] != CAPTURED]
    return sorted(
        [*seen, *_legs(cluster, accepted), *_sidecar_legs(cluster, files)], key=lambda row: int(row["opened_ns"])
    )


def _legs(cluster: Cluster, accepted: dict[Peer, list[Row]]) -> Iterator[Row]:
    """The connections from the ingress controller to its upstreams, from the upstreams' journals."""
    endpoints = {
        endpoint: (service, route.port)
        for route in cluster.routes
        for service in (cluster.services[route.service],)
        for endpoint in service.port(route.port).endpoints
    }
    controllers = {pod.address: pod for pod in cluster.pods.values() if pod.image.endswith("/ingress-nginx")}
    for (address, source_port), entries in accepted.items():
        if controller := controllers.get(address):
            for entry in entries:
                service, port = endpoints[tuple(entry["local"])]
                yield {
                    "id": f"leg-{entry['opened_ns']}-{source_port}",
                    "scenario": "ingress-leg",
                    "client": {"namespace": controller.namespace, "pod": controller.name},
                    "src_ip": address,
                    "src_port": source_port,
                    "dst_ip": service.cluster_ip,
                    "dst_port": port,
                    "protocol": 6,
                    "service": service.reference(port),
                    "backend": entry["backend"],
                    "sent_bytes": entry["received_bytes"],
                    "received_bytes": entry["sent_bytes"],
                    "sent_again_bytes": None,
                    "received_again_bytes": entry["sent_again_bytes"],
                    "outcome": entry["outcome"],
                    "opened_ns": entry["opened_ns"],
                    "closed_ns": entry["closed_ns"],
                    "denied_by": None,
                    "tracked": True,
                    "asked": None,
                    "mesh": None,
                    "route": _route(cluster, entry["asked"], (service.namespace, service.name)),
                }


def _route(cluster: Cluster, asked: Row, service: tuple[str, str]) -> Row:
    """The rule with the longest path that a request matches, as nginx chooses a location."""
    fitting = [
        route
        for route in cluster.routes
        if route.host == asked["host"] and asked["path"].startswith(route.path) and route.service == service
    ]
    route = max(fitting, key=lambda route: len(route.path))
    namespace, name = route.ingress
    return {"namespace": namespace, "name": name, "host": route.host, "path": route.path}


def _told(files: Files) -> Iterator[tuple[Path, Row]]:
    return ((path, row) for path in files.sidecars() for row in _read(path))


def _sidecar_legs(cluster: Cluster, files: Files) -> Iterator[Row]:
    """The connections between sidecars, from the logs of those that took them."""
    senders = {pod.address: pod for pod in cluster.pods.values() if pod.has_sidecar}
    for path, told in _told(files):
        address, source_port = told["peer"]
        namespace, _, name = path.stem.partition("_")
        client, server = senders.get(address), cluster.pods[namespace, name]
        if client is None:
            continue
        (_, port), *_ = server.ports
        endpoint = (server.address, port)
        (route,) = (
            route for route in cluster.mesh_routes if any(endpoint in share.endpoints for share in route.shares)
        )
        (share,) = (share for share in route.shares if endpoint in share.endpoints)
        closed_ns = round(told["closed_s"] * 1e9)
        service = cluster.services[route.service]
        (dialled,) = (item.port for item in service.ports if endpoint in item.endpoints)
        yield {
            "id": f"sidecar-{closed_ns}-{source_port}",
            "scenario": "sidecar-leg",
            "client": {"namespace": client.namespace, "pod": client.name},
            "src_ip": address,
            "src_port": source_port,
            "dst_ip": server.address,
            "dst_port": port,
            "protocol": 6,
            "service": service.reference(dialled),
            "backend": _word(server, server.name, server.address, port),
            "sent_bytes": told["received_bytes"],
            "received_bytes": told["sent_bytes"],
            "sent_again_bytes": None,
            "received_again_bytes": None,
            "outcome": "closed",
            "opened_ns": closed_ns - round(told["lasted_s"] * 1e9),
            "closed_ns": closed_ns,
            "denied_by": None,
            "tracked": True,
            "asked": None,
            "mesh": {"namespace": service.namespace, "host": service.name, "subset": share.subset, "mode": "sidecar"},
        }


def _questions(cluster: Cluster, files: Files) -> Iterator[tuple[tuple[str, int, str], Row]]:
    """What the DNS pods were asked, by whom, from which port."""
    for pod in cluster.pods.values():
        if pod.image.endswith("/dns"):
            text = files.log(f"{pod.namespace}/{pod.name}").read_text()
            for address, port, name in DNS_QUERY.findall(text):
                yield (address, int(port), name), _word(pod, pod.name, pod.address, 53)


def _word(pod: Pod | None, name: str, address: str, port: int) -> Row:
    who = {"name": name} if pod is None else {"namespace": pod.namespace, "pod": pod.name}
    return {**who, "ip": address, "port": port}


def _within(entry: Row, row: Row) -> bool:
    return bool(row["opened_ns"] <= entry["opened_ns"] <= row["closed_ns"])


def _read(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text().splitlines()]
