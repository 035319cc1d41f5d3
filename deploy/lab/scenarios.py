"""The traffic of the lab: what its workloads do all day, and what the debug pod does that it should not.

Each function adds one theme to a plan; counts are for 30 seconds. A connection's scenario is its name in the truth.

`tracked` in the truth is False for attempts that no node's connection tracking ever confirms. A packet is confirmed
when it passes a node's last hook, so what is dropped or rejected in the forward hook of the source's own node leaves no
entry, and neither does what never leaves the pod, because the neighbour it asks for does not answer. An attempt that is
dropped at the other node has left its own: it is tracked there, without a reply.
"""

from __future__ import annotations

from typing import Any

from .objects import Cluster, Pod
from .plan import OUTSIDE, Plan, direct
from .programs import API_HOST
from .topology import OUTSIDE_API

API_SERVER_HOST = "kubernetes.default.svc.cluster.local"
Fields = dict[str, Any]

MB = 1_000_000
SIZES = (1, 120, 1500, 20_000, 200_000)
UNUSED = 250
"""The last byte of a pod address that nobody has."""

DENY_ALL = "production/deny-all"
ALLOW_FROM_APP = "production/allow-from-app-namespace"
WEB_NETPOL = "shop/web-netpol"


def plan(cluster: Cluster, duration_s: float, seed: int, run: int, enforced: bool) -> dict[str, dict[str, Any]]:
    """The jobs of a run, by client."""
    p = Plan(cluster, duration_s, seed, run, enforced)
    for theme in (entrances, services, mesh, databases, externals, monitoring, hosts, sizes, failures, reuse, denials):
        theme(p)
    return p.jobs()


def entrances(p: Plan) -> None:
    """From outside: the ingress with and without TLS, node ports of both nodes, routed Service and pod addresses."""
    for path, count in (("", 30), ("/api", 18)):
        for at in p.times(count):
            size: Fields = {
                "path": f"{path}/bytes/{p.random.choice(SIZES)}",
                "request_bytes": p.random.choice((0, 0, 700)),
            }
            p.add(OUTSIDE, "ingress", at, "http", **size, **p.load_balancer(443))
    for at in p.times(4):
        p.add(OUTSIDE, "ingress", at, "http", path="/bytes/40", **p.load_balancer(80))
    for index, node in enumerate(p.cluster.nodes):
        for at in p.times(10):
            p.add(
                OUTSIDE,
                "node-port",
                at,
                "http",
                path="/bytes/900",
                **p.node_port("app-namespace", "web-nodeport", 80, index),
            )
        backend = _on(p, node.name, "app-namespace", app="backend")
        for at in p.times(2):
            p.add(OUTSIDE, "outside-to-pod", at, "http", path="/bytes/60", **direct(backend.address, 8080))
    for at in p.times(4):
        target = p.service("app-namespace", "backend-service", 80, by_name=False)
        p.add(OUTSIDE, "outside-to-cluster-ip", at, "http", path="/bytes/70", **target)
    for at in p.times(3):
        netshoot = _debugger(p)
        p.add(netshoot, "load-balancer-from-pod", at, "http", path="/bytes/50", **p.load_balancer(443))
        p.add(
            netshoot,
            "node-port-from-pod",
            at,
            "http",
            path="/bytes/50",
            **p.node_port("app-namespace", "web-nodeport", 80, 1),
        )


def services(p: Plan) -> None:
    """Between workloads by Service name: random endpoints, hairpins, affinity, one-way datagrams."""
    for pod in p.cluster.pods_labelled("app-namespace", app="backend"):
        for at in p.times(12):
            body = p.random.choice((0, 300, 30_000))
            path = f"/bytes/{p.random.choice(SIZES)}"
            p.add(
                pod, "cluster-ip", at, "http", path=path, request_bytes=body, **p.service("app-namespace", "webapp", 80)
            )
        for at in p.times(8):
            p.add(pod, "hairpin", at, "http", path="/bytes/33", **p.service("app-namespace", "backend-service", 80))
        for at in p.times(5):
            p.add(
                pod,
                "sticky",
                at,
                "http",
                path="/bytes/10",
                **p.service("app-namespace", "sticky-service", 80, by_name=False),
            )
        for at in p.times(3):
            burst: Fields = {"sizes": [80] * p.random.randint(1, 5), "pause_s": 0.02}
            target = p.service("monitoring", "syslog", 514)
            p.add(pod, "one-way-datagrams", at, "datagrams", protocol=17, **burst, **target)
    for at in p.times(8):
        p.add(_debugger(p), "sticky", at, "http", path="/bytes/10", **p.service("app-namespace", "sticky-service", 80))
    for at in p.times(1):
        for _ in range(10):
            target = p.service("app-namespace", "backend-service", 80, by_name=False)
            p.add(_debugger(p), "concurrent", at, "http", path="/bytes/5000", **target)


def mesh(p: Plan) -> None:
    """webapp 90/10 over its subsets, as a sidecar does it: the client picks a subset and dials a pod of it directly."""
    client = p.cluster.pods_labelled("app-namespace", app="backend")[0]
    for index, at in enumerate(p.times(40)):
        subset = "v2" if index % 10 == 9 else "v1"
        pod = p.random.choice(p.cluster.pods_labelled("app-namespace", app="webapp", version=subset))
        chosen: Fields = {"mesh": {"host": "webapp", "namespace": "app-namespace", "subset": subset}}
        p.add(client, "mesh", at, "http", path="/bytes/400", **chosen, **direct(pod.address, 8080))


def databases(p: Plan) -> None:
    """Across namespaces by Service and by headless name, within shop where web-netpol allows it, and all day long."""
    rounds = max(2, int(p.duration_s / 0.5))
    all_day: Fields = {"sizes": [200] * rounds, "pause_s": max(0.0, (p.duration_s - 0.5) / rounds)}
    for pod in p.cluster.pods_labelled("app-namespace", app="backend"):
        for at in p.times(10):
            sizes = [p.random.choice((1, 90, 4000)) for _ in range(p.random.randint(1, 4))]
            p.add(pod, "database", at, "echo", sizes=sizes, **p.service("production", "database-service", 5432))
        for at in p.times(3):
            name = f"database-{p.random.randrange(2)}.database.production.svc.cluster.local"
            p.add(pod, "headless", at, "echo", sizes=[50], host=name, port=5432)
        p.add(pod, "long-lived", 0.0, "echo", **all_day, **p.service("production", "database-service", 5432))
    for app in ("web", "api"):
        for pod in p.cluster.pods_labelled("shop", app=app):
            for at in p.times(6):
                p.add(pod, "database", at, "echo", sizes=[64, 640], **p.service("shop", "postgres", 5432))
    api = p.cluster.pods_labelled("shop", app="api")[0]
    p.add(api, "long-lived", 0.0, "echo", **all_day, **p.service("shop", "postgres", 5432, by_name=False))


def externals(p: Plan) -> None:
    """To an API outside through an ExternalName, and to the cluster's own API server, both over TLS."""
    for app in ("web", "api"):
        for pod in p.cluster.pods_labelled("shop", app=app):
            for at in p.times(3):
                name = "partner-api.shop.svc.cluster.local"
                target: Fields = {"host": name, "port": 443, "server": API_HOST, "server_name": API_HOST}
                p.add(pod, "external", at, "http", path="/bytes/2500", request_bytes=200, **target)
    for pod in (_debugger(p), *p.cluster.pods_labelled("monitoring", app="prometheus")):
        for at in p.times(2):
            secure: Fields = {**p.service("default", "kubernetes", 443), "server_name": API_SERVER_HOST}
            p.add(pod, "api-server", at, "http", path="/bytes/3000", **secure)


def monitoring(p: Plan) -> None:
    """Scrapes over connections that stay open, of nodes and of pods."""
    (scraper,) = p.cluster.pods_labelled("monitoring", app="prometheus")
    targets = [(node.address, 9100) for node in p.cluster.nodes]
    targets += [(pod.address, 8080) for pod in p.cluster.pods_labelled("app-namespace", app="backend")]
    count = max(2, int(p.duration_s / 2))
    pace: Fields = {"requests": count, "pause_s": max(0.0, (p.duration_s - 0.5) / count)}
    for address, port in targets:
        p.add(scraper, "scrape", 0.1, "http", path="/bytes/12000", **pace, **direct(address, port))
    for at in p.times(3):
        p.add(scraper, "scrape", at, "http", path="/bytes/12000", **p.service("kube-system", "node-exporter", 9100))


def hosts(p: Plan) -> None:
    """From a hostNetwork pod: its address is the node's, or the bridge's or the overlay's where the way leads there."""
    here, there = p.cluster.nodes
    agent = _on(p, here.name, "kube-system", app="node-exporter")
    for at in p.times(3):
        target = p.service("app-namespace", "backend-service", 80, by_name=False)
        p.add(agent, "host-to-service", at, "http", path="/bytes/100", **target)
    for node in (here, there):
        for at in p.times(2):
            pod = _on(p, node.name, "app-namespace", app="backend")
            p.add(agent, "host-to-pod", at, "http", path="/bytes/100", **direct(pod.address, 8080))
    for at in p.times(2):
        p.add(agent, "host-to-host", at, "http", path="/bytes/100", **direct(there.address, 9100))
    own = _on(p, here.name, "shop", app="web")
    for at in p.times(1):
        p.add(agent, "host-to-own-guarded-pod", at, "http", path="/bytes/100", **direct(own.address, 8080))


def sizes(p: Plan) -> None:
    """The smallest and the large, each in one direction and in both."""
    netshoot = _debugger(p)
    for at in p.times(6):
        p.add(
            netshoot,
            "one-byte",
            at,
            "upload",
            size=1,
            **p.service("app-namespace", "backend-service", 9000, by_name=False),
        )
    for at in p.times(3):
        upload = p.service("app-namespace", "backend-service", 9000)
        p.add(netshoot, "large-upload", at, "upload", size=MB, **upload)
        p.add(netshoot, "large-download", at, "http", path=f"/bytes/{MB}", **p.service("app-namespace", "webapp", 80))
        both: Fields = {"path": f"/bytes/{MB}", "request_bytes": MB}
        p.add(
            netshoot, "large-both-ways", at, "http", **both, **p.service("app-namespace", "webapp", 80, by_name=False)
        )


def failures(p: Plan) -> None:
    """Refused, rejected, reset, unanswered, unknown."""
    netshoot = _debugger(p)
    webapps = p.cluster.pods_labelled("app-namespace", app="webapp", version="v1")
    for pod in webapps:
        for at in p.times(3):
            p.add(netshoot, "closed-port", at, "probe", **direct(pod.address, 9999))
    scanned = p.cluster.pods_labelled("shop", app="api")[1]
    for at in p.times(1):
        for step, port in enumerate((21, 22, 23, 25, 80, 443, 3306, 5432, 6379, 8080, 8443, 9090, 27017)):
            p.add(netshoot, "port-scan", at + step * 0.01, "probe", **direct(scanned.address, port))
    for at in p.times(4):
        target = p.service("app-namespace", "legacy-service", 80)
        p.add(netshoot, "no-endpoints", at, "http", path="/", tracked=False, **target)
    for at in p.times(2):
        vip = p.cluster.services["app-namespace", "backend-service"].cluster_ip
        p.add(netshoot, "no-such-service-port", at, "probe", tracked=False, **direct(str(vip), 81))
    for node in p.cluster.nodes:
        for at in p.times(2):
            # in its own range the pod asks for the neighbour itself and nothing passes the node
            own = node.name == netshoot.node
            p.add(netshoot, "unused-address", at, "probe", tracked=not own, **direct(str(node.pod_cidr[UNUSED]), 80))
    for at in p.times(6):
        name = p.random.choice(("databse.production.svc.cluster.local", "backend-service", "example.invalid"))
        p.add(netshoot, "no-such-name", at, "lookup", host=name)
    for pod in p.cluster.pods_labelled("app-namespace", app="backend"):
        for at in p.times(2):
            p.add(
                pod,
                "reset-by-client",
                at,
                "http",
                path="/bytes/800",
                abort=True,
                **p.service("app-namespace", "webapp", 80),
            )
            p.add(pod, "reset-by-server", at, "http", path="/reset", **p.service("app-namespace", "webapp", 80))


def reuse(p: Plan) -> None:
    """A source port used again, to another destination and to the same one within its TIME_WAIT."""
    netshoot = _debugger(p)
    webapp = p.service("app-namespace", "webapp", 80, by_name=False)
    (at, *_) = p.times(1)
    p.add(netshoot, "port-reused", at, "http", path="/bytes/77", source_port=20001, **webapp)
    again = p.service("shop", "postgres", 5432, by_name=False)
    p.add(netshoot, "port-reused", at + 0.7, "echo", sizes=[77], source_port=20001, **again)
    for index in range(3):
        p.add(netshoot, "tuple-reused", at + 0.7 * index, "http", path="/bytes/88", source_port=20002, **webapp)


def denials(p: Plan) -> None:
    """What the policies deny, at the source's node and at the destination's; succeeds where nothing enforces them."""
    netshoot, (reports,) = _debugger(p), p.cluster.pods_labelled("production", app="reports")
    (scraper,) = p.cluster.pods_labelled("monitoring", app="prometheus")
    for pod in p.cluster.pods_labelled("production", app="database"):
        for at in p.times(2):
            left: Fields = {"denied_by": ALLOW_FROM_APP, "confirmed_if_denied": pod.node != netshoot.node}
            p.add(netshoot, "denied-ingress", at, "echo", sizes=[10], **left, **direct(pod.address, 5432))
    webs = p.cluster.pods_labelled("shop", app="web")
    for pod in webs:
        for client in (netshoot, scraper, OUTSIDE):
            node = p.cluster.nodes[0].name if isinstance(client, str) else client.node  # where it enters the cluster
            for at in p.times(1):
                caught: Fields = {"denied_by": WEB_NETPOL, "confirmed_if_denied": pod.node != node}
                p.add(client, "denied-ingress", at, "http", path="/bytes/10", **caught, **direct(pod.address, 8080))
    here, there = p.cluster.nodes
    for at in p.times(1):
        agent, guarded = _on(p, here.name, "kube-system", app="node-exporter"), _on(p, there.name, "shop", app="web")
        p.add(
            agent, "denied-ingress", at, "http", path="/bytes/10", denied_by=WEB_NETPOL, **direct(guarded.address, 8080)
        )
    cut: Fields = {"confirmed_if_denied": False}
    for pod in webs:
        for at in p.times(2):
            target = p.service("shop", "api-service", 8080)
            p.add(pod, "denied-egress", at, "http", path="/bytes/10", denied_by=WEB_NETPOL, **cut, **target)
    for at in p.times(3):
        host = "database-service.production.svc.cluster.local"
        p.add(reports, "denied-egress", at, "lookup", host=host, denied_by=DENY_ALL, **cut)
        target = p.service("production", "database-service", 5432, by_name=False)
        p.add(reports, "denied-egress", at, "echo", sizes=[10], denied_by=DENY_ALL, **cut, **target)
        outside = {**direct(OUTSIDE_API, 443), "server": API_HOST, "server_name": API_HOST}
        p.add(reports, "denied-egress", at, "http", path="/bytes/10", denied_by=DENY_ALL, **cut, **outside)


def _debugger(p: Plan) -> Pod:
    return p.cluster.pods["default", "netshoot"]


def _on(p: Plan, node: str, namespace: str, **labels: str) -> Pod:
    """The pod of a workload that runs on this node."""
    return next(pod for pod in p.cluster.pods_labelled(namespace, **labels) if pod.node == node)
