"""The cluster-wide policies of policy.networking.k8s.io: AdminNetworkPolicy and BaselineAdminNetworkPolicy (v1alpha1),
ClusterNetworkPolicy (v1alpha2).

All have subjects, ordered rules and actions. The invariant is that of `policies`: what the API server would refuse
raises, with the field named; a rule of which only another version of the API knows a part, as `sameLabels` of
v1alpha1's beginnings, is refused with its policy, for without that part it would mean more than it says.

Source: the types of the network-policy-api project, of which the field comments are the specification.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

import msgspec

from .parts import Cidr, Metadata, PortNumber, Slim
from .policies import LabelSelector, Protocol, Term

Priority = Annotated[int, msgspec.Meta(ge=0, le=1000)]


class NamespacedPods(Term, frozen=True):
    """Pods by their namespaces' labels and their own."""

    namespace_selector: LabelSelector = LabelSelector()
    pod_selector: LabelSelector = LabelSelector()


class Subject(Term, frozen=True):
    """The pods that a policy applies to; never hostNetwork ones."""

    namespaces: LabelSelector | None = None
    pods: NamespacedPods | None = None

    def __post_init__(self) -> None:
        _exactly_one(self)


class IngressPeer(Term, frozen=True):
    """One `from` entry."""

    namespaces: LabelSelector | None = None
    pods: NamespacedPods | None = None

    def __post_init__(self) -> None:
        _exactly_one(self)


class EgressPeer(Term, frozen=True):
    """One `to` entry."""

    namespaces: LabelSelector | None = None
    pods: NamespacedPods | None = None
    nodes: LabelSelector | None = None
    networks: list[Cidr] | None = None
    domain_names: list[str] | None = None

    def __post_init__(self) -> None:
        _exactly_one(self)


class PortNumberMatch(Term, frozen=True):
    """v1alpha1: one port of one protocol."""

    port: PortNumber
    protocol: Protocol = "TCP"


class PortRangeMatch(Term, frozen=True):
    """v1alpha1: a range of ports of one protocol."""

    start: PortNumber
    end: PortNumber
    protocol: Protocol = "TCP"

    def __post_init__(self) -> None:
        _ordered(self.start, self.end)


class AdminPort(Term, frozen=True):
    """v1alpha1: one `ports` entry."""

    port_number: PortNumberMatch | None = None
    port_range: PortRangeMatch | None = None
    named_port: str | None = None

    def __post_init__(self) -> None:
        _exactly_one(self)


class PortSpan(Term, frozen=True):
    """v1alpha2: a range of ports."""

    start: PortNumber
    end: PortNumber

    def __post_init__(self) -> None:
        _ordered(self.start, self.end)


class DestinationPort(Term, frozen=True):
    """v1alpha2: one port or a range."""

    number: PortNumber | None = None
    range: PortSpan | None = None

    def __post_init__(self) -> None:
        _exactly_one(self)


class Transport(Term, frozen=True):
    """v1alpha2: what to match of TCP, UDP or SCTP; without a port, the whole protocol."""

    destination_port: DestinationPort | None = None


class ProtocolMatch(Term, frozen=True):
    """v1alpha2: one `protocols` entry."""

    tcp: Transport | None = None
    udp: Transport | None = None
    sctp: Transport | None = None
    destination_named_port: str | None = None

    def __post_init__(self) -> None:
        _exactly_one(self)


class Rule(Term, frozen=True):
    """What the rules of all kinds have; their order is their precedence."""

    action: Literal["Allow", "Accept", "Deny", "Pass"]
    name: str = ""
    ports: list[AdminPort] | None = None
    protocols: list[ProtocolMatch] | None = None


class IngressRule(Rule, frozen=True):
    """A rule on what comes in."""

    peers: Annotated[list[IngressPeer], msgspec.Meta(min_length=1)] = msgspec.field(name="from", default_factory=list)

    def __post_init__(self) -> None:
        if not self.peers:
            raise ValueError("from: must hold a peer")


class EgressRule(Rule, frozen=True):
    """A rule on what goes out."""

    peers: Annotated[list[EgressPeer], msgspec.Meta(min_length=1)] = msgspec.field(name="to", default_factory=list)

    def __post_init__(self) -> None:
        if not self.peers:
            raise ValueError("to: must hold a peer")
        if self.action not in {"Accept", "Allow"} and any(peer.domain_names for peer in self.peers):
            raise ValueError("to: domainNames may only be accepted")


class AdminSpec(Slim, frozen=True):
    """v1alpha1 AdminNetworkPolicySpec."""

    priority: Priority
    subject: Subject
    ingress: list[IngressRule] | None = None
    egress: list[EgressRule] | None = None

    def __post_init__(self) -> None:
        _uses(self, "ports", {"Allow", "Deny", "Pass"})


class BaselineSpec(Slim, frozen=True):
    """v1alpha1 BaselineAdminNetworkPolicySpec."""

    subject: Subject
    ingress: list[IngressRule] | None = None
    egress: list[EgressRule] | None = None

    def __post_init__(self) -> None:
        _uses(self, "ports", {"Allow", "Deny"})


class ClusterSpec(Slim, frozen=True):
    """v1alpha2 ClusterNetworkPolicySpec."""

    tier: Literal["Admin", "Baseline"]
    priority: Priority
    subject: Subject
    ingress: list[IngressRule] | None = None
    egress: list[EgressRule] | None = None

    def __post_init__(self) -> None:
        _uses(self, "protocols", {"Accept", "Deny", "Pass"})


class AdminNetworkPolicy(Slim, frozen=True):
    """policy.networking.k8s.io/v1alpha1 AdminNetworkPolicy."""

    metadata: Metadata
    spec: AdminSpec
    kind: str = "AdminNetworkPolicy"


class BaselineAdminNetworkPolicy(Slim, frozen=True):
    """policy.networking.k8s.io/v1alpha1 BaselineAdminNetworkPolicy; the one object of its kind is called `default`."""

    metadata: Metadata
    spec: BaselineSpec
    kind: str = "BaselineAdminNetworkPolicy"

    def __post_init__(self) -> None:
        if self.metadata.name != "default":
            raise ValueError("metadata.name: must be `default`")


class ClusterNetworkPolicy(Slim, frozen=True):
    """policy.networking.k8s.io/v1alpha2 ClusterNetworkPolicy."""

    metadata: Metadata
    spec: ClusterSpec
    kind: str = "ClusterNetworkPolicy"


def _exactly_one(part: Slim) -> None:
    """Refuse a part of which not exactly one field is set; an empty selector is set."""
    fields = msgspec.structs.fields(part)
    if sum(getattr(part, field.name) is not None for field in fields) != 1:
        raise ValueError(f"must give exactly one of {', '.join(field.encode_name for field in fields)}")


def _ordered(start: int, end: int) -> None:
    if end <= start:
        raise ValueError("end: must be greater than start")


def _rules(spec: AdminSpec | BaselineSpec | ClusterSpec) -> Iterator[tuple[str, Rule]]:
    for direction, rules in (("ingress", spec.ingress), ("egress", spec.egress)):
        for index, rule in enumerate(rules or []):
            yield f"{direction}[{index}]", rule


def _uses(spec: AdminSpec | BaselineSpec | ClusterSpec, matcher: str, actions: set[str]) -> None:
    """Refuse rules that speak another version's language."""
    foreign = "protocols" if matcher == "ports" else "ports"
    for path, rule in _rules(spec):
        if rule.action not in actions:
            raise ValueError(f"{path}.action: {rule.action!r} is none of {', '.join(sorted(actions))}")
        if getattr(rule, foreign):
            raise ValueError(f"{path}.{foreign}: unknown here; ports are matched by `{matcher}`")
