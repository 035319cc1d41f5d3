"""Objects to policies: one reader a kind. A kind that has none is one of the `strangers`.

To add a kind, write a function from its object to the `Policy` terms of each direction, and name it in `READERS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from ...inventory.admin_policies import (
    AdminNetworkPolicy,
    AdminPort,
    BaselineAdminNetworkPolicy,
    ClusterNetworkPolicy,
    EgressPeer,
    IngressPeer,
    NamespacedPods,
    ProtocolMatch,
    Subject,
    Transport,
)
from ...inventory.admin_policies import Rule as AdminRule
from ...inventory.models import Resource, namespace_of
from ...inventory.policies import EgressRule, IngressRule, LabelSelector, NetworkPolicy, PolicyPeer, PolicyPort
from ..flowfile import PROTOCOL_NUMBERS
from .terms import Action, Addresses, Direction, NamedPort, Nodes, Peer, Pods, Policy, Ports, Rule, Selector, Tier

_ACTIONS: Final = {"Allow": Action.ALLOW, "Accept": Action.ALLOW, "Deny": Action.DENY, "Pass": Action.PASS}
_TIERS: Final = {"Admin": Tier.ADMIN, "Baseline": Tier.BASELINE}
LAST: Final = 1001
"""Behind every priority: the singleton BaselineAdminNetworkPolicy has none, and is asked after all that have one."""


def read_one(item: Resource) -> tuple[Policy, ...]:
    """The policies that the object is, each direction apart; none where it is of no kind that is judged."""
    reader = READERS.get(type(item))
    return tuple(reader(item)) if reader is not None else ()


def _network_policy(policy: NetworkPolicy) -> Iterator[Policy]:
    namespace = namespace_of(policy)
    spec = policy.spec
    sides: tuple[tuple[Direction, bool, Iterable[IngressRule | EgressRule]], ...] = (
        ("ingress", "Ingress" in spec.directions, spec.ingress or ()),
        ("egress", "Egress" in spec.directions, spec.egress or ()),
    )
    for direction, isolates, written in sides:
        if isolates:
            rules = tuple(
                Rule(
                    str(number),
                    Action.ALLOW,
                    frozenset(_peer(peer, namespace) for peer in rule.peers) if rule.peers else None,
                    frozenset(map(_port, rule.ports)) if rule.ports else None,
                )
                for number, rule in enumerate(written, start=1)
            )
            subject = Pods(namespace, (), _selector(spec.pod_selector))
            hangs = direction == "egress" and not spec.policy_types
            name = policy.metadata.name
            yield Policy(policy.kind, namespace, name, direction, Tier.NAMESPACE, 0, subject, rules, hangs)


def _peer(peer: PolicyPeer, namespace: str) -> Peer:
    if peer.ip_block is not None:
        return Addresses(peer.ip_block.cidr.network, tuple(cidr.network for cidr in peer.ip_block.excluded or ()))
    pods = _selector(peer.pod_selector)
    if peer.namespace_selector is None:
        return Pods(namespace, (), pods)
    return Pods(None, _selector(peer.namespace_selector), pods)


def _port(port: PolicyPort) -> Ports | NamedPort:
    protocol = PROTOCOL_NUMBERS[port.protocol]
    if port.port is None:
        return Ports(protocol)
    if isinstance(port.port, str):
        return NamedPort(port.port, protocol)
    return Ports(protocol, port.port, port.end_port or port.port)


def _admin(policy: AdminNetworkPolicy) -> Iterator[Policy]:
    yield from _ordered(policy, Tier.ADMIN, policy.spec.priority)


def _baseline(policy: BaselineAdminNetworkPolicy) -> Iterator[Policy]:
    yield from _ordered(policy, Tier.BASELINE, LAST)


def _cluster(policy: ClusterNetworkPolicy) -> Iterator[Policy]:
    yield from _ordered(policy, _TIERS[policy.spec.tier], policy.spec.priority)


def _ordered(
    policy: AdminNetworkPolicy | BaselineAdminNetworkPolicy | ClusterNetworkPolicy, tier: Tier, priority: int
) -> Iterator[Policy]:
    spec = policy.spec
    sides: tuple[tuple[Direction, Iterable[Any]], ...] = (
        ("ingress", spec.ingress or ()),
        ("egress", spec.egress or ()),
    )
    for direction, written in sides:
        rules = tuple(
            Rule(
                rule.name or str(number),
                _ACTIONS[rule.action],
                frozenset(term for peer in rule.peers for term in _admin_peers(peer)),
                _admin_ports(rule),
            )
            for number, rule in enumerate(written, start=1)
        )
        if rules:
            subject = _subject(spec.subject)
            yield Policy(policy.kind, None, policy.metadata.name, direction, tier, priority, subject, rules)


def _subject(subject: Subject) -> Pods:
    return _pods(subject.namespaces, subject.pods)


def _pods(namespaces: LabelSelector | None, pods: NamespacedPods | None) -> Pods:
    if pods is not None:
        return Pods(None, _selector(pods.namespace_selector), _selector(pods.pod_selector))
    return Pods(None, _selector(namespaces), ())


def _admin_peers(peer: IngressPeer | EgressPeer) -> Iterator[Peer]:
    """A peer's terms; none of a domain name's, for which addresses are known to DNS only."""
    if peer.namespaces is not None or peer.pods is not None:
        yield _pods(peer.namespaces, peer.pods)
    elif isinstance(peer, EgressPeer):
        if peer.nodes is not None:
            yield Nodes(_selector(peer.nodes))
        for cidr in peer.networks or ():
            yield Addresses(cidr.network)


def _admin_ports(rule: AdminRule) -> frozenset[Ports | NamedPort] | None:
    terms = [*map(_admin_port, rule.ports or ()), *map(_protocol, rule.protocols or ())]
    return frozenset(terms) or None


def _admin_port(port: AdminPort) -> Ports | NamedPort:
    if port.port_number is not None:
        return Ports(PROTOCOL_NUMBERS[port.port_number.protocol], port.port_number.port, port.port_number.port)
    if port.port_range is not None:
        return Ports(PROTOCOL_NUMBERS[port.port_range.protocol], port.port_range.start, port.port_range.end)
    return NamedPort(port.named_port or "", None)


def _protocol(match: ProtocolMatch) -> Ports | NamedPort:
    transports: dict[str, Transport | None] = {"TCP": match.tcp, "UDP": match.udp, "SCTP": match.sctp}
    for protocol, transport in transports.items():
        if transport is not None:
            return _transport(PROTOCOL_NUMBERS[protocol], transport)
    return NamedPort(match.destination_named_port or "", None)


def _transport(protocol: int, transport: Transport) -> Ports:
    port = transport.destination_port
    if port is None:
        return Ports(protocol)
    if port.range is not None:
        return Ports(protocol, port.range.start, port.range.end)
    number = port.number or 0
    return Ports(protocol, number, number)


def _selector(selector: LabelSelector | None) -> Selector:
    """A selector's requirements in one order, so that equal ones are equal."""
    if selector is None:
        return ()
    labels: Selector = tuple((key, "In", (value,)) for key, value in (selector.match_labels or {}).items())
    expressions: Selector = tuple(
        (term.key, term.operator, tuple(sorted(term.values or ()))) for term in selector.match_expressions or ()
    )
    return tuple(sorted({*labels, *expressions}))


READERS: Final[Mapping[type[Resource], Callable[[Any], Iterator[Policy]]]] = {
    NetworkPolicy: _network_policy,
    AdminNetworkPolicy: _admin,
    BaselineAdminNetworkPolicy: _baseline,
    ClusterNetworkPolicy: _cluster,
}
"""The kinds that are judged. Each reader yields the object's policies in the engine's terms, a direction at a time."""
