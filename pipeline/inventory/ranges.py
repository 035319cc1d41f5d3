"""The address ranges of the cluster: what tells an address that nothing holds from one that is outside.

Derived from evidence alone. The controller manager, or Cilium, cuts every node's pod range out of one cluster range a
family, so the smallest network over them lies inside it; the same holds for the cluster addresses of Services that no
ServiceCIDR declares.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from typing import Final

import polars as pl

from .addresses import of
from .cilium_nodes import CiliumNode
from .claims import cluster_ips, pod_ranges
from .models import Node, Resource, Service, ServiceCIDR
from .parts import Network

RANGES: Final = pl.Schema({"hi_from": pl.UInt64(), "lo_from": pl.UInt64(), "hi_to": pl.UInt64(), "lo_to": pl.UInt64()})
NODE_BITS: Final = 13
"""A cluster range holds at most so many bits of nodes' ranges: Kubernetes is made for 5,000 nodes. Nodes further apart
have theirs from several, and between these lie the addresses of others."""
SERVICE_BITS: Final = 20
"""The same of Services: an API server that has no ServiceCIDRs takes no wider range."""


def cluster_ranges(resources: Iterable[Resource], configured: Sequence[Network] = ()) -> list[Network]:
    """The cluster's ranges, without overlaps. `configured` ones are added to what the objects show."""
    pods: list[Network] = []
    declared: list[Network] = []
    services: list[Network] = []
    for resource in resources:
        if isinstance(resource, Node):
            pods += pod_ranges(resource)
        elif isinstance(resource, CiliumNode):
            pods += resource.pod_ranges
        elif isinstance(resource, ServiceCIDR):
            declared += [cidr.network for cidr in resource.spec.cidrs or []]
        elif isinstance(resource, Service):
            services += [_host(address.hi << 64 | address.lo) for address in cluster_ips(resource)]
    found = [*configured, *declared]
    services = [host for host in services if not any(host[0] in network for network in declared)]
    for evidence, bits in ((pods, NODE_BITS), (services, SERVICE_BITS)):
        for version in (4, 6):
            found += _covers([network for network in evidence if network.version == version], bits)
    return _collapse(found)


def ranges_frame(networks: Iterable[Network]) -> pl.DataFrame:
    """First and last address of each range, in halves, by `RANGES`."""
    rows = [(*of(network[0]), *of(network[-1])) for network in networks]
    return pl.DataFrame(rows, schema=RANGES, orient="row")


def _covers(networks: list[Network], bits: int) -> list[Network]:
    """Networks over those of one family, each the smallest over some that together are at most so many bits wider than
    the widest of them."""
    found: list[Network] = []
    widest = 0
    for network in sorted(networks, key=lambda one: int(one[0])):
        joint = _joint(found[-1], network) if found else network
        widest = min(widest, network.prefixlen) if found else network.prefixlen
        if found and joint.prefixlen >= widest - bits:
            found[-1] = joint
        else:
            found.append(network)
            widest = network.prefixlen
    return found


def _joint(one: Network, other: Network) -> Network:
    """The smallest network over two."""
    first, last = min(int(one[0]), int(other[0])), max(int(one[-1]), int(other[-1]))
    length = one.max_prefixlen - (first ^ last).bit_length()
    return type(one)((first >> (one.max_prefixlen - length) << (one.max_prefixlen - length), length))


def _collapse(networks: list[Network]) -> list[Network]:
    v4 = [network for network in networks if isinstance(network, ipaddress.IPv4Network)]
    v6 = [network for network in networks if isinstance(network, ipaddress.IPv6Network)]
    return [*ipaddress.collapse_addresses(v4), *ipaddress.collapse_addresses(v6)]


def _host(number: int) -> Network:
    if number >> 32 == 0xFFFF:
        return ipaddress.IPv4Network(number & 0xFFFFFFFF)
    return ipaddress.IPv6Network(number)
