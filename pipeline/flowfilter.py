"""Which rows of the history match conditions, as one expression: for the lake, a file and the live tail alike.

Conditions of one kind are alternatives (a row matches any of them); those of different kinds all hold; a negated one
leaves out what it matches. The invariant: text of a condition is only ever compared, never run as a pattern.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import polars as pl

from .attribution.flowfile import protocol_numbers
from .conditions import KINDS, MISMATCHES, Condition, Kind
from .errors import ConfigError


def matching(conditions: Iterable[Condition]) -> pl.Expr:
    """The rows that the conditions ask for; all, where there is none. Raises ConfigError that names the condition."""
    wanted: dict[str, list[pl.Expr]] = {}
    unwanted: list[pl.Expr] = []
    for condition in conditions:
        kind = KINDS.get(condition.kind)
        if kind is None:
            raise ConfigError(f"{condition.kind[:40]}: no such condition; there are {', '.join(KINDS)}")
        if kind.values and condition.value not in kind.values:
            raise ConfigError(f"{condition.kind}: {condition.value!r} is none of {', '.join(kind.values)}")
        try:
            expression = TESTS[kind.test](kind, condition.value).fill_null(value=False)
        except ConfigError as error:
            raise ConfigError(f"{condition.kind}: {error}") from None
        if condition.is_negated:
            unwanted.append(expression)
        else:
            wanted.setdefault(condition.kind, []).append(expression)
    every = [pl.any_horizontal(*alternatives) for alternatives in wanted.values()]
    return pl.all_horizontal(pl.lit(value=True), *every, *(~expression for expression in unwanted))


def _equal(kind: Kind, value: str) -> pl.Expr:
    return pl.any_horizontal(pl.col(column) == value for column in kind.columns)


def _object(kind: Kind, value: str) -> pl.Expr:
    """`NAMESPACE/NAME`, or a name in any namespace."""
    namespace, name = _named(value)
    pairs = zip(kind.columns[::2], kind.columns[1::2], strict=True)
    return pl.any_horizontal((pl.col(of) == name) & _within_namespace(within, namespace) for within, of in pairs)


def _pod(kind: Kind, value: str) -> pl.Expr:
    """The same of a pod, by the beginning of its name: what follows is made up by controllers."""
    namespace, name = _named(value)
    return pl.any_horizontal(
        (pl.col(f"{side}_kind") == "Pod")
        & pl.col(f"{side}_name").str.starts_with(name)
        & _within_namespace(f"{side}_namespace", namespace)
        for side in kind.columns
    )


def _named(value: str) -> tuple[str, str]:
    namespace, slash, name = value.rpartition("/")
    if not name or (slash and not namespace) or "/" in namespace:
        raise ConfigError(f"{value!r} is not [NAMESPACE/]NAME")
    return namespace, name


def _within_namespace(column: str, namespace: str) -> pl.Expr:
    return pl.col(column) == namespace if namespace else pl.lit(value=True)


def _address(kind: Kind, value: str) -> pl.Expr:
    try:
        network = _network(value.removeprefix("[").removesuffix("]"))
    except ValueError:
        raise ConfigError(f"{value!r} is neither an address nor a CIDR") from None
    if network.num_addresses == 1:
        return pl.any_horizontal(pl.col(column) == str(network.network_address) for column in kind.columns)
    return pl.any_horizontal(_within(pl.col(column), network) for column in kind.columns)


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """Addresses as flows have them: IPv4 in IPv6 is IPv4, and no zone (`%eth0`) is told. Raises ValueError."""
    network = ipaddress.ip_network(text, strict=False)
    if isinstance(network, ipaddress.IPv4Network):
        return network
    mapped, bits = network.network_address.ipv4_mapped, network.prefixlen - 96
    if mapped is not None and bits >= 0:
        return ipaddress.IPv4Network((mapped, bits))
    return ipaddress.IPv6Network((int(network.network_address), network.prefixlen))


def _within(addresses: pl.Expr, network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> pl.Expr:
    """Whether addresses, as text, are of a network: each distinct one is looked at once."""

    def look(text: pl.Series) -> pl.Series:
        distinct = text.unique().drop_nulls()
        found: pl.Series = text.is_in([one for one in distinct if one and ipaddress.ip_address(one) in network])
        return found

    inside: pl.Expr = addresses.map_batches(look, return_dtype=pl.Boolean, is_elementwise=True)
    return inside


def _port(kind: Kind, value: str) -> pl.Expr:
    first, dash, last = value.partition("-")
    if not (first.isdecimal() and (last.isdecimal() or not dash) and int(first) <= int(last or first) <= 65535):
        raise ConfigError(f"{value!r} is neither a port nor FIRST-LAST")
    return pl.any_horizontal(pl.col(column).is_between(int(first), int(last or first)) for column in kind.columns)


def _protocol(kind: Kind, value: str) -> pl.Expr:
    number = protocol_numbers(pl.Series([value]))[0]
    if number is None:
        raise ConfigError(f"{value!r} is no protocol's name or number")
    return pl.any_horizontal(pl.col(column) == number for column in kind.columns)


def _verdict(kind: Kind, value: str) -> pl.Expr:
    verdict, mismatch = kind.columns
    return pl.col(mismatch if value in MISMATCHES else verdict) == value


def _name(kind: Kind, value: str) -> pl.Expr:
    name = value.lower().rstrip(".")
    if not name.strip("*."):
        raise ConfigError(f"{value!r} is no name")
    return pl.any_horizontal(
        pl.col(column).str.ends_with(name[1:]) if name.startswith("*.") else pl.col(column) == name
        for column in kind.columns
    )


def _prefix(kind: Kind, value: str) -> pl.Expr:
    return pl.any_horizontal(pl.col(column).str.starts_with(value) for column in kind.columns)


TESTS: Final[Mapping[str, Callable[[Kind, str], pl.Expr]]] = {
    "address": _address,
    "choice": _equal,
    "equal": _equal,
    "name": _name,
    "object": _object,
    "pod": _pod,
    "port": _port,
    "prefix": _prefix,
    "protocol": _protocol,
    "verdict": _verdict,
}
"""How a value of each kind is compared. They raise ConfigError, without the condition's name, for one that cannot be
meant."""
