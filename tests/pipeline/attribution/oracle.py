"""Attribution as one would explain it to a person: a row at a time, no frames, no look-ups prepared.

It shares nothing with the code under test but the words.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from tests.pipeline.attribution.cluster import PROTOCOLS, AService, Cluster, Era, Flow

address_of, network_of = cache(ipaddress.ip_address), cache(ipaddress.ip_network)  # a few, read again for each row

End = tuple[str, str]
"""Kind and name."""
Port = tuple[str, str]
"""A Service's name and its port's label."""

OUTSIDE: End = ("External", "outside")
RESERVED = {
    "10.0.0.0/8": "private",
    "172.16.0.0/12": "private",
    "192.168.0.0/16": "private",
    "fc00::/7": "private",
    "127.0.0.0/8": "loopback",
    "::1/128": "loopback",
}
"""Ranges beyond the cluster that have a name; of those that RFCs set aside the ones that flows here come across."""
UNKNOWN: End = ("Unknown", "unknown")
NOTHING = Cluster((), (), ())
TUNNELS = {(4, None), (41, None), (47, None), (50, None)} | {
    (17, port) for port in (8472, 4789, 6783, 6784, 6081, 8285, 51820, 51821, 51871, 4500)
}


@dataclass(frozen=True)
class Answer:
    source: End
    destination: End
    service: Port | None
    via: str | None
    candidates: tuple[Port, ...]
    role: str
    attribution: str
    reason: str


class Oracle:
    """Answers under the history of a cluster."""

    def __init__(self, eras: Sequence[Era]) -> None:
        self.eras = eras
        clusters = [era.cluster for era in eras]
        self.nodes = {node.name for cluster in clusters for node in cluster.nodes}
        self.nodes |= {pod.node for cluster in clusters for pod in cluster.pods if pod.node}
        self.ranges = list(self._ranges(clusters))

    def answer(self, flow: Flow, services_by: str) -> Answer:
        era = next((era for era in self.eras if era.since <= flow.start < era.until), None)
        cluster = era.cluster if era else NOTHING
        source, backend_end = self.end(cluster, flow.src, flow.node), self.end(cluster, flow.backend, flow.node)
        is_redirected = flow.backend != flow.dst
        services = self.services(cluster, flow, services_by)
        service, via = next(iter(services.items())) if len(services) == 1 else (None, None)
        destination = backend_end
        listeners = self.listeners(cluster, flow) if backend_end[0] == "Node" else set()
        if (
            service
            and via not in ("backend", "headless")
            and not is_redirected
            and self.place(cluster, backend_end) is None
        ):
            destination = ("Service", service[0])
        elif len(listeners) == 1:
            destination = ("Pod", next(iter(listeners)))
        held = [self.holder(cluster, ip) for ip in (flow.src, flow.backend)]
        is_early = era is not None and flow.start < era.since + era.delay and any(held)

        def verdict() -> tuple[str, str]:
            if source == UNKNOWN and not held[0]:
                return "unknown", "unknown_source"
            if destination == UNKNOWN and not held[1]:
                return "unknown", "unknown_destination"
            if len(services) > 1:
                return "ambiguous", "ambiguous_service"
            if UNKNOWN in (source, destination):
                return "ambiguous", "ambiguous_address"
            if len(listeners) > 1:
                return "ambiguous", "ambiguous_host_port"
            if is_early:
                return "inferred", "before_status"
            if via == "backend":
                return "inferred", "backend_only"
            if via == "headless":
                return "inferred", "headless"
            if listeners:
                return "inferred", "host_port"
            return "exact", "no_backend" if service and not is_redirected else ""

        return Answer(
            source,
            destination,
            service,
            via,
            tuple(sorted(services)) if len(services) > 1 else (),
            self.role(cluster, flow),
            *verdict(),
        )

    def end(self, cluster: Cluster, ip: str, seen_by: str) -> End:
        address = address_of(ip)
        if address.is_loopback and seen_by in self.nodes:
            return ("Node", seen_by)
        holder = self.holder(cluster, ip)
        if holder:
            return holder
        was_held = any(self.holder(era.cluster, ip) for era in self.eras)
        if was_held or any(address in network for network in self.ranges):
            return UNKNOWN
        names = [name for cidr, name in RESERVED.items() if address in network_of(cidr)]
        return ("External", names[0]) if names else OUTSIDE

    @staticmethod
    def holder(cluster: Cluster, ip: str) -> End | None:
        """Who holds an address, by the strongest kind of evidence; the unknown where that evidence is divided."""
        reported = {("Node", node.name) for node in cluster.nodes if ip in node.ips}
        reported |= {("Node", pod.node) for pod in cluster.pods if pod.node and pod.host_ip == ip}
        alive = [
            pod
            for pod in cluster.pods
            if ip in pod.ips and not pod.host_network and pod.phase not in ("Succeeded", "Failed")
        ]
        staying = {("Pod", pod.name) for pod in alive if not pod.leaving}
        leaving = {("Pod", pod.name) for pod in alive if pod.leaving}
        suggested = {
            ("Node", node.name)
            for node in cluster.nodes
            for cidr in node.pod_cidrs
            if address_of(ip) in [network_of(cidr)[0], network_of(cidr)[1]]
        }
        services = {
            ("Service", service.name)
            for service in cluster.services
            if ip in [*service.cluster_ips, *service.load_balancer_ips, *service.external_ips]
        }
        for evidence in (reported, staying, leaving, suggested, services):
            if evidence:
                return evidence.pop() if len(evidence) == 1 else UNKNOWN
        return None

    def services(self, cluster: Cluster, flow: Flow, services_by: str) -> dict[Port, str]:
        """The Service ports that a flow may mean, and what tells."""
        by_address: dict[Port, str] = {}
        by_node_port: dict[Port, str] = {}
        by_backend: dict[Port, str] = {}
        by_endpoint: dict[Port, str] = {}
        for service in cluster.services:
            for port in service.ports:
                if PROTOCOLS[port.protocol] != flow.protocol:
                    continue
                name = (service.name, port.name)
                for via, ips in (
                    ("cluster_ip", service.cluster_ips),
                    ("load_balancer_ip", service.load_balancer_ips),
                    ("external_ip", service.external_ips),
                ):
                    if flow.dst in ips and flow.dst_port == port.port:
                        by_address.setdefault(name, via)
                if port.node_port and flow.dst_port == port.node_port:
                    by_node_port[name] = "node_port"
                if flow.dst_port == port.port and flow.dst in self.backends(cluster, service):
                    by_backend[name] = "backend"
                    if service.is_headless:
                        by_endpoint[name] = "headless"
        if by_address:
            return by_address
        holder = self.holder(cluster, flow.dst)
        is_loopback_here = address_of(flow.dst).is_loopback and flow.node in self.nodes
        is_unlisted = holder in (None, UNKNOWN) and flow.backend != flow.dst
        if by_node_port and (is_loopback_here or is_unlisted or (holder and holder[0] == "Node")):
            return by_node_port
        if flow.backend != flow.dst:
            return {}
        if services_by == "backend" and by_backend.keys() != by_endpoint.keys():
            return by_backend
        source, destination = self.end(cluster, flow.src, flow.node), self.end(cluster, flow.dst, flow.node)
        listeners = self.listeners(cluster, flow) if destination[0] == "Node" else set()
        if len(listeners) == 1:
            destination = ("Pod", next(iter(listeners)))
        is_probe = source[0] == "Node" and self.place(cluster, destination) == source[1]
        return {} if is_probe else by_endpoint

    @staticmethod
    def backends(cluster: Cluster, service: AService) -> set[str]:
        """The addresses of a Service's backends: those of its slice, or of the pods of its families that it selects."""
        if service.endpoints:
            return set(service.endpoints)
        pods = [pod for pod in cluster.pods if pod.app == service.app and pod.phase not in ("Succeeded", "Failed")]
        families = {":" in ip for ip in service.cluster_ips} or {True, False}
        return {ip for pod in pods for ip in pod.ips if (":" in ip) in families}

    @staticmethod
    def listeners(cluster: Cluster, flow: Flow) -> set[str]:
        """The pods that answer on the node's port that a flow went to."""
        found = set()
        for pod in cluster.pods:
            if pod.phase in ("Succeeded", "Failed"):
                continue
            ips = {pod.host_ip, *(ip for node in cluster.nodes if node.name == pod.node for ip in node.ips)}
            for port in pod.ports:
                number = port.port if pod.host_network else port.host_port
                if flow.backend in ips and (number, PROTOCOLS[port.protocol]) == (flow.backend_port, flow.protocol):
                    found.add(pod.name)
        found.discard("")
        return found if flow.backend_port else set()

    def role(self, cluster: Cluster, flow: Flow) -> str:
        source, backend = (self.end(cluster, ip, flow.node) for ip in (flow.src, flow.backend))
        tunnel_ends = (source[0], self.end(cluster, flow.dst, flow.node)[0])
        is_tunnel = {(flow.protocol, None), (flow.protocol, flow.dst_port)} & TUNNELS
        if is_tunnel and tunnel_ends == ("Node", "Node"):
            return "overlay"
        if self.counting(cluster, source) is not None:
            return "canonical" if self.counting(cluster, source) == flow.node else "observer"
        is_masqueraded = flow.nat_src != flow.src
        masquerader = self.end(cluster, flow.nat_src, flow.node)
        counting = self.counting(cluster, masquerader) if masquerader[0] == "Node" else None
        masqueraded_here = is_masqueraded and counting == flow.node
        backend_here = self.counting(cluster, backend) == flow.node
        transit = self.counting(cluster, backend) is None
        return "canonical" if masqueraded_here or backend_here or transit else "observer"

    def counting(self, cluster: Cluster, end: End) -> str | None:
        """The node that an end is on, if it has a collector."""
        place = self.place(cluster, end)
        return None if place in {node.name for node in cluster.nodes if not node.has_collector} else place

    @staticmethod
    def place(cluster: Cluster, end: End) -> str | None:
        """The node that an end is on."""
        kind, name = end
        if kind == "Node":
            return name
        return next((pod.node for pod in cluster.pods if pod.name == name), "") or None if kind == "Pod" else None

    @staticmethod
    def _ranges(clusters: Sequence[Cluster]) -> Iterator[ipaddress.IPv4Network | ipaddress.IPv6Network]:
        pods = [network_of(cidr) for each in clusters for node in each.nodes for cidr in node.pod_cidrs]
        vips = [network_of(ip) for each in clusters for service in each.services for ip in service.cluster_ips]
        for evidence in (pods, vips):
            for version in (4, 6):
                family = [network for network in evidence if network.version == version]
                if family:
                    cover = family[0]
                    while not all(network.subnet_of(cover) for network in family):  # type: ignore[arg-type]
                        cover = cover.supernet()
                    yield cover
