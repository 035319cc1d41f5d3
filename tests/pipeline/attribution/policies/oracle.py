"""The same verdicts worked out one connection and one rule at a time, from the objects as a user writes them.

It shares nothing with the engine but the fields of the API, so that a difference is a mistake on one side.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Object = dict[str, Any]
Responsible = tuple[str, str | None, str, str | None, str, str | None]
"""kind, namespace, name, rule, effect, near_miss_rule."""


@dataclass(frozen=True)
class End:
    """An end of a connection: `pod` (its object), `node` (the Node's labels), or an address alone."""

    ip: str
    pod: Object | None = None
    node: Mapping[str, str] | None = None
    node_name: str = ""


@dataclass(frozen=True)
class Answer:
    verdict: str
    policies: list[Responsible] = field(default_factory=list)


@dataclass(frozen=True)
class Oracle:
    namespaces: Mapping[str, Mapping[str, str]]
    policies: Sequence[Object]

    def side(self, direction: str, src: End, dst: End, protocol: str, port: int) -> Answer:
        """The verdict of one direction."""
        subject, peer = (src, dst) if direction == "egress" else (dst, src)
        if (src.pod is not None and src.pod is dst.pod) or src.ip == dst.ip:
            return Answer("allowed")
        if subject.pod is None:
            return Answer("unprotected")
        mine = [policy for policy in self.policies if self._selects(policy, direction, subject.pod)]
        if not mine:
            return Answer("unprotected")
        said: list[Responsible] = []
        for tier in ("Admin", "NetworkPolicy", "Baseline"):
            members = sorted((p for p in mine if tier_of(p) == tier), key=precedence)
            if tier == "NetworkPolicy":
                if members:
                    allowing = [self._allowing(p, direction, peer, dst, protocol, port) for p in members]
                    if any(allowing):
                        return Answer(
                            "allowed",
                            said + [(*name(p), r, "allow", None) for p, r in zip(members, allowing, strict=True) if r],
                        )
                    if (
                        direction == "ingress"
                        and src.node_name
                        and src.node_name == subject.pod["spec"].get("nodeName")
                    ):
                        return Answer("allowed", said)
                    near = [self._near(p, direction, peer) for p in members]
                    return Answer(
                        "denied", said + [(*name(p), None, "isolates", n) for p, n in zip(members, near, strict=True)]
                    )
                continue
            action, label, policy = self._first(members, direction, peer, dst, protocol, port)
            if policy is not None:
                said.append((*name(policy), label, {"Accept": "allow"}.get(action, action.lower()), None))
                if action != "Pass":
                    return Answer("denied" if action == "Deny" else "allowed", said)
        return Answer("allowed", said)

    def _selects(self, policy: Object, direction: str, pod: Object) -> bool:
        spec, metadata = policy["spec"], pod["metadata"]
        if policy["kind"] != "NetworkPolicy":
            return bool(spec.get(direction)) and self._is_pod(spec["subject"], pod)
        types = spec.get("policyTypes") or ["Ingress", *(["Egress"] if spec.get("egress") else [])]
        return (
            direction.capitalize() in types
            and policy["metadata"]["namespace"] == metadata["namespace"]
            and meets(spec.get("podSelector"), metadata["labels"])
        )

    def _is_pod(self, selects: Object, pod: Object) -> bool:
        namespace = self._labels_of(pod["metadata"]["namespace"])
        if "namespaces" in selects:
            return meets(selects["namespaces"], namespace)
        pods = selects["pods"]
        return meets(pods.get("namespaceSelector"), namespace) and meets(
            pods.get("podSelector"), pod["metadata"]["labels"]
        )

    def _labels_of(self, namespace: str) -> Mapping[str, str]:
        return {**self.namespaces.get(namespace, {}), "kubernetes.io/metadata.name": namespace}

    def _first(
        self, policies: Sequence[Object], direction: str, peer: End, dst: End, protocol: str, port: int
    ) -> tuple[str, str, Object | None]:
        for policy in policies:
            for number, rule in enumerate(policy["spec"][direction], start=1):
                if any(self._admin_peer(term, peer) for term in rule["from" if direction == "ingress" else "to"]):
                    terms = rule.get("ports") or rule.get("protocols")
                    if not terms or any(admin_port(term, dst, protocol, port) for term in terms):
                        return rule["action"], rule.get("name") or str(number), policy
        return "", "", None

    def _admin_peer(self, term: Object, peer: End) -> bool:
        if "nodes" in term:
            return peer.node is not None and meets(term["nodes"], peer.node)
        if "networks" in term:
            return any(holds(cidr, peer.ip) for cidr in term["networks"])
        return peer.pod is not None and "domainNames" not in term and self._is_pod(term, peer.pod)

    def _allowing(self, policy: Object, direction: str, peer: End, dst: End, protocol: str, port: int) -> str | None:
        for number, rule in enumerate(policy["spec"].get(direction) or [], start=1):
            ports = rule.get("ports")
            if self._peers(policy, rule, direction, peer) and (
                not ports or any(is_port(term, dst, protocol, port) for term in ports)
            ):
                return str(number)
        return None

    def _near(self, policy: Object, direction: str, peer: End) -> str | None:
        rules = enumerate(policy["spec"].get(direction) or [], start=1)
        return next((str(number) for number, rule in rules if self._peers(policy, rule, direction, peer)), None)

    def _peers(self, policy: Object, rule: Object, direction: str, peer: End) -> bool:
        terms = rule.get("from" if direction == "ingress" else "to")
        return not terms or any(self._peer(policy, term, peer) for term in terms)

    def _peer(self, policy: Object, term: Object, peer: End) -> bool:
        if "ipBlock" in term:
            block = term["ipBlock"]
            return holds(block["cidr"], peer.ip) and not any(holds(cidr, peer.ip) for cidr in block.get("except", []))
        if peer.pod is None:
            return False
        metadata = peer.pod["metadata"]
        if "namespaceSelector" in term:
            inside = meets(term["namespaceSelector"], self._labels_of(metadata["namespace"]))
        else:
            inside = metadata["namespace"] == policy["metadata"]["namespace"]
        return inside and meets(term.get("podSelector"), metadata["labels"])


def meets(selector: Object | None, labels: Mapping[str, str]) -> bool:
    """Whether labels meet a selector."""
    selector = selector or {}
    if any(labels.get(key) != value for key, value in selector.get("matchLabels", {}).items()):
        return False
    tests: dict[str, Callable[[str, list[str]], bool]] = {
        "In": lambda key, values: key in labels and labels[key] in values,
        "NotIn": lambda key, values: key not in labels or labels[key] not in values,
        "Exists": lambda key, _: key in labels,
        "DoesNotExist": lambda key, _: key not in labels,
    }
    return all(tests[t["operator"]](t["key"], t.get("values", [])) for t in selector.get("matchExpressions", []))


def holds(cidr: str, ip: str) -> bool:
    """Whether a range holds an address; never across families."""
    return ipaddress.ip_address(ip) in ipaddress.ip_network(cidr, strict=False)


def is_port(term: Object, dst: End, protocol: str, port: int) -> bool:
    """Whether a NetworkPolicy port is the destination's port."""
    wanted = term.get("port")
    if term.get("protocol", "TCP") != protocol:
        return False
    if wanted is None:
        return True
    if isinstance(wanted, str):
        return (wanted, protocol, port) in named_ports(dst)
    return port in range(wanted, (term.get("endPort") or wanted) + 1)


def admin_port(term: Object, dst: End, protocol: str, port: int) -> bool:
    """Whether a port of an admin kind is the destination's port."""
    if "namedPort" in term or "destinationNamedPort" in term:
        return (term.get("namedPort") or term["destinationNamedPort"], protocol, port) in named_ports(dst)
    if "portNumber" in term:
        number = term["portNumber"]
        return (number.get("protocol", "TCP"), number["port"]) == (protocol, port)
    if "portRange" in term:
        span = term["portRange"]
        return bool(span.get("protocol", "TCP") == protocol and span["start"] <= port <= span["end"])
    if protocol.lower() not in term:
        return False
    wanted = term[protocol.lower()].get("destinationPort")
    if wanted is None:
        return True
    span = wanted.get("range") or {"start": wanted["number"], "end": wanted["number"]}
    return bool(span["start"] <= port <= span["end"])


def named_ports(dst: End) -> set[tuple[str, str, int]]:
    """Name, protocol and number of the destination's named container ports."""
    if dst.pod is None:
        return set()
    ports = (port for container in dst.pod["spec"]["containers"] for port in container["ports"])
    return {(port["name"], port["protocol"], port["containerPort"]) for port in ports}


def name(policy: Object) -> tuple[str, str | None, str]:
    """Kind, namespace and name."""
    return policy["kind"], policy["metadata"].get("namespace"), policy["metadata"]["name"]


def tier_of(policy: Object) -> str:
    """The tier of a policy."""
    kinds = {"NetworkPolicy": "NetworkPolicy", "AdminNetworkPolicy": "Admin", "BaselineAdminNetworkPolicy": "Baseline"}
    return kinds.get(policy["kind"]) or str(policy["spec"]["tier"])


def precedence(policy: Object) -> tuple[int, str, str]:
    """The order within a tier; the singleton baseline comes last, and names part what priorities do not."""
    metadata = policy["metadata"]
    last = 1001 if policy["kind"] == "BaselineAdminNetworkPolicy" else 0
    return policy["spec"].get("priority", last), metadata.get("namespace", ""), metadata["name"]
