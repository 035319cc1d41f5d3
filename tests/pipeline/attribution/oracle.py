"""Attribution as one would explain it to a person: a row at a time, no frames, no look-ups prepared.

It shares nothing with the code under test but the words.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass

from tests.pipeline.attribution.cluster import PROTOCOLS, Cluster, Flow

End = tuple[str, str]
"""Kind and name."""

OUTSIDE: End = ("External", "outside")
UNKNOWN: End = ("Unknown", "unknown")


@dataclass(frozen=True)
class Answer:
    source: End
    destination: End
    service: tuple[str, str] | None  # name and port's label
    via: str | None
    role: str
    attribution: str


class Oracle:
    """Answers for one cluster."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.pod_nodes = {pod.name: pod.node for pod in cluster.pods}
        self.nodes = {node.name for node in cluster.nodes} | {pod.node for pod in cluster.pods if pod.node}
        self.ranges = list(self._ranges())

    def answer(self, flow: Flow) -> Answer:
        source = self.end(flow.src, flow.node)
        destination = self.end(flow.backend, flow.node)
        dialled = self.dialled(flow)
        service, via = dialled if dialled else (None, None)
        if service and flow.backend == flow.dst and self.place(destination) is None:
            destination = ("Service", service[0])
        uncertain = UNKNOWN in (source, destination)
        return Answer(source, destination, service, via, self.role(flow), "unknown" if uncertain else "exact")

    def end(self, ip: str, seen_by: str) -> End:
        address = ipaddress.ip_address(ip)
        if address.is_loopback and seen_by in self.nodes:
            return ("Node", seen_by)
        holder = self.holder(ip)
        if holder:
            return holder
        return UNKNOWN if any(address in network for network in self.ranges) else OUTSIDE

    def holder(self, ip: str) -> End | None:
        """Who holds an address, by the strongest kind of evidence; the unknown where that evidence is divided."""
        reported = {("Node", node.name) for node in self.cluster.nodes if ip in node.ips}
        alive = [
            pod
            for pod in self.cluster.pods
            if ip in pod.ips and not pod.host_network and pod.phase not in ("Succeeded", "Failed")
        ]
        staying = {("Pod", pod.name) for pod in alive if not pod.leaving}
        leaving = {("Pod", pod.name) for pod in alive if pod.leaving}
        suggested = {
            ("Node", node.name)
            for node in self.cluster.nodes
            for cidr in node.pod_cidrs
            if ipaddress.ip_address(ip) in [ipaddress.ip_network(cidr)[0], ipaddress.ip_network(cidr)[1]]
        }
        services = {
            ("Service", service.name)
            for service in self.cluster.services
            if ip in [*service.cluster_ips, *service.load_balancer_ips, *service.external_ips]
        }
        for evidence in (reported, staying, leaving, suggested, services):
            if evidence:
                return evidence.pop() if len(evidence) == 1 else UNKNOWN
        return None

    def dialled(self, flow: Flow) -> tuple[tuple[str, str], str] | None:
        by_address: dict[tuple[str, str], str] = {}
        by_node_port: set[tuple[str, str]] = set()
        for service in self.cluster.services:
            for port in service.ports:
                if PROTOCOLS[port.protocol] != flow.protocol:
                    continue
                name = (service.name, str(port.port))
                for via, ips in (
                    ("cluster_ip", service.cluster_ips),
                    ("load_balancer_ip", service.load_balancer_ips),
                    ("external_ip", service.external_ips),
                ):
                    if flow.dst in ips and flow.dst_port == port.port:
                        by_address.setdefault(name, via)
                if port.node_port and flow.dst_port == port.node_port:
                    by_node_port.add((*name, port.protocol))  # type: ignore[arg-type]
        if len(by_address) == 1:
            return next(iter(by_address.items()))
        holder = self.holder(flow.dst)
        is_loopback_here = ipaddress.ip_address(flow.dst).is_loopback and flow.node in self.nodes
        is_unlisted = holder is None and flow.backend != flow.dst
        if (is_loopback_here or is_unlisted or (holder and holder[0] == "Node")) and len(by_node_port) == 1:
            return by_node_port.pop()[:2], "node_port"
        return None

    def role(self, flow: Flow) -> str:
        source, backend = self.end(flow.src, flow.node), self.end(flow.backend, flow.node)
        tunnel_ends = (source[0], self.end(flow.dst, flow.node)[0])
        if flow.protocol == 17 and flow.dst_port in (8472, 4789, 6784, 6081) and tunnel_ends == ("Node", "Node"):
            return "overlay"
        if self.place(source) is not None:
            return "canonical" if self.place(source) == flow.node else "observer"
        masqueraded_here = flow.nat_src != flow.src and self.end(flow.nat_src, flow.node) == ("Node", flow.node)
        backend_here = self.place(backend) == flow.node
        transit = self.place(backend) is None
        return "canonical" if masqueraded_here or backend_here or transit else "observer"

    def place(self, end: End) -> str | None:
        """The node that an end is on."""
        kind, name = end
        if kind == "Node":
            return name
        return (self.pod_nodes[name] or None) if kind == "Pod" else None

    def _ranges(self) -> Iterator[ipaddress.IPv4Network | ipaddress.IPv6Network]:
        pods = [ipaddress.ip_network(cidr) for node in self.cluster.nodes for cidr in node.pod_cidrs]
        vips = [ipaddress.ip_network(ip) for service in self.cluster.services for ip in service.cluster_ips]
        for evidence in (pods, vips):
            for version in (4, 6):
                family = [network for network in evidence if network.version == version]
                if family:
                    cover = family[0]
                    while not all(network.subnet_of(cover) for network in family):  # type: ignore[arg-type]
                        cover = cover.supernet()
                    yield cover
