"""A generated cluster and its flows, for benchmarks: the size of a busy one, seeded, in the shape that collectors ship.

Every node ships batches of its own, one look at its kernel each: all rows were made at one time, and their connections
are numbered as they were found, in no order. Traffic is mostly pods through Services, with masqueraded ways out, node
ports, a second sight of the same connections by other nodes, and the tunnel between nodes. Most rows have the health of
TCP, the first of a connection its head.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt

from collector.schema import FLOWS, MAX_ROWS, Batch, encode, filled, ordered
from collector.text import Text
from pipeline.inventory.models import Resource, convert

T = TypeVar("T")

NODES: Final = 200
PODS: Final = 5_000
SERVICES: Final = 800
CALLEES: Final = 20
"""Services that one workload calls: what makes pairs of workloads few beside flows, as in any real cluster."""
EPOCH: Final = 1_760_000_000_000_000_000

_V4: Final = 0xFFFF << 32
_NODE_NETWORK: Final = _V4 | 0xAC1E0000  # 172.30.0.0
_POD_NETWORK: Final = _V4 | 0x0AF40000  # 10.244.0.0, a /24 a node
_SERVICE_NETWORK: Final = _V4 | 0x0A600000  # 10.96.0.0
_OUTSIDE_NETWORK: Final = _V4 | 0x08000000  # 8.0.0.0

Column = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Addresses:
    """The low halves of the cluster's addresses, by number; all are IPv4."""

    nodes: Column
    pods: Column
    services: Column

    @property
    def pod_nodes(self) -> Column:
        """The number of the node that each pod is on."""
        return np.arange(PODS) % NODES


def addresses() -> Addresses:
    """Where everything is: pod P is on node P % NODES, and the backends of Service S are the pods P % SERVICES == S."""
    pods = np.arange(PODS, dtype=np.uint64)
    pod_addresses = _POD_NETWORK + (pods % NODES) * 256 + 10 + pods // NODES
    return Addresses(
        nodes=(_NODE_NETWORK + 256 + np.arange(NODES)).astype(np.uint64),
        pods=pod_addresses.astype(np.uint64),
        services=(_SERVICE_NETWORK + 100 + np.arange(SERVICES)).astype(np.uint64),
    )


def cluster() -> list[Resource]:
    """The objects of the cluster."""
    return described(convert)


def described(make: Callable[[str, str, dict[str, Any]], T]) -> list[T]:
    """Whatever `make` makes of version, kind and content of each object; every eighth Service has a node port."""
    where = addresses()
    objects = [
        make(
            "v1",
            "Node",
            {
                "kind": "Node",
                "metadata": {"name": f"node{n}", "labels": {"topology.kubernetes.io/zone": f"zone-{n % 3}"}},
                "spec": {"podCIDR": f"10.244.{n}.0/24"},
                "status": {"addresses": [{"type": "InternalIP", "address": _dotted(where.nodes[n])}]},
            },
        )
        for n in range(NODES)
    ]
    objects += [
        make(
            "v1",
            "Pod",
            {
                "kind": "Pod",
                "metadata": {
                    "name": f"app{p % SERVICES}-5d4f9c7b86-{p:05d}",
                    "namespace": f"team-{p % 40}",
                    "uid": f"00000000-0000-4000-8000-{p:012d}",
                    "labels": {"pod-template-hash": "5d4f9c7b86"},
                    "ownerReferences": [
                        {"kind": "ReplicaSet", "name": f"app{p % SERVICES}-5d4f9c7b86", "controller": True}
                    ],
                },
                "spec": {"nodeName": f"node{p % NODES}"},
                "status": {"phase": "Running", "podIP": _dotted(where.pods[p])},
            },
        )
        for p in range(PODS)
    ]
    objects += [
        make(
            "v1",
            "Service",
            {
                "kind": "Service",
                "metadata": {"name": f"app{s}", "namespace": f"team-{s % 40}"},
                "spec": {
                    "type": "ClusterIP" if s % 8 else "NodePort",
                    "clusterIP": _dotted(where.services[s]),
                    "ports": [
                        {"name": "http", "port": 80, "targetPort": 8080} | ({} if s % 8 else {"nodePort": 30000 + s})
                    ],
                },
            },
        )
        for s in range(SERVICES)
    ]
    return objects


def batches(rows: int, seed: int = 1) -> Iterator[Batch]:
    """Encoded batches of MAX_ROWS flows, `rows` in all, from the nodes in turn."""
    where = addresses()
    generator = np.random.default_rng(seed)
    sent = np.zeros(NODES, dtype=int)
    for number, first in enumerate(range(0, rows, MAX_ROWS)):
        node = number % NODES
        columns = flows(generator, where, node, min(MAX_ROWS, rows - first), EPOCH + number * 10**9)
        byte_sum = sum(int(np.asarray(columns[name]).sum()) for name in FLOWS.bytes_columns)
        count = len(columns["time"])
        value = encode(FLOWS, ordered(FLOWS, columns))
        yield Batch("flows", f"node{node}", EPOCH, int(sent[node]), count, byte_sum, value)
        sent[node] += 1


def flows(
    generator: np.random.Generator, where: Addresses, node: int, rows: int, now: int, callees: int = CALLEES
) -> dict[str, Column | Sequence[str]]:
    """One batch of flows as the collector on `node` would see them."""
    kind = generator.choice(6, rows, p=[0.6, 0.12, 0.1, 0.06, 0.1, 0.02])
    through_service, direct, way_out, node_port, observed, tunnel = (kind == number for number in range(6))

    caller = generator.choice(np.flatnonzero(where.pod_nodes == node), rows)
    called = (caller % SERVICES * 7 + generator.integers(0, callees, rows) * 31) % SERVICES
    service = np.where(node_port, generator.integers(0, SERVICES // 8, rows) * 8, called)
    per_service = PODS // SERVICES
    backend_pod = service + SERVICES * generator.integers(0, per_service, rows)
    here = where.pods[where.pod_nodes == node]
    elsewhere = where.pods[where.pod_nodes != node]
    outside = (_OUTSIDE_NETWORK + generator.integers(0, 1 << 20, rows)).astype(np.uint64)
    this_node = where.nodes[node]

    src = where.pods[caller]
    src[node_port] = outside[node_port]
    src[observed] = generator.choice(elsewhere, int(observed.sum()))
    src[tunnel] = this_node
    backend = where.pods[backend_pod].copy()
    backend[way_out] = outside[way_out]
    backend[observed] = generator.choice(here, int(observed.sum()))
    backend[tunnel] = generator.choice(where.nodes, int(tunnel.sum()))
    dst = backend.copy()
    dst[through_service] = where.services[service[through_service]]
    dst[node_port] = this_node
    nat_src = np.where(way_out | node_port, this_node, src)

    src_port = generator.integers(32768, 60999, rows, dtype=np.uint16)
    backend_port = np.select([way_out, tunnel], [443, 8472], 8080).astype(np.uint16)
    dst_port = np.select([through_service, node_port], [80, 30000 + service], backend_port).astype(np.uint16)
    packets = generator.geometric(0.05, rows).astype(np.uint64)
    outcome = generator.choice(5, rows, p=[0.5, 0.45, 0.02, 0.01, 0.02]).astype(np.uint8)
    opened = generator.random(rows) < 0.6
    is_tcp = ~(tunnel | (generator.random(rows) < 0.1) & direct)
    is_new = np.flatnonzero(opened)
    flow_id = np.uint64(EPOCH + node * 10**12) + generator.integers(0, 1 << 20, rows, dtype=np.uint64)
    flow_id[is_new] = np.uint64(now) + generator.permutation(len(is_new)).astype(np.uint64)
    rtt_us = (generator.lognormal(6, 1, rows) * is_tcp).astype(np.uint32)
    speaks = opened & is_tcp & ~tunnel
    names = ("", *(f"app{s}.team-{s % 40}.svc" for s in range(SERVICES)))
    paths = ("", "/", "/api/v1/orders", "/api/v1/items", "/healthz", "/static/app.js")
    has_path = speaks & (generator.random(rows) < 0.5)
    path = np.where(has_path, generator.choice(len(paths) - 1, rows, p=[0.3, 0.2, 0.2, 0.2, 0.1]) + 1, 0)
    none = np.zeros(rows, dtype=np.uint64)
    columns: dict[str, Column | Sequence[str]] = {
        "start": now - generator.integers(0, 10**10, rows, dtype=np.int64),
        "time": np.full(rows, now, dtype=np.int64),
        "flow_id": flow_id,
        "src_lo": src,
        "dst_lo": dst,
        "backend_lo": backend,
        "nat_src_lo": nat_src.astype(np.uint64),
        "src_port": src_port,
        "dst_port": dst_port,
        "backend_port": backend_port,
        "nat_src_port": src_port,
        "protocol": np.where(is_tcp, 6, 17).astype(np.uint8),
        "outcome": outcome,
        "opened": opened.astype(np.uint8),
        "closed": (outcome > 0).astype(np.uint8),
        "packets": packets,
        "bytes": packets * 180,
        "reply_packets": packets,
        "reply_bytes": packets * 900,
        "connect_us": np.where(opened, rtt_us, np.uint32(0)),
        "srtt_us": rtt_us,
        "retransmits": ((generator.random(rows) < 0.02) & is_tcp).astype(np.uint32),
        "app_protocol": np.select([has_path, speaks], [2, 1], 0).astype(np.uint8),
        "server_name": Text(names, np.where(speaks, service + 1, 0).astype(np.uint32)),
        "method": Text(("", "GET"), has_path.astype(np.uint32)),
        "path": Text(paths, path.astype(np.uint32)),
    }
    columns |= {name: none for name in FLOWS.columns_of(1) if name not in columns}
    return filled(FLOWS, columns)


def _dotted(lo: np.uint64) -> str:
    return ".".join(str(int(lo) >> shift & 255) for shift in (24, 16, 8, 0))
