"""The traffic of the lab that fails: refused, reset, unanswered, unknown or denied; and source ports used again.

`tracked` in the truth is False for attempts that no node's connection tracking ever confirms. A packet is confirmed
when it passes a node's last hook, so what is dropped or rejected in the forward hook of the source's own node leaves no
entry, and neither does what never leaves the pod, because the neighbour it asks for does not answer. An attempt that is
dropped at the other node has left its own: it is tracked there, without a reply.
"""

from __future__ import annotations

from .plan import OUTSIDE, Fields, Plan, direct
from .programs import API_HOST
from .topology import OUTSIDE_API

UNUSED = 250
"""The last byte of a pod address that nobody has."""

DENY_ALL = "production/deny-all"
ALLOW_FROM_APP = "production/allow-from-app-namespace"
WEB_NETPOL = "shop/web-netpol"


def failures(p: Plan) -> None:
    """Refused, rejected, reset, unanswered, unknown."""
    netshoot = p.debugger
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
    netshoot = p.debugger
    webapp = p.service("app-namespace", "webapp", 80, by_name=False)
    (at, *_) = p.times(1)
    p.add(netshoot, "port-reused", at, "http", path="/bytes/77", source_port=20001, **webapp)
    again = p.service("shop", "postgres", 5432, by_name=False)
    p.add(netshoot, "port-reused", at + 0.7, "echo", sizes=[77], source_port=20001, **again)
    for index in range(3):
        p.add(netshoot, "tuple-reused", at + 0.7 * index, "http", path="/bytes/88", source_port=20002, **webapp)


def denials(p: Plan) -> None:
    """What the policies deny, at the source's node and at the destination's; succeeds where nothing enforces them.

    Where two policies isolate a pod, as the databases, the one named is the one whose list of peers lacks the client.
    """
    netshoot, (reports,) = p.debugger, p.cluster.pods_labelled("production", app="reports")
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
        agent, guarded = p.on(here.name, "kube-system", app="node-exporter"), p.on(there.name, "shop", app="web")
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


def searches(p: Plan) -> None:
    """What ndots:5 makes of a name with fewer dots: the whole search list in vain before the name itself."""
    for at in p.times(3):
        for step, search in enumerate((".default.svc.cluster.local", ".svc.cluster.local", ".cluster.local", "")):
            p.add(p.debugger, "search-list", at + step * 0.02, "lookup", host=API_HOST + search)


THEMES = (failures, reuse, denials, searches)
