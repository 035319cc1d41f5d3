"""kube-proxy's NAT for one node, as one nftables ruleset rendered from the Services and their endpoints.

It follows the structure of kube-proxy's nftables mode (KEP-3866): verdict maps from address, protocol and port to a
chain a Service port, which picks an endpoint at random, whose chain holds the affinity, the hairpin mark and the DNAT.
External addresses and node ports are masqueraded (`externalTrafficPolicy: Cluster`), so is what comes from outside the
pod range to a ClusterIP; Services without endpoints and unknown ports of a ClusterIP are rejected. After it come
flannel's masquerade rules. All of it is there for each address family; node ports and load balancers have IPv4 alone.
This is the lab's own renderer: no code of the pipeline has a say in what the kernel does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from .objects import Cluster, Node, Port, Service
from .topology import POD_RANGE, POD_RANGE_V6

SKELETON = """\
table {ip} kube-proxy {{
    set cluster-ips {{ type {address}; elements = {{ {cluster_ips} }} }}
    map service-ips {{ type {address} . inet_proto . inet_service : verdict;{service_ips} }}
    map service-nodeports {{ type inet_proto . inet_service : verdict;{node_ports} }}
    map no-endpoint-services {{ type {address} . inet_proto . inet_service : verdict;{rejected} }}
    map no-endpoint-nodeports {{ type inet_proto . inet_service : verdict;{rejected_node_ports} }}
{sets}
    chain mark-for-masquerade {{ meta mark set meta mark or 0x4000; }}
    chain masquerading {{
        meta mark and 0x4000 == 0 return
        meta mark set meta mark xor 0x4000
        masquerade fully-random
    }}
    chain reject-chain {{ reject; }}
{chains}
    chain services {{
        {ip} daddr . meta l4proto . th dport vmap @service-ips
        {ip} daddr != {loopback} fib daddr type local meta l4proto . th dport vmap @service-nodeports
    }}
    chain endpoints-check {{
        {ip} daddr . meta l4proto . th dport vmap @no-endpoint-services
        fib daddr type local {ip} daddr != {loopback} meta l4proto . th dport vmap @no-endpoint-nodeports
    }}
    chain cluster-ips-check {{ {ip} daddr @cluster-ips reject; }}
    chain nat-prerouting {{ type nat hook prerouting priority dstnat; jump services; }}
    chain nat-output {{ type nat hook output priority -100; jump services; }}
    chain nat-postrouting {{ type nat hook postrouting priority srcnat; jump masquerading; }}
    chain filter-input {{ type filter hook input priority -110; ct state new jump endpoints-check; }}
    chain filter-forward {{ type filter hook forward priority -110; ct state new jump endpoints-check; }}
    chain filter-output {{ type filter hook output priority -110; ct state new jump endpoints-check; }}
    chain filter-forward-post {{ type filter hook forward priority filter; ct state new jump cluster-ips-check; }}
    chain filter-output-post {{ type filter hook output priority filter; ct state new jump cluster-ips-check; }}
}}
table {ip} flannel {{
    chain postrouting {{
        type nat hook postrouting priority srcnat + 1
        {ip} saddr {pods} {ip} daddr {pods} return
        {ip} saddr {pods} {ip} daddr != {multicast} masquerade fully-random
        {ip} saddr != {pods} {ip} daddr {own_pods} return
        {ip} saddr != {pods} {ip} daddr {pods} masquerade fully-random
    }}
}}
"""


@dataclass(frozen=True, slots=True)
class Family:
    """What differs between the rulesets of the address families. `ip` is the family's name in nftables."""

    ip: str
    address: str
    loopback: str
    multicast: str
    pods: str

    def cluster_ip(self, service: Service) -> str | None:
        """The Service's address."""
        return service.cluster_ip if self.ip == "ip" else service.cluster_ip_v6

    def endpoints(self, port: Port) -> tuple[tuple[str, int], ...]:
        """Where the port leads."""
        return port.endpoints if self.ip == "ip" else port.endpoints_v6


FAMILIES: Final = (
    Family("ip", "ipv4_addr", "127.0.0.0/8", "224.0.0.0/4", POD_RANGE),
    Family("ip6", "ipv6_addr", "::1", "ff00::/8", POD_RANGE_V6),
)


def render(cluster: Cluster, node: Node) -> str:
    """The ruleset of one node, for `nft -f`."""
    return "".join(_rules(family, cluster, node) for family in FAMILIES)


def _rules(family: Family, cluster: Cluster, node: Node) -> str:
    addressed = [service for service in cluster.services.values() if family.cluster_ip(service)]
    served = [(s, p) for s in addressed for p in s.ports if family.endpoints(p)]
    barren = [(s, p) for s in addressed for p in s.ports if not family.endpoints(p)]
    return SKELETON.format(
        ip=family.ip,
        address=family.address,
        loopback=family.loopback,
        multicast=family.multicast,
        cluster_ips=", ".join(str(family.cluster_ip(service)) for service in addressed),
        service_ips=_elements(line for s, p in served for line in _addresses(family, s, p)),
        node_ports=_elements(
            f"{p.protocol.lower()} . {p.node_port} : goto external-{_slug(s, p)}" for s, p in served if p.node_port
        ),
        rejected=_elements(
            f"{ip} . {p.protocol.lower()} . {p.port} : goto reject-chain"
            for s, p in barren
            for ip in (family.cluster_ip(s), *_balanced(family, s))
        ),
        rejected_node_ports=_elements(
            f"{p.protocol.lower()} . {p.node_port} : goto reject-chain" for _, p in barren if p.node_port
        ),
        sets="".join(_affinity_sets(family, s, p) for s, p in served),
        chains="".join(_chains(family, s, p) for s, p in served),
        pods=family.pods,
        own_pods=node.pod_cidr if family.ip == "ip" else node.pod_cidr_v6,
    )


def _balanced(family: Family, service: Service) -> tuple[str, ...]:
    return service.load_balancer_ips if family.ip == "ip" else ()


def _elements(lines: Iterator[str]) -> str:
    text = ", ".join(lines)
    return f" elements = {{ {text} }}" if text else ""


def _slug(service: Service, port: Port) -> str:
    return f"{service.namespace}/{service.name}/{port.protocol.lower()}/{port.name or port.port}"


def _endpoint(family: Family, service: Service, port: Port, index: int) -> str:
    address, number = family.endpoints(port)[index]
    return f"{_slug(service, port)}/{address.replace(':', '-')}/{number}"


def _addresses(family: Family, service: Service, port: Port) -> Iterator[str]:
    protocol, slug = port.protocol.lower(), _slug(service, port)
    yield f"{family.cluster_ip(service)} . {protocol} . {port.port} : goto service-{slug}"
    for ip in _balanced(family, service):
        yield f"{ip} . {protocol} . {port.port} : goto external-{slug}"


def _affinity_sets(family: Family, service: Service, port: Port) -> str:
    if service.affinity_s is None:
        return ""
    return "".join(
        f"    set affinity-{_endpoint(family, service, port, i)} "
        f"{{ type {family.address}; flags dynamic,timeout; timeout {service.affinity_s}s; }}\n"
        for i in range(len(family.endpoints(port)))
    )


def _chains(family: Family, service: Service, port: Port) -> str:
    """The chains of one Service port: endpoints first, since a chain must exist before a rule may go to it."""
    protocol, slug, endpoints = port.protocol.lower(), _slug(service, port), family.endpoints(port)
    ip, count = family.ip, len(endpoints)
    sticky = service.affinity_s is not None
    names = [_endpoint(family, service, port, i) for i in range(count)]
    text = ""
    for (address, number), name in zip(endpoints, names, strict=True):
        at = f"[{address}]" if ":" in address else address
        remember = f"        update @affinity-{name} {{ {ip} saddr }}\n" if sticky else ""
        text += (
            f"    chain endpoint-{name} {{\n"
            f"        {ip} saddr {address} jump mark-for-masquerade\n{remember}"
            f"        meta l4proto {protocol} dnat to {at}:{number}\n    }}\n"
        )
    again = "".join(f"        {ip} saddr @affinity-{name} goto endpoint-{name}\n" for name in names) if sticky else ""
    choice = ", ".join(f"{i} : goto endpoint-{name}" for i, name in enumerate(names))
    return text + (
        f"    chain service-{slug} {{\n"
        f"        {ip} daddr {family.cluster_ip(service)} {ip} saddr != {family.pods} jump mark-for-masquerade\n{again}"
        f"        numgen random mod {count} vmap {{ {choice} }}\n    }}\n"
        f"    chain external-{slug} {{\n        jump mark-for-masquerade\n        goto service-{slug}\n    }}\n"
    )
