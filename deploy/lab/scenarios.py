"""The traffic of the lab: what its workloads do all day. What goes wrong is in `misbehaviour`.

Each function adds one theme to a plan; counts are for 30 seconds. A connection's scenario is its name in the truth.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

from . import misbehaviour
from .journals import CAPTURED
from .objects import Cluster
from .plan import OUTSIDE, Fields, Plan, direct
from .programs import API_HOST

API_SERVER_HOST = "kubernetes.default.svc.cluster.local"
Theme: TypeAlias = Callable[[Plan], None]
MB = 1_000_000
SIZES = (1, 120, 1500, 20_000, 200_000)


def plan(
    cluster: Cluster, duration_s: float, seed: int, run: int, enforced: bool, more: Iterable[Theme] = ()
) -> dict[str, dict[str, Any]]:
    """The jobs of a run, by client: the ordinary day, and the themes of `more`."""
    p = Plan(cluster, duration_s, seed, run, enforced)
    ordinary = (
        entrances,
        services,
        dual_stack,
        mesh,
        databases,
        externals,
        monitoring,
        hosts,
        sizes,
        *misbehaviour.THEMES,
    )
    for theme in (*ordinary, *more):
        theme(p)
    return p.jobs()


def entrances(p: Plan) -> None:
    """From outside: the ingress with and without TLS, node ports of both nodes, routed Service and pod addresses."""
    for path, count in (("", 30), ("/api", 18), ("/shop", 8)):
        for at in p.times(count):
            size: Fields = {
                "path": f"{path}/bytes/{p.random.choice(SIZES)}",
                "request_bytes": p.random.choice((0, 0, 700)),
            }
            p.add(OUTSIDE, "ingress", at, "http", **size, **p.load_balancer(443))
    for at in p.times(4):
        p.add(OUTSIDE, "ingress", at, "http", path="/bytes/40", **p.load_balancer(80))
    for at in p.times(6):
        p.add(OUTSIDE, "ingress", at, "http", path="/bytes/45", **p.load_balancer(80, "admin.example.com"))
    for at in p.times(4):
        p.add(OUTSIDE, "ingress", at, "http", path="/bytes/55", **p.load_balancer(80, "web.example.com"))
    for index, node in enumerate(p.cluster.nodes):
        for at in p.times(30):
            p.add(
                OUTSIDE,
                "node-port",
                at,
                "http",
                path="/bytes/900",
                **p.node_port("app-namespace", "web-nodeport", 80, index),
            )
        backend = p.on(node.name, "app-namespace", app="backend")
        for at in p.times(2):
            p.add(OUTSIDE, "outside-to-pod", at, "http", path="/bytes/60", **direct(backend.address, 8080))
    for at in p.times(4):
        target = p.service("app-namespace", "backend-service", 80, by_name=False)
        p.add(OUTSIDE, "outside-to-cluster-ip", at, "http", path="/bytes/70", **target)
    for at in p.times(3):
        netshoot = p.debugger  # on the first node, whose port it dials: another node's would be translated only there
        p.add(netshoot, "load-balancer-from-pod", at, "http", path="/bytes/50", **p.load_balancer(443))
        p.add(
            netshoot,
            "node-port-from-pod",
            at,
            "http",
            path="/bytes/50",
            **p.node_port("app-namespace", "web-nodeport", 80, 0),
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
        p.add(p.debugger, "sticky", at, "http", path="/bytes/10", **p.service("app-namespace", "sticky-service", 80))
    for at in p.times(1):
        for _ in range(10):
            target = p.service("app-namespace", "backend-service", 80, by_name=False)
            p.add(p.debugger, "concurrent", at, "http", path="/bytes/5000", **target)


def dual_stack(p: Plan) -> None:
    """Over IPv6, on one node and across the overlay: a Service by its name and by its address, and pods."""
    backends = p.cluster.pods_labelled("app-namespace", app="backend")
    for client in (p.debugger, *backends):
        for at in p.times(8):
            body: Fields = {"path": f"/bytes/{p.random.choice(SIZES)}", "request_bytes": p.random.choice((0, 700))}
            by_name = p.random.random() < 0.5
            target = p.service_v6("app-namespace", "backend-service", 80, by_name=by_name)
            p.add(client, "ipv6-service", at, "http", **body, **target)
    for pod in backends:
        for at in p.times(3):
            p.add(p.debugger, "ipv6-pod", at, "http", path="/bytes/4000", **direct(str(pod.address_v6), 8080))
            p.add(p.debugger, "ipv6-closed-port", at, "probe", **direct(str(pod.address_v6), 9999))


def mesh(p: Plan) -> None:
    """webapp 90/10 over its subsets: the client picks one and dials a pod of it; reviews through sidecars that do."""
    client = p.cluster.pods_labelled("app-namespace", app="backend")[0]
    for index, at in enumerate(p.times(40)):
        subset = "v2" if index % 10 == 9 else "v1"
        pod = p.random.choice(p.cluster.pods_labelled("app-namespace", app="webapp", version=subset))
        chosen: Fields = {"mesh": {"host": "webapp", "namespace": "app-namespace", "subset": subset}}
        p.add(client, "mesh", at, "http", path="/bytes/400", **chosen, **direct(pod.address, 8080))
    cart = p.cluster.pods_labelled("mesh", app="cart")[0]
    for at in p.times(60):
        body: Fields = {"path": f"/bytes/{p.random.choice(SIZES)}", "request_bytes": p.random.choice((0, 0, 700))}
        p.add(cart, CAPTURED, at, "http", **body, **p.service("mesh", "reviews", 80))
    for at in p.times(5):  # not in the mesh, so in plain, which the Service's pods say they do not take
        p.add(p.debugger, "plaintext", at, "http", path="/bytes/60", **p.service("mesh", "reviews", 80))


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
    """To an API outside through ExternalNames, of which only the second declares a port and so has a Service to tell;
    and to the cluster's own API server; all over TLS."""
    secure: Fields = {"server": API_HOST, "server_name": API_HOST}
    for app, name in (("web", "partner-api"), ("api", "partner")):
        meant = p.cluster.services["shop", name]
        known: Fields = {"service": meant.reference(443)} if meant.ports else {}
        for pod in p.cluster.pods_labelled("shop", app=app):
            for at in p.times(3):
                target: Fields = {"host": f"{name}.shop.svc.cluster.local", "port": 443, **secure, **known}
                p.add(pod, "external", at, "http", path="/bytes/2500", request_bytes=200, **target)
    for pod in (p.debugger, *p.cluster.pods_labelled("monitoring", app="prometheus")):
        for at in p.times(2):
            own: Fields = {**p.service("default", "kubernetes", 443), "server_name": API_SERVER_HOST}
            p.add(pod, "api-server", at, "http", path="/bytes/3000", **own)


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
    agent = p.on(here.name, "kube-system", app="node-exporter")
    for at in p.times(3):
        target = p.service("app-namespace", "backend-service", 80, by_name=False)
        p.add(agent, "host-to-service", at, "http", path="/bytes/100", **target)
    for node in (here, there):
        for at in p.times(2):
            pod = p.on(node.name, "app-namespace", app="backend")
            p.add(agent, "host-to-pod", at, "http", path="/bytes/100", **direct(pod.address, 8080))
    for at in p.times(2):
        p.add(agent, "host-to-host", at, "http", path="/bytes/100", **direct(there.address, 9100))
    own = p.on(here.name, "shop", app="web")
    for at in p.times(1):
        p.add(agent, "host-to-own-guarded-pod", at, "http", path="/bytes/100", **direct(own.address, 8080))


def sizes(p: Plan) -> None:
    """The smallest and the large, each in one direction and in both."""
    netshoot = p.debugger
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
