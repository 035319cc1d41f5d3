"""What can be made to go wrong in the lab: each misdeed is what is done to nodes and pods, and traffic that meets it.

Nothing of it is in an ordinary run: `Lab.misbehave` does it to a lab that is up. Misdeeds harm nothing that another one
or the ordinary traffic needs, so any of them go together. The rules are the lab's own, in tables named after the
misdeed; what Flowatlas should say of it is in `deploy.demo.misdeeds`, and so is what is done to Flowatlas itself.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from . import slow_links
from .deed import Deed, rules
from .objects import Cluster, Pod
from .plan import Fields, Plan, direct
from .programs import API_HOST
from .topology import OUTSIDE_API

LARGE: Final = 4_000_000
MANY: Final = 120
FOREIGN: Final = 20_000
ABROAD: Final = "192.0.2.80"
TUNNELLED: Final = "10.250.0"


@dataclass(frozen=True, slots=True)
class Misdeed:
    """`told` is what is wrong, as a person reads it. What `is_usual` has its traffic before it happens too, since the
    alert compares."""

    name: str
    told: str
    traffic: Callable[[Plan], None]
    deeds: Callable[[Cluster], Iterator[Deed]]
    ends_enforcement: bool = False
    is_usual: bool = False


def _nothing(cluster: Cluster) -> Iterator[Deed]:
    yield from ()


def _everywhere(cluster: Cluster, name: str, chain: str) -> Iterator[Deed]:
    for node in cluster.nodes:
        yield rules(node.name, name, chain)


def _no_endpoints(p: Plan) -> None:
    for at in p.times(MANY):
        target = p.service("app-namespace", "legacy-service", 80, by_name=False)
        p.add(p.debugger, "no-endpoints", at, "http", path="/", tracked=False, **target)


def _policy_off(cluster: Cluster) -> Iterator[Deed]:
    for node in cluster.nodes:
        yield Deed(node.name, ("nft", "delete", "table", "ip", "enforcement"))


def _denied(p: Plan) -> None:
    for pod in p.cluster.pods_labelled("shop", app="web"):
        for at in p.times(2 * MANY):
            fate: Fields = {"denied_by": "shop/web-netpol", "confirmed_if_denied": pod.node != p.debugger.node}
            p.add(p.debugger, "denied-surge", at, "probe", **fate, **direct(pod.address, 8080))


def _database(cluster: Cluster) -> Pod:
    return cluster.pods["shop", "postgres-0"]


def _dns_broken(p: Plan) -> None:
    for at in p.times(MANY):
        p.add(_database(p.cluster), "dns-broken", at, "lookup", host="replica.shop.svc.cluster.local", tracked=False)


def _dns_drop(cluster: Cluster) -> Iterator[Deed]:
    pod = _database(cluster)
    chain = "type filter hook forward priority filter - 20; "
    yield rules(pod.node, "dns-broken", f"{chain} ip saddr {pod.address} udp dport 53 drop")


def _dns_bypass(p: Plan) -> None:
    for at in p.times(30):
        p.add(p.debugger, "dns-bypass", at, "lookup", host=API_HOST, dns=OUTSIDE_API)


def _search_list(p: Plan) -> None:
    searches = (".monitoring.svc.cluster.local", ".svc.cluster.local", ".cluster.local", "")
    (asking,) = p.cluster.pods_labelled("monitoring", app="prometheus")
    for at in p.times(1300):
        for step, search in enumerate(searches):
            p.add(asking, "search-list", at + step * 0.005, "lookup", host=API_HOST + search)


def _port_scan(p: Plan) -> None:
    scanned = p.cluster.pods_labelled("shop", app="api")[1]
    for port, at in zip(range(1, 301), p.times(300), strict=False):
        p.add(p.debugger, "port-scan", at, "probe", **direct(scanned.address, port))


def _skew(p: Plan) -> None:
    for at in p.times(2 * MANY):
        p.add(p.debugger, "skew", at, "http", path="/bytes/10", **p.service("shop", "api-service", 8080, by_name=False))


def _one_endpoint(cluster: Cluster) -> Iterator[Deed]:
    service = cluster.services["shop", "api-service"]
    address, port = service.port(8080).endpoints[0]
    for hook in ("prerouting", "output"):
        chain = f"type nat hook {hook} priority -101; ip daddr {service.cluster_ip} tcp dport 8080 "
        yield from _everywhere(cluster, f"skew-{hook}", f"{chain} dnat to {address}:{port}")


def _affinity_broken(p: Plan) -> None:
    for at in p.times(MANY):
        target = p.service("app-namespace", "sticky-service", 80, by_name=False)
        p.add(p.debugger, "affinity-broken", at, "http", path="/bytes/10", **target)


def _round_robin(cluster: Cluster) -> Iterator[Deed]:
    service = cluster.services["app-namespace", "sticky-service"]
    endpoints = service.port(80).endpoints
    turns = ", ".join(f"{index} : {address}" for index, (address, _) in enumerate(endpoints))
    chain = (
        f"type nat hook prerouting priority -101; ip daddr {service.cluster_ip} tcp dport 80 "
        f"dnat to numgen inc mod {len(endpoints)} map {{ {turns} }}:{endpoints[0][1]}"
    )
    yield from _everywhere(cluster, "affinity-broken", chain)


def _refused(p: Plan) -> None:
    for pod in p.cluster.pods_labelled("shop", app="api"):
        for at in p.times(MANY):
            p.add(pod, "refused", at, "echo", sizes=[10], **p.service("shop", "postgres", 5432, by_name=False))


def _closed(cluster: Cluster) -> Iterator[Deed]:
    pod = _database(cluster)
    chain = "type nat hook prerouting priority dstnat; tcp dport 5432 redirect to :9"
    yield rules(f"{pod.namespace}/{pod.name}", "refused", chain)


def _silent(p: Plan) -> None:
    api = p.on(p.cluster.nodes[1].name, "shop", app="api")
    for at in p.times(20):
        p.add(p.debugger, "allowed-dropped", at, "probe", **direct(api.address, 8081))


def _swallowed(cluster: Cluster) -> Iterator[Deed]:
    node = cluster.nodes[1]
    chain = "type filter hook forward priority filter + 20; tcp dport 8081 drop"
    yield rules(node.name, "allowed-dropped", chain)


def _uploads(p: Plan) -> None:
    there = p.on(p.cluster.nodes[1].name, "app-namespace", app="backend")
    for at in p.times(30):
        p.add(p.debugger, "retransmits", at, "upload", size=100_000, **direct(there.address, 9000))


def _lossy(cluster: Cluster) -> Iterator[Deed]:
    there = next(p for p in cluster.pods_labelled("app-namespace", app="backend") if p.node == cluster.nodes[1].name)
    chain = (
        f"type filter hook forward priority filter + 20; ip daddr {there.address} tcp dport 9000 "
        "meta length > 1000 numgen random mod 5 == 0 drop"
    )
    yield rules(cluster.nodes[0].name, "retransmits", chain)


def _cross_zone(p: Plan) -> None:
    there = p.on(p.cluster.nodes[1].name, "app-namespace", app="webapp")
    for at in p.times(25):
        p.add(p.debugger, "cross-zone", at, "http", path=f"/bytes/{LARGE}", **direct(there.address, 8080))


def _first_outside(p: Plan) -> None:
    secure: Fields = {"server": API_HOST, "server_name": API_HOST}
    for at in p.times(20):
        target: Fields = {**direct(OUTSIDE_API, 443), **secure}
        p.add(_database(p.cluster), "new-external", at, "http", path="/bytes/2000", **target)


def _too_large(p: Plan) -> None:
    collector = p.service("monitoring", "syslog", 514, by_name=False)
    for at in p.times(20):
        p.add(p.debugger, "pod-drops", at, "datagrams", protocol=17, sizes=[1472] * 40, pause_s=0.01, **collector)


def _mtu(cluster: Cluster) -> Iterator[Deed]:
    yield Deed("default/netshoot", ("ip", "link", "set", "eth0", "mtu", "1500"))


GONE: Final = {"node-drops": "10.244.101", "interface-errors": "10.244.102"}
"""Pod ranges of nodes that left, and the overlay was never told."""


def _to_gone(name: str) -> Callable[[Plan], None]:
    def traffic(p: Plan) -> None:
        for at in p.times(20):
            burst: Fields = {"sizes": [100] * 40, "pause_s": 0.01}
            p.add(p.debugger, name, at, "datagrams", protocol=17, **burst, **direct(f"{GONE[name]}.7", 4789))

    return traffic


def _route_to_gone(name: str, remote: str | None) -> Callable[[Cluster], Iterator[Deed]]:
    """flannel.1 is told of a peer, whose node it does not know (`remote` None) or cannot reach."""

    def deeds(cluster: Cluster) -> Iterator[Deed]:
        node, mac = cluster.nodes[0].name, f"0e:f1:a2:00:ff:{list(GONE).index(name):02x}"
        lines = [
            f"neigh add {GONE[name]}.0 lladdr {mac} dev flannel.1 nud permanent",
            f"route add {GONE[name]}.0/24 via {GONE[name]}.0 dev flannel.1 onlink",
        ]
        if remote is not None:
            lines.append(f"route add unreachable {remote}")
            fdb = f"fdb add {mac} dev flannel.1 dst {remote} self permanent"
            yield Deed(node, ("bridge", "-batch", "-"), fdb)
        yield Deed(node, ("ip", "-batch", "-"), "\n".join(lines))

    return deeds


def _first_country(p: Plan) -> None:
    secure: Fields = {"server": API_HOST, "server_name": API_HOST}
    for at in p.times(20):
        p.add(p.debugger, "new-country", at, "http", path="/bytes/2000", **{**direct(ABROAD, 443), **secure})


def _abroad(cluster: Cluster) -> Iterator[Deed]:
    chain = f"type nat hook prerouting priority dstnat; ip daddr {ABROAD} dnat to {OUTSIDE_API}"
    yield rules("outside", "new-country", chain)


def _to_tunnel(p: Plan) -> None:
    for at in p.times(20):
        burst: Fields = {"sizes": [100] * 10, "pause_s": 0.01}
        p.add(p.debugger, "pod-errors", at, "datagrams", protocol=17, **burst, **direct(f"{TUNNELLED}.2", 4789))


def _tunnel(cluster: Cluster) -> Iterator[Deed]:
    lines = [
        "route add unreachable 192.0.2.78",
        "link add tunnel0 type vxlan id 2 remote 192.0.2.78 dstport 4790",
        f"addr add {TUNNELLED}.1/24 dev tunnel0",
        "link set tunnel0 up",
        f"neigh add {TUNNELLED}.2 lladdr 0e:f1:a2:00:fe:02 dev tunnel0 nud permanent",
    ]
    yield Deed("default/netshoot", ("ip", "-batch", "-"), "\n".join(lines))


def _foreign_frames(cluster: Cluster) -> Iterator[Deed]:
    """Frames of an EtherType for experiments (IEEE 802), which the node's bridge takes and forgets."""
    (asking,) = cluster.pods_labelled("production", app="reports")
    node = next(node for node in cluster.nodes if node.name == asking.node)
    chain = "type filter hook prerouting priority filter; ether type 0x88b5 drop"
    table = f"table bridge misdeed-unseen {{\n chain rules {{\n {chain}\n }}\n}}\n"
    yield Deed(node.name, ("nft", "-f", "-"), table)
    frame = bytes.fromhex(node.bridge_mac.replace(":", "")) + bytes.fromhex(asking.mac.replace(":", "")) + b"\x88\xb5"
    program = (
        f"import socket\ns = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)\ns.bind(('eth0', 0))\n"
        f"for _ in range({FOREIGN}): s.send({frame!r} + bytes(1400))\n"
    )
    yield Deed(f"{asking.namespace}/{asking.name}", (sys.executable, "-S", "-c", program))


def _many_lookups(p: Plan) -> None:
    for at in p.times(1500):
        p.add(p.debugger, "full-table", at, "lookup", host="webapp.app-namespace.svc.cluster.local")


def _no_traffic(p: Plan) -> None:
    """The misdeed needs none, or the ordinary traffic meets it."""


MISDEEDS: Final = {
    misdeed.name: misdeed
    for misdeed in (
        Misdeed("no-endpoints", "clients dial a Service whose selector matches no pod", _no_endpoints, _nothing),
        Misdeed("policy-off", "the nodes stop enforcing network policies", _no_traffic, _policy_off, True),
        Misdeed("open-namespace", "no policy selects the pods of a namespace that has traffic", _no_traffic, _nothing),
        Misdeed("denied-surge", "a pod keeps dialling pods that a policy keeps it from", _denied, _nothing),
        Misdeed("allowed-dropped", "a node drops what no policy denies", _silent, _swallowed),
        Misdeed("dns-broken", "a pod's questions to DNS are dropped", _dns_broken, _dns_drop),
        Misdeed("dns-bypass", "a pod asks a DNS server outside the cluster", _dns_bypass, _nothing),
        Misdeed("search-list", "a pod asks for an outside name by its whole search list", _search_list, _nothing),
        Misdeed("port-scan", "a pod tries 300 ports of another", _port_scan, _nothing),
        Misdeed("skew", "every node sends a Service's clients to one endpoint of two", _skew, _one_endpoint),
        Misdeed("affinity-broken", "nodes turn a ClientIP Service's clients round", _affinity_broken, _round_robin),
        Misdeed("refused", "a database's port is closed, and it is ready all the same", _refused, _closed),
        Misdeed("retransmits", "a fifth of the full segments between two nodes is lost", _uploads, _lossy),
        Misdeed("cross-zone", "a pod fetches large answers from the other zone", _cross_zone, _nothing),
        Misdeed("new-external", "a database begins to connect to the outside", _first_outside, _nothing),
        Misdeed("pod-drops", "a pod's MTU is larger than its veth's other end takes", _too_large, _mtu),
        Misdeed(
            "node-drops",
            "a route leads into the overlay, to a peer that it does not know",
            _to_gone("node-drops"),
            _route_to_gone("node-drops", None),
        ),
        Misdeed(
            "interface-errors",
            "the overlay has a peer whose node cannot be reached",
            _to_gone("interface-errors"),
            _route_to_gone("interface-errors", "192.0.2.77"),
        ),
        Misdeed("pod-errors", "a pod's own tunnel has a peer that cannot be reached", _to_tunnel, _tunnel),
        Misdeed("new-country", "a pod begins to send to a country where nothing was sent", _first_country, _abroad),
        Misdeed(
            "dns-slow",
            "answers of DNS to a pod that asks in crowds pass a narrow link",
            slow_links.crowds_ask,
            slow_links.slow_answers,
        ),
        Misdeed(
            "connect-slow",
            "a Service's endpoints accept crowds of clients over a narrow link",
            slow_links.crowds_connect,
            slow_links.slow_accepts,
            is_usual=True,
        ),
        Misdeed(
            "round-trip-slow",
            "a database's answers pass a narrow link, where they wait for one another",
            slow_links.crowds_query,
            slow_links.slow_results,
            is_usual=True,
        ),
        Misdeed(
            "full-table",
            "conversations are more than a collector's table holds",
            _many_lookups,
            _nothing,
            is_usual=True,
        ),
        Misdeed("unseen", "a pod sends frames that are no IP, which no flow tells of", _no_traffic, _foreign_frames),
    )
}
"""All of them, by name."""
