"""What the models of several kinds share: addresses, ranges, metadata, and how text becomes them.

The invariant: a part never depends on a kind.
"""

from __future__ import annotations

import ipaddress
from typing import Annotated, Any

import msgspec

from .addresses import NO_ADDRESS, Address, parse

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
PortNumber = Annotated[int, msgspec.Meta(ge=1, le=65535)]


class Ip:
    """An address as an object writes it. Empty text and a headless Service's `None` are `NO_ADDRESS`."""

    __slots__ = ("address",)

    def __init__(self, text: str) -> None:
        self.address: Address = NO_ADDRESS if text in {"", "None"} else parse(text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ip) and self.address == other.address

    def __hash__(self) -> int:
        return hash(self.address)


class Cidr:
    """An address range as an object writes it; host bits may be set."""

    __slots__ = ("network",)

    def __init__(self, text: str) -> None:
        self.network: Network = ipaddress.ip_network(text, strict=False)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Cidr) and self.network == other.network

    def __hash__(self) -> int:
        return hash(self.network)


class Slim(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """Base of all parts: immutable, Python names here and the API's names outside."""


class Owner(Slim, frozen=True):
    """One `metadata.ownerReferences` entry."""

    kind: str
    name: str
    controller: bool | None = None


class Metadata(Slim, frozen=True):
    """What every object says about itself."""

    name: str = ""
    namespace: str | None = None
    uid: str | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    owner_references: list[Owner] | None = None
    creation_timestamp: str | None = None  # whole seconds
    deletion_timestamp: str | None = None
    resource_version: str | int | None = None  # text by the API; tools that rewrite dumps may make it a number


def decode(wanted: type[Ip] | type[Cidr], value: Any) -> Ip | Cidr:
    """The address or range in a text; the hook of `msgspec.convert`."""
    if not isinstance(value, str):
        raise TypeError(f"Expected `str`, got `{type(value).__name__}`")
    return wanted(value)
