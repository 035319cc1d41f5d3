"""What OVN-Kubernetes, and OpenShift with it, notes in a node's annotations: its pods' ranges and its own addresses.

What a node says to its pods comes from its management port, the second address of its pods' range; what comes in
through its gateway router may have that router's address. Text that is not what it should be tells nothing.

Source: what OVN-Kubernetes' own code documents of these annotations, and of the addresses that it reserves.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from .addresses import Address, of
from .parts import Network

SUBNETS: Final = "k8s.ovn.org/node-subnets"
ROUTERS: Final = ("k8s.ovn.org/node-gateway-router-lrp-ifaddrs", "k8s.ovn.org/node-gateway-router-lrp-ifaddr")
_DEFAULT: Final = "default"
"""The cluster's own network; the others are of those pods alone that ask for them."""
_MANAGEMENT_PORT: Final = 2


def ovn_ranges(annotations: Mapping[str, str]) -> list[Network]:
    """The ranges that the node's pods get their addresses from."""
    told = _told(annotations, SUBNETS).get(_DEFAULT)
    return [network for text in (told if isinstance(told, list) else [told]) if (network := _network(text)) is not None]


def ovn_addresses(annotations: Mapping[str, str]) -> Iterator[Address]:
    """The addresses of the node's management port and gateway router."""
    for network in ovn_ranges(annotations):
        if network.num_addresses > _MANAGEMENT_PORT:
            yield of(network[_MANAGEMENT_PORT])
    for key in ROUTERS:
        told = _told(annotations, key)
        families = told.get(_DEFAULT, told)
        for text in families.values() if isinstance(families, dict) else ():
            if (address := _address(text)) is not None:
                yield address


def _told(annotations: Mapping[str, str], key: str) -> dict[str, Any]:
    try:
        told = msgspec.json.decode(annotations.get(key, "{}"))
    except (msgspec.DecodeError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


def _network(text: object) -> Network | None:
    try:
        return ipaddress.ip_network(text, strict=False) if isinstance(text, str) else None
    except ValueError:
        return None


def _address(text: object) -> Address | None:
    try:
        return of(ipaddress.ip_interface(text).ip) if isinstance(text, str) else None
    except ValueError:
        return None
