"""Whether a term of a policy means an end or a port, and why, in plain words. One function a kind of term.

The invariant: the yes or no is that of the engine's tables; the words name the one requirement that failed.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass

from ..attribution.flowfile import PROTOCOL_NUMBERS
from ..attribution.policies.terms import Addresses, NamedPort, Nodes, Peer, Pods, Ports, Selector
from ..inventory.addresses import Address
from .parties import Party

PROTOCOL_NAMES = {number: name for name, number in PROTOCOL_NUMBERS.items()}


@dataclass(frozen=True, slots=True)
class Met:
    """Whether something is met, and why or why not."""

    met: bool
    why: str


def meets(selector: Selector, labels: Mapping[str, str], who: str) -> Met:
    """Whether labels meet every requirement; the first that fails is told."""
    for key, operator, values in selector:
        here = labels.get(key)
        has = f"{who} has {key}={here}" if here is not None else f"{who} has no label {key}"
        if operator == "In" and here not in values:
            return Met(False, f"{has}, wanted {_one_of(key, values)}")
        if operator == "NotIn" and here in values:
            return Met(False, f"{has}, which is ruled out")
        if operator == "Exists" and here is None:
            return Met(False, f"{has}, wanted any")
        if operator == "DoesNotExist" and here is not None:
            return Met(False, f"{has}, wanted none")
    wanted = ", ".join(_requirement(*requirement) for requirement in selector)
    return Met(True, wanted)


def selects(subject: Pods, party: Party) -> Met:
    """Whether a policy's subject, or a peer of pods, means the end."""
    if not party.is_pod:
        return Met(False, f"{party.text} is no pod with an address of its own")
    if subject.namespace is not None and subject.namespace != party.namespace:
        return Met(False, f"namespace {party.namespace}, wanted {subject.namespace}")
    namespaces = meets(subject.namespaces, party.namespace_labels, f"namespace {party.namespace}")
    if not namespaces.met:
        return namespaces
    pods = meets(subject.pods, party.labels, "the pod")
    if not pods.met:
        return pods
    if subject.namespace is not None:
        where = f"namespace {subject.namespace}"
    else:
        where = f"namespaces with {namespaces.why}" if namespaces.why else "any namespace"
    return Met(True, f"pods of {where} with {pods.why}" if pods.why else f"every pod of {where}")


def means_peer(peer: Peer, party: Party) -> Met:
    """Whether one peer of a rule means the end."""
    if isinstance(peer, Pods):
        return selects(peer, party)
    if isinstance(peer, Nodes):
        if party.kind != "Node":
            return Met(False, f"{party.text} is no node")
        met = meets(peer.nodes, party.labels, "the node")
        return Met(True, f"nodes with {met.why}" if met.why else "every node") if met.met else met
    return _holds(peer, party.address)


def means_port(term: Ports | NamedPort, protocol: int, port: int, destination: Party) -> Met:
    """Whether one port of a rule means the connection's."""
    if isinstance(term, NamedPort):
        numbers = [
            (known, number)
            for name, known, number in destination.named_ports
            if name == term.name and term.protocol in {None, known}
        ]
        if (protocol, port) in numbers:
            return Met(True, f"{term.name} is {written(protocol, port)} at the destination")
        if not numbers:
            return Met(False, f"the destination has no port {term.name}")
        found = " and ".join(written(*number) for number in numbers)
        return Met(False, f"{term.name} is {found} at the destination, not {written(protocol, port)}")
    text = written(term.protocol, term.first, term.last)
    if protocol == term.protocol and term.first <= port <= term.last:
        return Met(True, text)
    return Met(False, f"{text}, not {written(protocol, port)}")


def written(protocol: int, first: int, last: int | None = None) -> str:
    """A protocol and its ports as people write them."""
    name = PROTOCOL_NAMES.get(protocol, f"protocol {protocol}")
    if first == 0 and last == 65535:
        return f"every port of {name}"
    return f"{name} {first}" if last is None or last == first else f"{name} {first}-{last}"


def _holds(term: Addresses, address: Address) -> Met:
    parsed = ipaddress.ip_address(str(address))
    if parsed.version != term.network.version or parsed not in term.network:
        return Met(False, f"{parsed} is not in {term.network}")
    for part in term.excluded:
        if parsed in part:
            return Met(False, f"{parsed} is in {term.network}, but in {part} too, which is excepted")
    return Met(True, f"{parsed} is in {term.network}")


def _one_of(key: str, values: tuple[str, ...]) -> str:
    return f"{key}={values[0]}" if len(values) == 1 else f"{key} in ({', '.join(values)})"


def _requirement(key: str, operator: str, values: tuple[str, ...]) -> str:
    return {
        "In": _one_of(key, values) if values else "",
        "NotIn": f"{key} not in ({', '.join(values)})",
        "Exists": f"any {key}",
        "DoesNotExist": f"no {key}",
    }[operator]
