"""Small random clusters, policies of all kinds and connections, from a seed; made to collide.

Every feature of the kinds is drawn often: all operators, named ports, ranges, exceptions, both families, empty lists.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any, Final

from tests.pipeline.attribution.policies.oracle import End, Object, name

NAMESPACES: Final = {"x": {"team": "a"}, "y": {"team": "b", "tier": ""}, "z": {}}
KEYS: Final = ("app", "role", "tier")
VALUES: Final = ("a", "b", "")
NODES: Final = {"n1": {"os": "linux", "app": "a"}, "n2": {}}
NODE_IPS: Final = {"n1": "192.0.2.1", "n2": "192.0.2.2"}
OUTSIDE: Final = ("203.0.113.7", "198.51.100.255", "255.255.255.255", "0.0.0.1", "2001:db8::7", "ffff::1")
CIDRS: Final = (
    "0.0.0.0/0",
    "::/0",
    "10.0.0.0/8",
    "10.0.0.9/30",
    "10.0.0.1/32",
    "198.51.100.0/24",
    "192.0.2.0/31",
    "2001:db8::/32",
    "fd00::2/127",
    "128.0.0.0/1",
    "::/1",
    "8000::/1",
)
EXCEPTIONS: Final = {
    "0.0.0.0/0": ("10.0.0.0/29", "203.0.113.7/32"),
    "10.0.0.0/8": ("10.0.0.4/30", "10.0.0.2/32"),
    "::/0": ("fd00::/16",),
}
PORTS: Final = (1, 53, 80, 81, 443, 65535)
PROTOCOLS: Final = ("TCP", "UDP", "SCTP")
PORT_NAMES: Final = ("web", "dns")


class Draw:
    """A seeded cluster with its policies."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.pods = [self._pod(number) for number in range(self._random.randint(2, 7))]
        policies = [self._policy(number) for number in range(self._random.randint(0, 7))]
        self.policies = list({name(policy): policy for policy in policies}.values())

    def ends(self) -> list[End]:
        """Everything that a connection can begin or end at."""
        pods = [
            End(address["ip"], pod=pod)
            for pod in self.pods
            if not pod["spec"]["hostNetwork"]
            for address in pod["status"]["podIPs"]
        ]
        nodes = [End(ip, node=NODES[node], node_name=node) for node, ip in NODE_IPS.items()]
        return [*pods, *nodes, *(End(ip) for ip in OUTSIDE)]

    def connections(self, count: int) -> list[tuple[End, End, str, int]]:
        """Source, destination, protocol and port; some of them from a pod to itself."""
        ends = self.ends()
        one = self._random.choice
        return [(one(ends), one(ends), one((*PROTOCOLS, "ICMP")), one(PORTS)) for _ in range(count)]

    def objects(self) -> list[Object]:
        """All as Kubernetes objects; namespace `z` has none."""
        namespaces = [
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": labels}}
            for namespace, labels in NAMESPACES.items()
            if namespace != "z"
        ]
        nodes = [
            {
                "apiVersion": "v1",
                "kind": "Node",
                "metadata": {"name": node, "labels": labels},
                "status": {"addresses": [{"type": "InternalIP", "address": NODE_IPS[node]}]},
            }
            for node, labels in NODES.items()
        ]
        return [*namespaces, *nodes, *self.pods, *self.policies]

    def _pod(self, number: int) -> Object:
        ports = [
            {"name": port, "protocol": self._one(PROTOCOLS), "containerPort": self._one(PORTS)}
            for port in self._some(PORT_NAMES)
        ]
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": f"p{number}", "namespace": self._one(tuple(NAMESPACES)), "labels": self._labels()},
            "spec": {
                "nodeName": self._one(tuple(NODES)),
                "hostNetwork": self._chance(0.1),
                "containers": [{"ports": ports}],
            },
            "status": {"phase": "Running", "podIPs": [{"ip": f"10.0.0.{number}"}, {"ip": f"fd00::{number}"}]},
        }

    def _policy(self, number: int) -> Object:
        draw = self._one((self._network_policy, self._network_policy, self._admin, self._baseline, self._cluster))
        policy: Object = draw(number)
        return policy

    def _network_policy(self, number: int) -> Object:
        spec: Object = {"podSelector": self._selector()}
        for direction, peers in (("ingress", "from"), ("egress", "to")):
            if self._chance(0.7):
                spec[direction] = self._list(lambda peers=peers: self._rule(peers), 3)  # type: ignore[misc]  # bound now
        if self._chance(0.6):
            spec["policyTypes"] = self._some(("Ingress", "Egress")) or ["Egress"]
        return {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"name": f"np{number}", "namespace": self._one(tuple(NAMESPACES))},
            "spec": spec,
        }

    def _rule(self, peers: str) -> Object:
        rule: Object = {}
        if self._chance(0.7):
            rule[peers] = self._list(self._peer, 2)
        if self._chance(0.6):
            rule["ports"] = self._list(self._port, 2)
        return rule

    def _peer(self) -> Object:
        if self._chance(0.35):
            cidr = self._one(CIDRS)
            return {"ipBlock": {"cidr": cidr, "except": self._some(EXCEPTIONS.get(cidr, ()))}}
        terms = {"podSelector": self._selector(), "namespaceSelector": self._selector(("team", "tier"), ("a", "b", ""))}
        return {key: terms[key] for key in self._some(tuple(terms)) or ["podSelector"]}

    def _port(self) -> Object:
        term: Object = {"protocol": self._one(PROTOCOLS)} if self._chance(0.6) else {}
        if self._chance(0.3):
            return {**term, "port": self._one(PORT_NAMES)}
        if self._chance(0.2):
            return term
        first, last = sorted((self._one(PORTS), self._one(PORTS)))
        return {**term, "port": first, **({"endPort": last} if self._chance(0.3) else {})}

    def _admin(self, number: int) -> Object:
        spec = self._ordered(("Allow", "Deny", "Pass"), "ports", self._admin_port)
        return self._of_group("v1alpha1", "AdminNetworkPolicy", f"anp{number}", {**spec, "priority": self._one((1, 2))})

    def _baseline(self, number: int) -> Object:
        spec = self._ordered(("Allow", "Deny"), "ports", self._admin_port)
        return self._of_group("v1alpha1", "BaselineAdminNetworkPolicy", "default", spec)

    def _cluster(self, number: int) -> Object:
        spec = self._ordered(("Accept", "Deny", "Pass"), "protocols", self._protocol)
        tier = {"tier": self._one(("Admin", "Baseline")), "priority": self._one((1, 2))}
        return self._of_group("v1alpha2", "ClusterNetworkPolicy", f"cnp{number}", {**spec, **tier})

    def _of_group(self, version: str, kind: str, called: str, spec: Object) -> Object:
        version = f"policy.networking.k8s.io/{version}"
        return {"apiVersion": version, "kind": kind, "metadata": {"name": called}, "spec": spec}

    def _ordered(self, actions: Sequence[str], matcher: str, port: Callable[[], Object]) -> Object:
        def rule(peers: str, peer: Callable[[], Object]) -> Object:
            made: Object = {"action": self._one(actions), peers: [peer() for _ in range(self._random.randint(1, 2))]}
            if self._chance(0.5):
                made["name"] = f"r{self._random.randint(0, 99)}"
            if self._chance(0.5):
                made[matcher] = self._list(port, 2)
            return made

        return {
            "subject": self._pods(),
            "ingress": self._list(lambda: rule("from", self._pods), 3),
            "egress": self._list(lambda: rule("to", self._egress_peer), 3),
        }

    def _pods(self) -> Object:
        namespaces = self._selector(("team", "tier"), ("a", "b", ""))
        if self._chance(0.4):
            return {"namespaces": namespaces}
        return {"pods": {"namespaceSelector": namespaces, "podSelector": self._selector()}}

    def _egress_peer(self) -> Object:
        if self._chance(0.2):
            return {"nodes": self._selector(("os", "app"), ("linux", "a"))}
        if self._chance(0.3):
            return {"networks": self._some(CIDRS) or ["10.0.0.0/8"]}
        return self._pods()

    def _admin_port(self) -> Object:
        if self._chance(0.3):
            return {"namedPort": self._one(PORT_NAMES)}
        protocol = {"protocol": self._one(PROTOCOLS)} if self._chance(0.6) else {}
        if self._chance(0.3):
            return {"portRange": {**protocol, "start": 53, "end": 81}}
        return {"portNumber": {**protocol, "port": self._one(PORTS)}}

    def _protocol(self) -> Object:
        if self._chance(0.3):
            return {"destinationNamedPort": self._one(PORT_NAMES)}
        ports: Sequence[Object] = (
            {},
            {"destinationPort": {"number": self._one(PORTS)}},
            {"destinationPort": {"range": {"start": 53, "end": 81}}},
        )
        return {self._one(("tcp", "udp", "sctp")): self._one(ports)}

    def _selector(self, keys: Sequence[str] = KEYS, values: Sequence[str] = VALUES) -> Object:
        selector: Object = {}
        if self._chance(0.5):
            selector["matchLabels"] = {self._one(keys): self._one(values) for _ in range(self._random.randint(0, 2))}
        if self._chance(0.3):
            selector["matchExpressions"] = self._list(lambda: self._requirement(keys, values), 3)
        return selector

    def _requirement(self, keys: Sequence[str], values: Sequence[str]) -> Object:
        operator = self._one(("In", "NotIn", "Exists", "DoesNotExist"))
        term: Object = {"key": self._one(keys), "operator": operator}
        if operator in {"In", "NotIn"}:
            term["values"] = self._some(values) or ["a"]
        return term

    def _labels(self) -> dict[str, str]:
        return {key: self._one(VALUES) for key in self._some(KEYS)}

    def _list(self, draw: Callable[[], Object], most: int) -> list[Object]:
        return [draw() for _ in range(self._random.randint(0, most))]

    def _some(self, pool: Sequence[str]) -> list[str]:
        return [item for item in pool if self._chance(0.5)]

    def _one(self, pool: Sequence[Any]) -> Any:
        return self._random.choice(pool)

    def _chance(self, probability: float) -> bool:
        return self._random.random() < probability
