"""A plan of traffic: which client does what and when. Built by the scenarios, carried out by `workloads.client`.

Times, sizes and choices come from one seeded generator, so the same cluster, duration and seed give the same plan.
"""

from __future__ import annotations

import random
from typing import Any

from .objects import Cluster, Pod

Fields = dict[str, Any]

OUTSIDE = "outside-client"
REFERENCE_S = 30.0
"""Scenarios give their counts for a run of this length; other lengths scale them."""
TAIL_S = 3.0
"""Nothing short begins in the last seconds, so that what gets no reply times out about when the run ends."""


class Plan:
    """Collects actions by client."""

    def __init__(self, cluster: Cluster, duration_s: float, seed: int, run: int, enforced: bool) -> None:
        self.cluster = cluster
        self.duration_s = duration_s
        self.random = random.Random(seed)
        self._run = run
        self._enforced = enforced
        self._count = 0
        self._actions: dict[str, list[Fields]] = {}

    def times(self, count: int) -> list[float]:
        """Instants for a scenario that happens `count` times in 30 s; at least one."""
        last = max(self.duration_s - TAIL_S, self.duration_s * 0.4)
        return sorted(
            self.random.uniform(0.1, last) for _ in range(max(1, round(count * self.duration_s / REFERENCE_S)))
        )

    def add(
        self,
        client: Pod | str,
        scenario: str,
        at: float,
        kind: str,
        *,
        denied_by: str | None = None,
        confirmed_if_denied: bool = True,
        tracked: bool = True,
        protocol: int = 6,
        **rest: Any,
    ) -> None:
        """Add an action.

        `denied_by` names the policy that the hand-written rules enforce against it, and `confirmed_if_denied` says
        whether a node's connection tracking has seen the attempt when they do. `tracked` is the same for attempts
        that fail for another reason.
        """
        name = client if isinstance(client, str) else f"{client.namespace}/{client.name}"
        denied = self._enforced and denied_by is not None
        self._count += 1
        action = {
            "id": f"{self._run}-{self._count:05d}",
            "scenario": scenario,
            "at": at,
            "kind": kind,
            "protocol": protocol,
            "denied_by": denied_by if denied else None,
            "tracked": confirmed_if_denied if denied else tracked,
            **rest,
        }
        self._actions.setdefault(name, []).append(action)

    def jobs(self) -> dict[str, Fields]:
        """What each client program is given, by client."""
        resolver = self.cluster.services["kube-system", "kube-dns"]
        jobs = {}
        for name, actions in self._actions.items():
            namespace, slash, pod = name.partition("/")
            jobs[name] = {
                "client": {"namespace": namespace, "pod": pod} if slash else {"name": name},
                "dns": resolver.cluster_ip,
                "dns_service": resolver.reference(53),
                "actions": sorted(actions, key=lambda action: float(action["at"])),
            }
        return jobs

    @property
    def debugger(self) -> Pod:
        """The debug pod."""
        return self.cluster.pods["default", "netshoot"]

    def on(self, node: str, namespace: str, **labels: str) -> Pod:
        """The pod of a workload that runs on this node."""
        return next(pod for pod in self.cluster.pods_labelled(namespace, **labels) if pod.node == node)

    # targets, as keyword arguments of `add`

    def service(self, namespace: str, name: str, port: int, *, by_name: bool = True) -> Fields:
        """Dial a Service's ClusterIP, found by its name or known."""
        service = self.cluster.services[namespace, name]
        host = f"{name}.{namespace}.svc.cluster.local"
        target = {"port": port, "service": service.reference(port), "server": host}
        return {**target, "host": host} if by_name else {**target, "address": service.cluster_ip}

    def service_v6(self, namespace: str, name: str, port: int, *, by_name: bool = True) -> Fields:
        """The same of a dual-stack Service over IPv6."""
        target = self.service(namespace, name, port)
        if by_name:
            return {**target, "ipv6": True}
        del target["host"]
        return {**target, "address": self.cluster.services[namespace, name].cluster_ip_v6}

    def node_port(self, namespace: str, name: str, port: int, node: int) -> Fields:
        """Dial a Service's node port at the address of a node, by its index."""
        service = self.cluster.services[namespace, name]
        address = self.cluster.nodes[node].address
        return {
            "port": service.port(port).node_port,
            "service": service.reference(port),
            "address": address,
            "server": address,
        }

    def load_balancer(self, port: int, host: str = "app.example.com") -> Fields:
        """Dial the ingress controller's LoadBalancer address, for a host of an Ingress."""
        service = self.cluster.services["ingress-nginx", "ingress-nginx-controller"]
        target = {"port": port, "service": service.reference(port), "server": host}
        return {**target, "address": service.load_balancer_ips[0], **({"server_name": host} if port == 443 else {})}


def direct(address: str, port: int) -> Fields:
    """Dial an address that belongs to no Service."""
    return {"address": address, "port": port, "server": f"[{address}]" if ":" in address else address}
