"""What Cilium notes of a node: the addresses that its agent took for the host, and the ranges that its pods come from.

The address of `cilium_host` is none of the Node's own: the agent takes it from the node's pod range, and all that the
node says to its pods comes from it, the kubelet's probes first. Newer agents write it here alone, and into no
annotation of the Node.

Source: the types of cilium.io/v2 CiliumNode, of which the field comments are the specification.
"""

from __future__ import annotations

import msgspec

from .addresses import Address
from .parts import Cidr, Ip, Metadata, Network, Slim

_ADDRESS_TYPES = frozenset({"InternalIP", "ExternalIP", "CiliumInternalIP"})


class CiliumNodeAddress(Slim, frozen=True):
    """One `spec.addresses` entry; of some types it is a name."""

    type: str = ""
    ip: str = ""

    def __post_init__(self) -> None:
        if self.is_ip:
            Ip(self.ip)

    @property
    def is_ip(self) -> bool:
        """Whether `ip` holds an IP address."""
        return self.type in _ADDRESS_TYPES


class FamilyAddresses(Slim, frozen=True):
    """One address a family: of the agent's health endpoint, or of its Ingress."""

    ipv4: Ip | None = None
    ipv6: Ip | None = None


class CiliumIpam(Slim, frozen=True):
    """The ranges that the node's pods get their addresses from."""

    pod_cidrs: list[Cidr] | None = msgspec.field(name="podCIDRs", default=None)


class CiliumNodeSpec(Slim, frozen=True):
    """NodeSpec of cilium.io/v2."""

    addresses: list[CiliumNodeAddress] | None = None
    health: FamilyAddresses | None = None
    ingress: FamilyAddresses | None = None
    ipam: CiliumIpam | None = None


class CiliumNode(Slim, frozen=True):
    """cilium.io/v2 CiliumNode; it has the name of the Node."""

    metadata: Metadata
    spec: CiliumNodeSpec = CiliumNodeSpec()
    kind: str = "CiliumNode"

    @property
    def addresses(self) -> list[Address]:
        """Every address that is the node's, or its agent's own."""
        told = [Ip(entry.ip) for entry in self.spec.addresses or () if entry.is_ip]
        parts = [part for part in (self.spec.health, self.spec.ingress) if part is not None]
        ips = [*told, *(ip for part in parts for ip in (part.ipv4, part.ipv6) if ip is not None)]
        return list(dict.fromkeys(ip.address for ip in ips if any(ip.address)))

    @property
    def pod_ranges(self) -> list[Network]:
        """The ranges of its pods."""
        return [cidr.network for cidr in (self.spec.ipam.pod_cidrs if self.spec.ipam else None) or ()]
