"""NetworkPolicy of networking.k8s.io/v1, as the API server would keep it: validated, defaults filled in.

Label selectors live here too, for the admin kinds share them. The invariant: an object that the API server would refuse
raises, with the field at fault in the message.

Source: the API reference of NetworkPolicySpec and LabelSelector, and the validation that the API server does.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Final, Literal

import msgspec

from .parts import Cidr, Metadata, PortNumber, Slim

Protocol = Literal["TCP", "UDP", "SCTP"]
Direction = Literal["Ingress", "Egress"]
_PORT_NAME: Final = re.compile(r"(?=.*[a-z])[a-z0-9]+(-[a-z0-9]+)*")
_LONGEST_PORT_NAME: Final = 15
_LABEL_NAME: Final = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_SUBDOMAIN: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


class Term(Slim, frozen=True, forbid_unknown_fields=True):
    """A part that says what is meant. One that says more than is known here raises: without it, it would mean more."""


def check_label_key(key: str) -> None:
    """Raise ValueError where it is no key that a label can have. Of values nothing is asked: the API server keeps older
    selectors that name what no label can be, and they select nothing."""
    prefix, slash, name = key.rpartition("/")
    if not _LABEL_NAME.fullmatch(name) or (slash and (not _SUBDOMAIN.fullmatch(prefix) or len(prefix) > 253)):
        raise ValueError(f"{key!r} is no label's key")


class Requirement(Term, frozen=True):
    """One `matchExpressions` entry of a label selector."""

    key: str
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    values: list[str] | None = None

    def __post_init__(self) -> None:
        check_label_key(self.key)
        if self.operator in {"In", "NotIn"} and not self.values:
            raise ValueError(f"values: must be given for the operator {self.operator}")
        if self.operator in {"Exists", "DoesNotExist"} and self.values:
            raise ValueError(f"values: must not be given for the operator {self.operator}")


class LabelSelector(Term, frozen=True):
    """A meta/v1 LabelSelector; empty, it selects everything."""

    match_labels: dict[str, str] | None = None
    match_expressions: list[Requirement] | None = None

    def __post_init__(self) -> None:
        for key in self.match_labels or ():
            check_label_key(key)


class IPBlock(Slim, frozen=True):
    """A range of addresses and the ranges cut out of it."""

    cidr: Cidr
    excluded: list[Cidr] | None = msgspec.field(name="except", default=None)

    def __post_init__(self) -> None:
        whole = self.cidr.network
        for cidr in self.excluded or []:
            part = cidr.network
            if not isinstance(part, type(whole)) or not _is_strictly_within(part, whole):
                raise ValueError(f"except: {part} is not strictly within {whole}")


class PolicyPeer(Slim, frozen=True):
    """One `from` or `to` entry."""

    pod_selector: LabelSelector | None = None
    namespace_selector: LabelSelector | None = None
    ip_block: IPBlock | None = None

    def __post_init__(self) -> None:
        selects = self.pod_selector is not None or self.namespace_selector is not None
        if selects and self.ip_block is not None:
            raise ValueError("ipBlock: may not be given together with a selector")
        if not selects and self.ip_block is None:
            raise ValueError("must give podSelector, namespaceSelector or ipBlock")


def check_port_name(name: str) -> None:
    """Raise ValueError where it is no name that a port can have: RFC 6335's service names, in lower case."""
    if not _PORT_NAME.fullmatch(name) or len(name) > _LONGEST_PORT_NAME:
        told = "; a number is written without quotes" if name.isdecimal() else ""
        raise ValueError(f"port: {name!r} is no port's name: at most 15 of a-z, 0-9 and single -, with a letter{told}")


class PolicyPort(Slim, frozen=True):
    """One `ports` entry: a number, a range of numbers, a container port's name, or every port of the protocol."""

    protocol: Protocol = "TCP"
    port: PortNumber | str | None = None
    end_port: PortNumber | None = None

    def __post_init__(self) -> None:
        if isinstance(self.port, str):
            check_port_name(self.port)
        if self.end_port is None:
            return
        if not isinstance(self.port, int):
            raise ValueError("endPort: may only be given with a port number")  # noqa: TRY004  # a value, to msgspec
        if self.end_port < self.port:
            raise ValueError("endPort: must not be less than port")


class IngressRule(Slim, frozen=True):
    """Who may come in, on which ports; absent or empty means all."""

    peers: list[PolicyPeer] | None = msgspec.field(name="from", default=None)
    ports: list[PolicyPort] | None = None


class EgressRule(Slim, frozen=True):
    """Where pods may go, on which ports; absent or empty means all."""

    peers: list[PolicyPeer] | None = msgspec.field(name="to", default=None)
    ports: list[PolicyPort] | None = None


class NetworkPolicySpec(Slim, frozen=True):
    """v1 NetworkPolicySpec."""

    pod_selector: LabelSelector = LabelSelector()
    ingress: list[IngressRule] | None = None
    egress: list[EgressRule] | None = None
    policy_types: Annotated[list[Direction], msgspec.Meta(max_length=2)] | None = None

    @property
    def directions(self) -> frozenset[Direction]:
        """The directions in which the policy isolates pods: Ingress, and Egress with egress rules, unless told."""
        if self.policy_types:
            return frozenset(self.policy_types)
        return frozenset({"Ingress", "Egress"} if self.egress else {"Ingress"})


class NetworkPolicy(Slim, frozen=True):
    """networking.k8s.io/v1 NetworkPolicy."""

    metadata: Metadata
    spec: NetworkPolicySpec = NetworkPolicySpec()
    kind: str = "NetworkPolicy"


def _is_strictly_within(
    part: ipaddress.IPv4Network | ipaddress.IPv6Network, whole: ipaddress.IPv4Network | ipaddress.IPv6Network
) -> bool:
    return part.prefixlen > whole.prefixlen and part.network_address in whole
