"""What the models of several kinds share: addresses, ranges, metadata, and how text becomes them.

The invariant: a part never depends on a kind.
"""

from __future__ import annotations

import ipaddress
from typing import Annotated, Any, Final

import msgspec

from .addresses import NO_ADDRESS, Address, parse_object, without_leading_zeros

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
PortNumber = Annotated[int, msgspec.Meta(ge=1, le=65535)]


class Ip:
    """An address as an object writes it. Empty text and a headless Service's `None` are `NO_ADDRESS`."""

    __slots__ = ("address",)

    def __init__(self, text: str) -> None:
        self.address: Address = NO_ADDRESS if text in {"", "None"} else parse_object(text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ip) and self.address == other.address

    def __hash__(self) -> int:
        return hash(self.address)


class Cidr:
    """An address range as an object writes it; host bits may be set."""

    __slots__ = ("network",)

    def __init__(self, text: str) -> None:
        if not text.rpartition("/")[2].isdecimal() or "/" not in text or "%" in text:
            raise ValueError(f"{text!r} is no range: must be an address, a slash and a prefix length")
        self.network: Network = ipaddress.ip_network(without_leading_zeros(text), strict=False)

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


_TEXTS: Final = frozenset({"labels", "annotations", "matchLabels"})
"""Maps of text, in which the API server takes a null for the empty text."""


def without_nulls(value: Any, under: str = "") -> Any:
    """A body as the API server reads it: a field that is null is absent, and an item of a list that is null is empty.

    Nulls in a Service's selector stay, for a selector of less would select more.
    """
    if isinstance(value, dict):
        if under in _TEXTS:
            return {key: "" if item is None else item for key, item in value.items()}
        return {key: without_nulls(item, key) for key, item in value.items() if item is not None or under == "selector"}
    if isinstance(value, list):
        return [{} if item is None else without_nulls(item) for item in value]
    return value


def decode(wanted: type[Ip] | type[Cidr], value: Any) -> Ip | Cidr:
    """The address or range in a text; the hook of `msgspec.convert`."""
    if not isinstance(value, str):
        raise TypeError(f"Expected `str`, got `{type(value).__name__}`")
    return wanted(value)
