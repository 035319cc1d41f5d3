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
WIDEST: Final = {4: 8, 6: 32}
"""No cluster range is wider; ranges that share less come from several, and each stands for itself."""


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
    for evidence in (pods, services):
        for version in (4, 6):
            found += _cover([network for network in evidence if network.version == version])
    return _collapse(found)


def ranges_frame(networks: Iterable[Network]) -> pl.DataFrame:
    """First and last address of each range, in halves, by `RANGES`."""
    rows = [(*of(network[0]), *of(network[-1])) for network in networks]
    return pl.DataFrame(rows, schema=RANGES, orient="row")


def _cover(networks: list[Network]) -> list[Network]:
    """The smallest network over all of one family, or the networks themselves where that is too wide."""
    if not networks:
        return []
    first = min(int(network[0]) for network in networks)
    last = max(int(network[-1]) for network in networks)
    width = networks[0].max_prefixlen
    length = width - (first ^ last).bit_length()
    if length < WIDEST[networks[0].version]:
        return networks
    cover = type(networks[0])((first >> (width - length) << (width - length), length))
    return [cover]


def _collapse(networks: list[Network]) -> list[Network]:
    v4 = [network for network in networks if isinstance(network, ipaddress.IPv4Network)]
    v6 = [network for network in networks if isinstance(network, ipaddress.IPv6Network)]
    return [*ipaddress.collapse_addresses(v4), *ipaddress.collapse_addresses(v6)]


def _host(number: int) -> Network:
    if number >> 32 == 0xFFFF:
        return ipaddress.IPv4Network(number & 0xFFFFFFFF)
    return ipaddress.IPv6Network(number)
