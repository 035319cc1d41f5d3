"""The wires: what `ip -batch`, `bridge -batch` and `sysctl` are given for the underlay, the nodes and their pods.

Pure text. The shape is that of a cluster made by flannel with its VXLAN backend: every node has a bridge cni0 that its
pods hang on, and a device flannel.1 whose neighbours, forwarding entries and routes are static, one of each a node.
"""

from __future__ import annotations

from collections.abc import Mapping

from .objects import Cluster, Node

UNDERLAY = "172.30.0.0/24"
OUTSIDE_GATEWAY = "172.30.0.1"
OUTSIDE_CLIENT = "198.51.100.20"
OUTSIDE_API = "203.0.113.10"
SERVICE_RANGE = "10.96.0.0/12"
POD_RANGE = "10.244.0.0/16"
POD_MTU = 1450

QUIET = {"net.ipv6.conf.all.disable_ipv6": 1, "net.ipv6.conf.default.disable_ipv6": 1}
"""Every namespace: no router solicitations and neighbour discovery among the traffic."""

NODE_SYSCTLS = {
    **QUIET,
    "net.ipv4.ip_forward": 1,
    "net.ipv4.conf.all.rp_filter": 0,
    "net.ipv4.conf.default.rp_filter": 0,
    "net.ipv4.conf.all.send_redirects": 0,
    "net.ipv4.conf.default.send_redirects": 0,
    "net.bridge.bridge-nf-call-iptables": 1,
}
"""Of a node, before any device is made, since devices copy `default`."""

TRACKING_SYSCTLS = {"net.netfilter.nf_conntrack_acct": 1, "net.netfilter.nf_conntrack_timestamp": 1}
"""What collectors need of a node; after the rules, which are what makes the kernel load connection tracking."""


def sysctl(values: Mapping[str, int]) -> list[str]:
    """The command that sets these values in the network namespace where it runs."""
    return ["sysctl", "-qw", *(f"{key}={value}" for key, value in values.items())]


def underlay(machines: Mapping[str, int]) -> str:
    """`ip -batch` lines for the room: one bridge with eth0 of every machine (name to PID) plugged into it."""
    lines = ["link set lo up", "link add underlay type bridge stp_state 0", "link set underlay up"]
    for name, pid in machines.items():
        lines += [
            f"link add {name} type veth peer name eth0 netns {pid}",
            f"link set {name} master underlay up",
        ]
    return "\n".join(lines)


def outside(cluster: Cluster) -> str:
    """`ip -batch` lines for the world outside: the nodes' gateway, a client and an API with public addresses.

    The cloud's load balancer is the route of its address to the first node. The client also has routes to the Service
    and pod ranges there, as an office network peered with the cluster would.
    """
    entry = cluster.nodes[0].address
    balanced = [ip for service in cluster.services.values() for ip in service.load_balancer_ips]
    lines = [
        "link set lo up",
        f"addr add {OUTSIDE_CLIENT}/32 dev lo",
        f"addr add {OUTSIDE_API}/32 dev lo",
        f"addr add {OUTSIDE_GATEWAY}/24 dev eth0",
        "link set eth0 up",
        f"route replace {UNDERLAY} dev eth0 src {OUTSIDE_CLIENT}",
    ]
    targets = [*balanced, SERVICE_RANGE, POD_RANGE]
    return "\n".join([*lines, *(f"route add {target} via {entry} src {OUTSIDE_CLIENT}" for target in targets)])


def node(own: Node, others: list[Node], sandboxes: Mapping[str, int]) -> str:
    """`ip -batch` lines for a node: uplink, overlay, bridge, and a veth for each of its `sandboxes` (name to PID)."""
    lines = [
        "link set lo up",
        f"addr add {own.address}/24 dev eth0",
        "link set eth0 up",
        f"route add default via {OUTSIDE_GATEWAY}",
        f"link add flannel.1 type vxlan id 1 dev eth0 local {own.address} dstport 8472 nolearning",
        f"link set flannel.1 address {own.vtep_mac} mtu {POD_MTU} up",
        f"addr add {own.overlay_address}/32 dev flannel.1",
        f"link add cni0 mtu {POD_MTU} type bridge stp_state 0 forward_delay 0",
        f"addr add {own.bridge_address}/{own.pod_cidr.prefixlen} dev cni0",
        "link set cni0 up",
    ]
    for peer in others:
        lines += [
            f"neigh add {peer.overlay_address} lladdr {peer.vtep_mac} dev flannel.1 nud permanent",
            f"route add {peer.pod_cidr} via {peer.overlay_address} dev flannel.1 onlink",
        ]
    for name, pid in sandboxes.items():
        lines += [
            f"link add {name} mtu {POD_MTU} type veth peer name eth0 mtu {POD_MTU} netns {pid}",
            f"link set {name} master cni0 up",
            f"link set {name} type bridge_slave hairpin on",
        ]
    return "\n".join(lines)


def forwarding(others: list[Node]) -> str:
    """`bridge -batch` lines for a node's flannel.1: behind which node each overlay address lies."""
    return "\n".join(f"fdb add {peer.vtep_mac} dev flannel.1 dst {peer.address} self permanent" for peer in others)


def pod(address: str, own: Node) -> str:
    """`ip -batch` lines for a pod's sandbox."""
    return "\n".join(
        [
            "link set lo up",
            f"addr add {address}/{own.pod_cidr.prefixlen} dev eth0",
            "link set eth0 up",
            f"route add default via {own.bridge_address}",
        ]
    )
