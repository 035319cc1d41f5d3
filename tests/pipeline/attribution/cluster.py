"""Small random clusters and flows, made to collide: few addresses, many claims on each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hypothesis import strategies as st

from pipeline.inventory.models import Resource
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


@dataclass(frozen=True)
class ANode:
    name: str
    ips: Sequence[str]
    pod_cidrs: Sequence[str]


@dataclass(frozen=True)
class APod:
    name: str
    ips: Sequence[str]
    node: str
    host_network: bool
    phase: str
    leaving: bool


@dataclass(frozen=True)
class APort:
    port: int
    protocol: str
    node_port: int


@dataclass(frozen=True)
class AService:
    name: str
    cluster_ips: Sequence[str]
    load_balancer_ips: Sequence[str]
    external_ips: Sequence[str]
    ports: Sequence[APort]


@dataclass(frozen=True)
class Cluster:
    nodes: Sequence[ANode]
    pods: Sequence[APod]
    services: Sequence[AService]

    def objects(self) -> list[Resource]:
        """The same as Kubernetes objects."""
        return [
            *(node(n.name, *n.ips, pod_cidrs=n.pod_cidrs) for n in self.nodes),
            *(
                pod(p.name, *p.ips, on=p.node, host_network=p.host_network, phase=p.phase, leaving=p.leaving)
                for p in self.pods
            ),
            *(
                service(
                    s.name,
                    *s.cluster_ips,
                    load_balancer_ips=s.load_balancer_ips,
                    external_ips=s.external_ips,
                    ports=[{"port": p.port, "protocol": p.protocol, "nodePort": p.node_port} for p in s.ports],
                )
                for s in self.services
            ),
        ]


@dataclass(frozen=True)
class Flow:
    node: str
    src: str
    dst: str
    backend: str
    nat_src: str
    dst_port: int
    protocol: int


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
    pods = st.builds(
        APod,
        name=st.sampled_from([f"p{number}" for number in range(8)]),
        ips=subsets(POD_IPS, 2),
        node=st.sampled_from([*NODES, "n4", ""]),
        host_network=st.sampled_from([False, False, False, True]),
        phase=st.sampled_from(["Running", "Running", "Pending", "Succeeded", "Failed"]),
        leaving=st.sampled_from([False, False, True]),
    )
    ports = st.builds(
        APort,
        port=st.sampled_from(PORTS[1:]),
        protocol=st.sampled_from(list(PROTOCOLS)),
        node_port=st.sampled_from([0, 0, 30080, 80]),
    )
    services = st.builds(
        AService,
        name=st.sampled_from([f"s{number}" for number in range(5)]),
        cluster_ips=subsets(SERVICE_IPS, 2),
        load_balancer_ips=subsets(BALANCER_IPS, 1),
        external_ips=subsets((*BALANCER_IPS, POD_IPS[2]), 1),
        ports=st.lists(ports, max_size=3, unique_by=lambda port: (port.port, port.protocol)),
    )
    return Cluster(
        nodes,
        draw(st.lists(pods, max_size=8, unique_by=lambda item: item.name)),
        draw(st.lists(services, max_size=5, unique_by=lambda item: item.name)),
    )


@st.composite
def flows(draw: st.DrawFn) -> Flow:
    address = st.sampled_from(ALL_IPS)
    src, dst = draw(address), draw(address)
    return Flow(
        node=draw(st.sampled_from([*NODES, "n4", "n9"])),
        src=src,
        dst=dst,
        backend=draw(st.one_of(st.just(dst), address)),
        nat_src=draw(st.one_of(st.just(src), address)),
        dst_port=draw(st.sampled_from(PORTS)),
        protocol=draw(st.sampled_from([1, 6, 17, 132])),
    )
