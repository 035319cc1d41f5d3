"""Small random clusters over time and flows, made to collide: few addresses, many claims on each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from hypothesis import strategies as st

from pipeline.inventory.models import Resource, convert
from pipeline.inventory.spans import BEGINNING, END
from tests.pipeline.inventory.objects import node, pod, service

NODES = ("n1", "n2", "n3")
NODE_IPS = ("192.0.2.1", "192.0.2.2", "fd00:ffff::1")
POD_IPS = tuple(ip for n in (1, 2, 3) for host in (0, 1, 2) for ip in (f"10.244.{n}.{host}", f"fd00:0:0:{n}::{host}"))
SERVICE_IPS = ("10.96.0.1", "10.96.0.9", "fd00:96::1")
BALANCER_IPS = ("203.0.113.1", "2001:db8:1::1", "192.0.2.1")
OTHER_IPS = ("198.51.100.1", "2001:db8::1", "127.0.0.1", "127.9.9.9", "::1", "10.96.0.4", "10.244.2.200", "172.16.0.1")
ALL_IPS = (*NODE_IPS, *POD_IPS, *SERVICE_IPS, *BALANCER_IPS, *OTHER_IPS)
PORTS = (0, 53, 80, 8472, 30080)
PROTOCOLS = {"TCP": 6, "UDP": 17, "SCTP": 132}
APPS = ("web", "db")


@dataclass(frozen=True)
class ANode:
    name: str
    ips: Sequence[str]
    pod_cidrs: Sequence[str]

    @property
    def has_collector(self) -> bool:
        """Whether it tells of itself: it stays what it is as long as the cluster lives."""
        return self.name != "n3"


@dataclass(frozen=True)
class AContainerPort:
    port: int
    host_port: int
    protocol: str


@dataclass(frozen=True)
class APod:
    name: str
    ips: Sequence[str]
    node: str
    host_network: bool
    host_ip: str
    phase: str
    leaving: bool
    app: str
    ports: Sequence[AContainerPort]


@dataclass(frozen=True)
class APort:
    port: int
    protocol: str
    node_port: int

    @property
    def name(self) -> str:
        """What the Service and its slices call it."""
        return f"{self.protocol.lower()}-{self.port}"


@dataclass(frozen=True)
class AService:
    name: str
    cluster_ips: Sequence[str]
    load_balancer_ips: Sequence[str]
    external_ips: Sequence[str]
    ports: Sequence[APort]
    app: str  # what it selects; "" where it has no selector
    endpoints: Sequence[str]  # of a slice of its own, on the Service's own ports
    is_headless: bool = False


@dataclass(frozen=True)
class Cluster:
    nodes: Sequence[ANode]
    pods: Sequence[APod]
    services: Sequence[AService]

    def objects(self) -> list[Resource]:
        """The same as Kubernetes objects."""
        return [
            *(
                node(n.name, *n.ips, pod_cidrs=n.pod_cidrs, os="linux" if n.has_collector else "windows")
                for n in self.nodes
            ),
            *(
                pod(
                    p.name,
                    *p.ips,
                    on=p.node,
                    host_network=p.host_network,
                    host_ip=p.host_ip,
                    phase=p.phase,
                    leaving=p.leaving,
                    labels={"app": p.app},
                    ports=[(port.port, port.host_port, port.protocol) for port in p.ports],
                )
                for p in self.pods
            ),
            *(
                service(
                    s.name,
                    *(["None"] if s.is_headless else s.cluster_ips),
                    load_balancer_ips=s.load_balancer_ips,
                    external_ips=s.external_ips,
                    ports=[
                        {"name": p.name, "port": p.port, "protocol": p.protocol, "nodePort": p.node_port}
                        for p in s.ports
                    ],
                    selector={"app": s.app} if s.app else {},
                )
                for s in self.services
            ),
            *(slice_of(s) for s in self.services if s.endpoints),
        ]


def slice_of(own: AService) -> Resource:
    """The Service's endpoints in a slice, on its own ports."""
    return convert(
        "discovery.k8s.io/v1",
        "EndpointSlice",
        {
            "kind": "EndpointSlice",
            "metadata": {"name": own.name, "namespace": "shop", "labels": {"kubernetes.io/service-name": own.name}},
            "addressType": "IPv4",
            "ports": [{"name": port.name, "port": port.port, "protocol": port.protocol} for port in own.ports],
            "endpoints": [{"addresses": [ip]} for ip in own.endpoints],
        },
    )


@dataclass(frozen=True)
class Era:
    """A time in which the cluster stayed as it is. `delay` is how long it took until the cluster spoke of it."""

    since: int
    until: int
    delay: int
    cluster: Cluster


@dataclass(frozen=True)
class Flow:
    node: str
    src: str
    dst: str
    backend: str
    nat_src: str
    dst_port: int
    protocol: int
    backend_port: int = 8080
    start: int = 0


def subsets(pool: Sequence[str], most: int) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(pool), max_size=most, unique=True)


@st.composite
def clusters(draw: st.DrawFn) -> Cluster:
    nodes = [
        ANode(
            name,
            draw(subsets(NODE_IPS, 2)),
            draw(st.sampled_from([(), (f"10.244.{n}.0/24",), (f"10.244.{n}.0/24", f"fd00:0:0:{n}::/64")])),
        )
        for n, name in enumerate(NODES, start=1)
    ]
    protocol = st.sampled_from(list(PROTOCOLS))
    port = st.sampled_from(PORTS[1:])
    declared = st.builds(AContainerPort, port=port, host_port=st.sampled_from([0, 0, 80, 53]), protocol=protocol)
    pods = st.builds(
        APod,
        name=st.sampled_from([f"p{number}" for number in range(8)]),
        ips=subsets(POD_IPS, 2),
        node=st.sampled_from([*NODES, "n4", ""]),
        host_network=st.sampled_from([False, False, False, True]),
        host_ip=st.sampled_from(["", "", NODE_IPS[0]]),
        phase=st.sampled_from(["Running", "Running", "Pending", "Succeeded", "Failed"]),
        leaving=st.sampled_from([False, False, True]),
        app=st.sampled_from(APPS),
        ports=st.lists(declared, max_size=2),
    )
    ports = st.builds(APort, port=port, protocol=protocol, node_port=st.sampled_from([0, 0, 30080, 80]))
    services = st.builds(
        AService,
        name=st.sampled_from([f"s{number}" for number in range(5)]),
        cluster_ips=subsets(SERVICE_IPS, 2),
        load_balancer_ips=subsets(BALANCER_IPS, 1),
        external_ips=subsets((*BALANCER_IPS, POD_IPS[2]), 1),
        ports=st.lists(ports, max_size=3, unique_by=lambda port: (port.port, port.protocol)),
        app=st.sampled_from(["", *APPS]),
        endpoints=st.one_of(st.just([]), subsets((POD_IPS[2], POD_IPS[4], OTHER_IPS[0]), 2)),
    )
    headless = services.map(
        lambda own: replace(own, cluster_ips=[], load_balancer_ips=[], external_ips=[], is_headless=True)
    )
    return Cluster(
        nodes,
        draw(st.lists(pods, min_size=2, max_size=8, unique_by=lambda item: item.name)),
        draw(st.lists(services | services | headless, min_size=2, max_size=5, unique_by=lambda item: item.name)),
    )


@st.composite
def histories(draw: st.DrawFn) -> list[Era]:
    """One to four eras, from the beginning or later, to the end of time or not."""
    count = draw(st.integers(1, 4))
    edges = [10 * number for number in range(1, count + 2)]
    edges[0] = draw(st.sampled_from([BEGINNING, edges[0]]))
    edges[-1] = draw(st.sampled_from([END, edges[-1]]))
    return [
        Era(since, until, draw(st.sampled_from([0, 0, 4, 30])) if since > BEGINNING else 0, draw(clusters()))
        for since, until in pairwise(edges)
    ]


Target = tuple[str, int, int]
"""Address, port and protocol."""


def targets_of(eras: Sequence[Era]) -> list[Target]:
    """What the Services of a history are dialled by, rightly or not."""
    found = []
    for cluster in (era.cluster for era in eras):
        for called in cluster.services:
            own = (*called.cluster_ips, *called.load_balancer_ips, *called.external_ips, *called.endpoints)
            pods = [ip for pod in cluster.pods if pod.app == called.app for ip in pod.ips]
            for port in called.ports:
                number = PROTOCOLS[port.protocol]
                found += [(ip, port.port, number) for ip in (*own, *pods)]
                found += [(ip, port.node_port, number) for ip in NODE_IPS if port.node_port]
    return found


@st.composite
def journeys(draw: st.DrawFn) -> tuple[list[Era], list[Flow]]:
    """A history of a cluster, and flows of which half are to its Services."""
    eras = draw(histories())
    targets = targets_of(eras)
    return eras, draw(st.lists(flows(targets) | flows(()) if targets else flows(()), min_size=20, max_size=60))


@st.composite
def flows(draw: st.DrawFn, targets: Sequence[Target]) -> Flow:
    """A flow to one of the targets, or to anything where there are none."""
    address = st.sampled_from(ALL_IPS)
    anything = st.tuples(address, st.sampled_from(PORTS), st.sampled_from([1, 4, 6, 17, 132]))
    src = draw(address)
    dst, dst_port, protocol = draw(st.sampled_from(targets) if targets else anything)
    is_plain = draw(st.booleans())
    return Flow(
        node=draw(st.sampled_from([*NODES, "n4", "n9"])),
        src=src,
        dst=dst,
        backend=dst if is_plain else draw(address),
        nat_src=draw(st.one_of(st.just(src), address)),
        dst_port=dst_port,
        protocol=protocol,
        backend_port=dst_port if is_plain else draw(st.sampled_from(PORTS)),
        start=draw(st.sampled_from([0, 9, 10, 12, 19, 20, 25, 30, 39, 40, 49, 50, 60])),
    )
