"""Which node, pod or Service holds an address: every claim, and the one that stands.

Claims differ in strength: what a Node reports of itself, then running pods, then pods that are being deleted, then what
follows from a Node's pod range, then Services. The strongest wins; where two different holders are equally strong the
facts leave two answers, and the address is given to neither but to the unknown.
"""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from enum import IntEnum
from typing import Final

from .addresses import NO_ADDRESS, Address, of, parse_object
from .cilium_nodes import CiliumNode
from .collected import is_for_one_pod
from .models import Node, Pod, Service
from .ovn_nodes import ovn_addresses, ovn_ranges
from .parts import Ip

TERMINAL_PHASES: Final = frozenset({"Succeeded", "Failed"})
"""Phases of a pod that has given its address back."""

NODE_ANNOTATIONS: Final = (
    "flannel.alpha.coreos.com/public-ip",
    "flannel.alpha.coreos.com/public-ipv6",
    "projectcalico.org/IPv4Address",
    "projectcalico.org/IPv6Address",
    "projectcalico.org/IPv4IPIPTunnelAddr",
    "projectcalico.org/IPv4VXLANTunnelAddr",
    "projectcalico.org/IPv6VXLANTunnelAddr",
    "projectcalico.org/IPv4WireguardInterfaceAddr",
    "projectcalico.org/IPv6WireguardInterfaceAddr",
    "io.cilium.network.ipv4-cilium-host",
    "io.cilium.network.ipv6-cilium-host",
    "network.cilium.io/ipv4-cilium-host",
    "network.cilium.io/ipv6-cilium-host",
    "ovn.kubernetes.io/ip_address",  # Kube-OVN: of ovn0 in the join subnet, whence a node talks to pods
)
"""Annotations in which CNIs keep a node's further addresses, with or without a prefix length; of both families together
with a comma between them."""


class Strength(IntEnum):
    """How good the evidence is that an address is held; smaller is stronger."""

    NODE = 0
    POD = 1
    LEAVING_POD = 2
    POD_RANGE = 3
    SERVICE = 4


Claim = tuple[Address, Strength, int]
"""An address, the strength of the evidence, and the endpoint that claims it."""


def standing(claims: Iterable[Claim], unknown: int) -> dict[Address, int]:
    """The endpoint that holds each address; `unknown` where equally strong claims disagree."""
    best: dict[Address, tuple[Strength, int]] = {}
    for address, strength, endpoint in claims:
        held = best.get(address)
        if held is None or strength < held[0]:
            best[address] = (strength, endpoint)
        elif strength == held[0] and endpoint != held[1]:
            best[address] = (strength, unknown)
    best.pop(NO_ADDRESS, None)
    return {address: endpoint for address, (_, endpoint) in best.items()}


def node_claims(node: Node, endpoint: int) -> Iterator[Claim]:
    """What a Node reports, what its CNI noted, and its overlay device and bridge (a pod range's first two). What one
    reports that is there for one pod is that pod's, while it is there."""
    strength = Strength.POD_RANGE if is_for_one_pod(node) else Strength.NODE
    for address in reported(node):
        yield address, strength, endpoint
    for address_text in _annotated(node.metadata.annotations or {}):
        yield address_text, Strength.NODE, endpoint
    for address in ovn_addresses(node.metadata.annotations or {}):
        yield address, Strength.NODE, endpoint
    for network in pod_ranges(node):
        for number in range(min(2, network.num_addresses)):
            yield of(network[number]), Strength.POD_RANGE, endpoint


def cilium_claims(node: CiliumNode, endpoint: int) -> Iterator[Claim]:
    """What Cilium took for the node."""
    for address in node.addresses:
        yield address, Strength.NODE, endpoint


def reported(node: Node) -> list[Address]:
    """The addresses that a Node reports of itself."""
    return [
        parse_object(entry.address) for entry in (node.status.addresses if node.status else None) or [] if entry.is_ip
    ]


def pod_claims(pod: Pod, endpoint: int, nodes: Mapping[str, int]) -> Iterator[Claim]:
    """A pod's own addresses, unless it has ended or lives in its node's network; and its node's, told by `hostIP`."""
    node, host = nodes.get(pod.spec.node_name or ""), host_address(pod)
    if node is not None and host is not None:
        yield host, Strength.NODE, node
    if pod.status.phase in TERMINAL_PHASES:
        return
    strength = Strength.LEAVING_POD if pod.metadata.deletion_timestamp else Strength.POD
    for address in pod_addresses(pod):
        yield address, strength, endpoint


def host_address(pod: Pod) -> Address | None:
    """The address that a pod tells of its node; none where it is the pod's own too, and not for sharing its network."""
    host = pod.status.host_ip.address if pod.status.host_ip else None
    return None if host in pod_addresses(pod) else host


def pod_addresses(pod: Pod) -> list[Address]:
    """A pod's own addresses, which one that has ended has given back; none where it lives in its node's network."""
    if pod.spec.host_network:
        return []
    return _addresses([pod.status.pod_ip, *(entry.ip for entry in pod.status.pod_ips or [])])


def service_claims(service: Service, endpoint: int) -> Iterator[Claim]:
    """Every address under which a Service may be dialled."""
    for address in (*cluster_ips(service), *load_balancer_ips(service), *external_ips(service)):
        yield address, Strength.SERVICE, endpoint


def cluster_ips(service: Service) -> list[Address]:
    """The cluster addresses of a Service; none for a headless one or an alias of a host name."""
    if service.spec.type == "ExternalName":
        return []
    return _addresses([service.spec.cluster_ip, *(service.spec.cluster_ips or [])])


def load_balancer_ips(service: Service) -> list[Address]:
    """The addresses that the load balancer gave the Service."""
    balancer = service.status.load_balancer
    return _addresses([entry.ip for entry in (balancer.ingress if balancer else None) or []])


def external_ips(service: Service) -> list[Address]:
    """The addresses that `externalIPs` adds; none of a Service without an address, which no proxy serves."""
    if service.is_headless or service.spec.type == "ExternalName":
        return []
    return _addresses(service.spec.external_ips or [])


def pod_ranges(node: Node) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    """The ranges that a Node's pods get their addresses from, where the cluster hands them out by node."""
    cidrs = (node.spec.pod_cidrs or ([node.spec.pod_cidr] if node.spec.pod_cidr else [])) if node.spec else []
    return [*(cidr.network for cidr in cidrs), *ovn_ranges(node.metadata.annotations or {})]


def _addresses(ips: Iterable[Ip | None]) -> list[Address]:
    found = dict.fromkeys(ip.address for ip in ips if ip is not None)
    found.pop(NO_ADDRESS, None)
    return list(found)


def _annotated(annotations: Mapping[str, str]) -> Iterator[Address]:
    for text in ",".join(annotations.get(key, "") for key in NODE_ANNOTATIONS).split(","):
        with contextlib.suppress(ValueError):  # absent, or written by something that means no address by it
            yield of(ipaddress.ip_interface(text.strip()).ip)
