"""Misdeeds that make links narrow, so that crowds of packets wait for one another: each has a crowd and a narrow link.

Delay alone needs netem, which not every kernel has. The queue `htb` lets packets of one kind out of a pod at a rate, on
the way to where collectors see them; all others pass as ever.
"""

from __future__ import annotations

from collections.abc import Iterator

from .deed import Deed, rules
from .objects import Cluster, Pod
from .plan import Plan


def _narrow(pod: Pod, name: str, rate: str, packets: str) -> Iterator[Deed]:
    """The pod sends these packets, as nftables matches them, no faster than `rate`: they wait for one another."""
    where = f"{pod.namespace}/{pod.name}"
    lines = [
        "qdisc add dev eth0 root handle 1: htb default 0",
        f"class add dev eth0 parent 1: classid 1:10 htb rate {rate} burst 100 cburst 100 quantum 1500",
        "qdisc add dev eth0 parent 1:10 handle 10: pfifo limit 5000",
    ]
    yield Deed(where, ("tc", "-batch", "-"), "\n".join(lines))
    yield rules(where, name, f"type filter hook output priority filter; {packets} meta priority set 1:10")


def _asking(cluster: Cluster) -> Pod:
    """A pod that asks DNS for nothing else."""
    return next(pod for pod in cluster.pods_labelled("app-namespace", app="webapp") if pod.node == "node1")


def crowds_ask(p: Plan) -> None:
    """Questions to DNS, 25 at once."""
    for at in p.times(12):
        for _ in range(25):
            p.add(_asking(p.cluster), "dns-slow", at, "lookup", host="webapp.app-namespace.svc.cluster.local")


def slow_answers(cluster: Cluster) -> Iterator[Deed]:
    """The servers' answers to who asks them."""
    packets = f"ip daddr {_asking(cluster).address} udp sport 53"
    for server in cluster.pods_labelled("kube-system", **{"k8s-app": "kube-dns"}):
        yield from _narrow(server, "dns-slow", "8kbit", packets)


def crowds_connect(p: Plan) -> None:
    """Connections to a Service, ten at once."""
    target = p.service("app-namespace", "backend-service", 80, by_name=False)
    for at in p.times(24):
        for _ in range(10):
            p.add(p.debugger, "connect-slow", at, "http", path="/bytes/10", **target)


def slow_accepts(cluster: Cluster) -> Iterator[Deed]:
    """The SYN-ACKs of the Service's endpoints."""
    for server in cluster.pods_labelled("app-namespace", app="backend"):
        packets = "tcp sport 8080 tcp flags & (syn | ack) == syn | ack"
        yield from _narrow(server, "connect-slow", "16kbit", packets)


def crowds_query(p: Plan) -> None:
    """Queries to a database, ten at once."""
    client = p.cluster.pods_labelled("app-namespace", app="backend")[0]
    target = p.service("production", "database-service", 5432, by_name=False)
    for at in p.times(24):
        for _ in range(10):
            p.add(client, "round-trip-slow", at, "echo", sizes=[4000], **target)


def slow_results(cluster: Cluster) -> Iterator[Deed]:
    """All that the database answers."""
    for server in cluster.pods_labelled("production", app="database"):
        yield from _narrow(server, "round-trip-slow", "1mbit", "tcp sport 5432")
