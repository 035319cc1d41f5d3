"""What the lab needs of the Kubernetes objects in `manifests/`: which pod is where, which Service leads where.

A reader for the lab's own files, not for foreign ones: what it expects and does not find is a KeyError. The pipeline's
inventory is another implementation on purpose, so that the lab can witness against it.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

PROTOCOLS: Final = {"TCP": 6, "UDP": 17}
CAPTURED: Final = "traffic.sidecar.istio.io/includeOutboundIPRanges"


@dataclass(frozen=True, slots=True)
class Node:
    """A node: its address on the underlay, its pods' ranges and the hardware address of its overlay device."""

    name: str
    address: str
    pod_cidr: ipaddress.IPv4Network
    pod_cidr_v6: ipaddress.IPv6Network
    vtep_mac: str

    @property
    def overlay_address(self) -> str:
        """The address of flannel.1: the first of the pods' range."""
        return str(self.pod_cidr[0])

    @property
    def bridge_address(self) -> str:
        """The address of cni0 and the pods' gateway: the second of the pods' range."""
        return str(self.pod_cidr[1])

    @property
    def overlay_address_v6(self) -> str:
        """The same of the IPv6 range."""
        return str(self.pod_cidr_v6[0])

    @property
    def bridge_address_v6(self) -> str:
        """The same of the IPv6 range."""
        return str(self.pod_cidr_v6[1])

    @property
    def bridge_mac(self) -> str:
        """The hardware address of cni0."""
        return hardware_address(self.bridge_address)


@dataclass(frozen=True, slots=True)
class Pod:
    """A running pod. `ports` holds (protocol number, port) pairs of its container, `address_v6` is None where it has
    IPv4 alone."""

    namespace: str
    name: str
    node: str
    address: str
    address_v6: str | None
    host_network: bool
    labels: Mapping[str, str]
    image: str
    args: tuple[str, ...]
    ports: tuple[tuple[int, int], ...]
    has_sidecar: bool
    captured: tuple[str, ...]
    """The ranges that the sidecar takes outgoing connections to."""

    @property
    def mac(self) -> str:
        """The hardware address of its eth0."""
        return hardware_address(self.address)

    @property
    def key(self) -> tuple[str, str]:
        """(namespace, name)."""
        return self.namespace, self.name


@dataclass(frozen=True, slots=True)
class Port:
    """One port of a Service and where it leads. `endpoints` holds the ready ones as (address, port), those of IPv6 in
    `endpoints_v6`."""

    name: str
    port: int
    protocol: str
    node_port: int | None
    endpoints: tuple[tuple[str, int], ...]
    endpoints_v6: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Service:
    """A Service. `cluster_ip` is None for headless ones and for an ExternalName, `cluster_ip_v6` where it has none."""

    namespace: str
    name: str
    type: str
    cluster_ip: str | None
    cluster_ip_v6: str | None
    external_name: str | None
    load_balancer_ips: tuple[str, ...]
    affinity_s: int | None
    ports: tuple[Port, ...]

    def port(self, number: int) -> Port:
        """The port with this number."""
        return next(p for p in self.ports if p.port == number)

    def reference(self, number: int) -> dict[str, Any]:
        """How a truth row names this Service and the port that was meant."""
        port = self.port(number)
        return {"namespace": self.namespace, "name": self.name, "port": port.port, "port_name": port.name}


@dataclass(frozen=True, slots=True)
class Route:
    """One path of an Ingress, in the order of the manifest."""

    host: str
    path: str
    service: tuple[str, str]
    port: int
    ingress: tuple[str, str]


@dataclass(frozen=True, slots=True)
class Share:
    """One subset that a rule of the mesh leads to. `endpoints` holds its pods as (address, port)."""

    subset: str
    weight: int
    endpoints: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class MeshRoute:
    """The rule of a VirtualService that matches everything, and how it shares out the Service."""

    service: tuple[str, str]
    shares: tuple[Share, ...]


@dataclass(frozen=True, slots=True)
class Cluster:
    """Everything the lab builds. Pods that do not run are left out."""

    nodes: tuple[Node, ...]
    pods: Mapping[tuple[str, str], Pod]
    services: Mapping[tuple[str, str], Service]
    routes: tuple[Route, ...]
    mesh_routes: tuple[MeshRoute, ...]

    def pods_labelled(self, namespace: str, **labels: str) -> list[Pod]:
        """The running pods of a namespace that carry all these labels, by name."""
        chosen = [
            p for p in self.pods.values() if p.namespace == namespace and labels.items() <= dict(p.labels).items()
        ]
        return sorted(chosen, key=lambda pod: pod.name)


def load(folder: Path) -> Cluster:
    """Read every manifest of a folder."""
    objects: list[dict[str, Any]] = []
    for path in sorted(folder.glob("*.yaml")):
        with path.open() as file:
            objects += [o for o in yaml.load_all(file, Loader=yaml.CSafeLoader) if o]
    kinds: dict[str, list[dict[str, Any]]] = {}
    for o in objects:
        kinds.setdefault(o["kind"], []).append(o)
    pods = [_pod(o) for o in kinds["Pod"] if o["status"]["phase"] == "Running"]
    services = {(s.namespace, s.name): s for s in (_service(o, kinds["EndpointSlice"]) for o in kinds["Service"])}
    subsets = {
        (o["metadata"]["namespace"], o["spec"]["host"], subset["name"]): subset["labels"]
        for o in kinds["DestinationRule"]
        for subset in o["spec"]["subsets"]
    }
    return Cluster(
        nodes=tuple(_node(o) for o in kinds["Node"]),
        pods={pod.key: pod for pod in pods},
        services=services,
        routes=tuple(route for o in kinds["Ingress"] for route in _routes(o)),
        mesh_routes=tuple(_mesh_route(o, services, pods, subsets) for o in kinds["VirtualService"]),
    )


def _node(o: dict[str, Any]) -> Node:
    overlay = json.loads(o["metadata"]["annotations"]["flannel.alpha.coreos.com/backend-data"])
    return Node(
        name=o["metadata"]["name"],
        address=next(a["address"] for a in o["status"]["addresses"] if a["type"] == "InternalIP"),
        pod_cidr=ipaddress.IPv4Network(o["spec"]["podCIDR"]),
        pod_cidr_v6=next(ipaddress.IPv6Network(cidr) for cidr in o["spec"]["podCIDRs"] if ":" in cidr),
        vtep_mac=overlay["VtepMAC"],
    )


def _pod(o: dict[str, Any]) -> Pod:
    container, *sidecars = o["spec"]["containers"]
    captured = o["metadata"].get("annotations", {}).get(CAPTURED, "")
    return Pod(
        namespace=o["metadata"]["namespace"],
        name=o["metadata"]["name"],
        node=o["spec"]["nodeName"],
        address=o["status"]["podIP"],
        address_v6=_v6(entry["ip"] for entry in o["status"]["podIPs"]),
        host_network=o["spec"].get("hostNetwork", False),
        labels=o["metadata"].get("labels", {}),
        image=container["image"],
        args=tuple(container.get("args", ())),
        ports=tuple((PROTOCOLS[p["protocol"]], p["containerPort"]) for p in container.get("ports", ())),
        has_sidecar=bool(sidecars),
        captured=tuple(captured.split(",")) if captured else (),
    )


def _service(o: dict[str, Any], slices: list[dict[str, Any]]) -> Service:
    namespace, name, spec = o["metadata"]["namespace"], o["metadata"]["name"], o["spec"]
    mine = [
        s
        for s in slices
        if s["metadata"]["namespace"] == namespace and s["metadata"]["labels"]["kubernetes.io/service-name"] == name
    ]
    balancer = o.get("status", {}).get("loadBalancer", {}).get("ingress", ())
    affinity = spec.get("sessionAffinityConfig", {}).get("clientIP", {}).get("timeoutSeconds")
    return Service(
        namespace=namespace,
        name=name,
        type=spec["type"],
        cluster_ip=None if spec.get("clusterIP") in (None, "None") else spec["clusterIP"],
        cluster_ip_v6=_v6(spec.get("clusterIPs", ())),
        external_name=spec.get("externalName"),
        load_balancer_ips=tuple(entry["ip"] for entry in balancer),
        affinity_s=affinity if spec.get("sessionAffinity") == "ClientIP" else None,
        ports=tuple(_port(p, mine) for p in spec.get("ports", ())),
    )


def _port(o: dict[str, Any], slices: list[dict[str, Any]]) -> Port:
    name, protocol = o.get("name", ""), o.get("protocol", "TCP")
    four, six = (_endpoints(name, protocol, [s for s in slices if s["addressType"] == t]) for t in ("IPv4", "IPv6"))
    return Port(
        name=name,
        port=o["port"],
        protocol=protocol,
        node_port=o.get("nodePort"),
        endpoints=four,
        endpoints_v6=six,
    )


def _endpoints(name: str, protocol: str, slices: list[dict[str, Any]]) -> tuple[tuple[str, int], ...]:
    return tuple(
        (endpoint["addresses"][0], port["port"])
        for s in slices
        for port in s["ports"]
        if port["name"] == name and port["protocol"] == protocol
        for endpoint in s["endpoints"]
        if endpoint["conditions"]["ready"]
    )


def _v6(addresses: Iterable[str]) -> str | None:
    return next((address for address in addresses if ":" in address), None)


def hardware_address(address: str) -> str:
    """What CNI's plugins make of an IPv4 address."""
    return ":".join(f"{octet:02x}" for octet in (0x0A, 0x58, *ipaddress.IPv4Address(address).packed))


def _routes(o: dict[str, Any]) -> list[Route]:
    namespace = o["metadata"]["namespace"]
    return [
        Route(
            host=rule["host"],
            path=path["path"],
            service=(namespace, path["backend"]["service"]["name"]),
            port=path["backend"]["service"]["port"]["number"],
            ingress=(namespace, o["metadata"]["name"]),
        )
        for rule in o["spec"]["rules"]
        for path in rule["http"]["paths"]
    ]


def _mesh_route(
    o: dict[str, Any],
    services: Mapping[tuple[str, str], Service],
    pods: list[Pod],
    subsets: Mapping[tuple[str, str, str], Mapping[str, str]],
) -> MeshRoute:
    namespace, (host,) = o["metadata"]["namespace"], o["spec"]["hosts"]
    (rule,) = (rule for rule in o["spec"]["http"] if "match" not in rule)
    endpoints = [endpoint for port in services[namespace, host].ports for endpoint in port.endpoints]
    labels = {pod.address: pod.labels for pod in pods}

    def share(target: dict[str, Any]) -> Share:
        name = target["destination"]["subset"]
        wanted = subsets[namespace, host, name].items()
        own = tuple(endpoint for endpoint in endpoints if wanted <= labels[endpoint[0]].items())
        return Share(subset=name, weight=target["weight"], endpoints=own)

    return MeshRoute((namespace, host), tuple(share(target) for target in rule["route"]))
