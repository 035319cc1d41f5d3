"""The wires: what `ip -batch`, `bridge -batch` and `sysctl` are given for the underlay, the nodes and their pods.

Pure text. The shape is that of a cluster made by flannel with its VXLAN backend: every node has a bridge cni0 that its
pods hang on, and a device flannel.1 whose neighbours, forwarding entries and routes are static, one of each a node.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .objects import Cluster, Node, Pod

UNDERLAY = "172.30.0.0/24"
OUTSIDE_GATEWAY = "172.30.0.1"
OUTSIDE_CLIENT = "198.51.100.20"
OUTSIDE_API = "203.0.113.10"
SERVICE_RANGE = "10.96.0.0/12"
POD_RANGE = "10.244.0.0/16"
POD_RANGE_V6 = "fd00:10:244::/48"
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
    "net.bridge.bridge-nf-call-ip6tables": 1,
    "net.ipv6.conf.all.forwarding": 1,
    "net.ipv6.conf.default.addr_gen_mode": 1,
    "net.ipv6.conf.default.accept_dad": 0,
}
"""Of a node, before any device is made, since devices copy `default`."""

NODE_V6_SYSCTLS = {"net.ipv6.conf.cni0.disable_ipv6": 0, "net.ipv6.conf.flannel/1.disable_ipv6": 0}
"""Of a node, after its devices are made: only those that have IPv6 addresses speak it."""

POD_V6_SYSCTLS = {
    "net.ipv6.conf.eth0.addr_gen_mode": 1,
    "net.ipv6.conf.eth0.accept_dad": 0,
    "net.ipv6.conf.eth0.disable_ipv6": 0,
}
"""Of a pod with an IPv6 address: no other one is made up, and nobody is asked whether it is taken."""

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


def node(own: Node, others: list[Node], sandboxes: Sequence[tuple[Pod, int]]) -> str:
    """`ip -batch` lines for a node: uplink, overlay, bridge, and a veth for each of its `sandboxes` (pod and PID)."""
    lines = [
        "link set lo up",
        f"addr add {own.address}/24 dev eth0",
        "link set eth0 up",
        f"route add default via {OUTSIDE_GATEWAY}",
        f"link add flannel.1 type vxlan id 1 dev eth0 local {own.address} dstport 8472 nolearning",
        f"link set flannel.1 address {own.vtep_mac} mtu {POD_MTU} up",
        f"addr add {own.overlay_address}/32 dev flannel.1",
        f"link add cni0 address {own.bridge_mac} mtu {POD_MTU} type bridge stp_state 0 forward_delay 0",
        f"addr add {own.bridge_address}/{own.pod_cidr.prefixlen} dev cni0",
        "link set cni0 up",
    ]
    for peer in others:
        lines += [
            f"neigh add {peer.overlay_address} lladdr {peer.vtep_mac} dev flannel.1 nud permanent",
            f"route add {peer.pod_cidr} via {peer.overlay_address} dev flannel.1 onlink",
        ]
    for item, pid in sandboxes:
        name = f"veth{item.address.rpartition('.')[2]}"
        peer_end = f"peer name eth0 address {item.mac} mtu {POD_MTU} netns {pid}"
        lines += [
            f"link add {name} mtu {POD_MTU} type veth {peer_end}",
            f"link set {name} master cni0 up",
            f"link set {name} type bridge_slave hairpin on",
        ]
    return "\n".join(lines)


def node_v6(own: Node, others: list[Node], pods: Sequence[Pod]) -> str:
    """`ip -batch` lines for a node's IPv6: addresses, routes over the same overlay, and its pods as neighbours.

    All neighbours are static, so that no discovery of them is among the traffic.
    """
    lines = [
        f"addr add {own.overlay_address_v6}/128 dev flannel.1 nodad",
        f"addr add {own.bridge_address_v6}/{own.pod_cidr_v6.prefixlen} dev cni0 nodad",
    ]
    for peer in others:
        lines += [
            f"neigh add {peer.overlay_address_v6} lladdr {peer.vtep_mac} dev flannel.1 nud permanent",
            f"route add {peer.pod_cidr_v6} via {peer.overlay_address_v6} dev flannel.1 onlink",
        ]
    return "\n".join([*lines, *(f"neigh add {p.address_v6} lladdr {p.mac} dev cni0 nud permanent" for p in pods)])


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


def pod_v6(own: Pod, node: Node, others: Sequence[Pod]) -> str:
    """`ip -batch` lines for the IPv6 of a pod's sandbox; `others` are the node's other pods that have it."""
    neighbours = [(node.bridge_address_v6, node.bridge_mac), *((str(o.address_v6), o.mac) for o in others)]
    return "\n".join(
        [
            f"addr add {own.address_v6}/{node.pod_cidr_v6.prefixlen} dev eth0 nodad",
            *(f"neigh add {address} lladdr {mac} dev eth0 nud permanent" for address, mac in neighbours),
            f"route add default via {node.bridge_address_v6} dev eth0",
        ]
    )
