"""Kubernetes objects, slim: only the fields that something here reads, as msgspec structs.

`convert` is strict about the fields that it knows (a wrong type is refused, with the field named) and blind to all
others. Kinds without a model of their own are kept with their metadata alone, so that they are counted; so is, as
`Opaque`, a policy that its model refuses.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Literal

import msgspec

from .addresses import NO_ADDRESS, parse_object
from .admin_policies import AdminNetworkPolicy, BaselineAdminNetworkPolicy, ClusterNetworkPolicy
from .cilium_nodes import CiliumNode
from .gateway_models import Gateway, GatewayClass, GatewayRoute, GRPCRoute, HTTPRoute, TCPRoute, TLSRoute
from .ingress_models import Ingress, IngressClass, Route
from .istio_models import DestinationRule, IstioGateway, PeerAuthentication, VirtualService
from .parts import Cidr, Ip, Metadata, PortNumber, Slim, decode, without_nulls
from .policies import NetworkPolicy
from .slice_models import EndpointSlice


class NameOnly(Slim, frozen=True):
    """Metadata of the kinds that are only counted: nothing but the name can be wrong with them."""

    name: str = ""
    namespace: str | None = None


class Other(Slim, frozen=True):
    """An object of a kind that is known by its metadata only."""

    kind: str
    metadata: NameOnly


class Opaque(Other, frozen=True):
    """A policy that is there and that its model refuses. `identities.opaque` makes it, and it stands where the
    policy would."""


class Namespace(Slim, frozen=True):
    """v1 Namespace."""

    metadata: Metadata
    kind: str = "Namespace"


class NodeAddress(Slim, frozen=True):
    """One `status.addresses` entry; `type` Hostname and the DNS ones hold names."""

    type: str
    address: str

    def __post_init__(self) -> None:
        if self.is_ip:
            parse_object(self.address)

    @property
    def is_ip(self) -> bool:
        """Whether `address` holds an IP address."""
        return self.type in {"InternalIP", "ExternalIP"}


class NodeSpec(Slim, frozen=True):
    """v1 NodeSpec."""

    pod_cidr: Cidr | None = msgspec.field(name="podCIDR", default=None)
    pod_cidrs: list[Cidr] | None = msgspec.field(name="podCIDRs", default=None)


class NodeStatus(Slim, frozen=True):
    """v1 NodeStatus."""

    addresses: list[NodeAddress] | None = None


class Node(Slim, frozen=True):
    """v1 Node."""

    metadata: Metadata
    spec: NodeSpec | None = None
    status: NodeStatus | None = None
    kind: str = "Node"


class ContainerPort(Slim, frozen=True):
    """One port that a container declares; the name is what Services and policies may refer to."""

    container_port: PortNumber
    host_port: Annotated[int, msgspec.Meta(ge=0, le=65535)] | None = None
    name: str = ""
    protocol: Literal["TCP", "UDP", "SCTP"] = "TCP"


class Container(Slim, frozen=True):
    """v1 Container."""

    ports: list[ContainerPort] | None = None


class InitContainer(Container, frozen=True):
    """v1 Container among `initContainers`; with the restart policy Always it is a sidecar, which runs with the pod."""

    restart_policy: str | None = None


class PodSpec(Slim, frozen=True):
    """v1 PodSpec."""

    node_name: str | None = None
    hostname: str | None = None
    subdomain: str | None = None
    host_network: bool | None = None
    containers: list[Container] | None = None
    init_containers: list[InitContainer] | None = None

    @property
    def ports(self) -> Iterator[ContainerPort]:
        """What all containers declare that run while the pod does: sidecars too, the others first, as the API server's
        own look-up of a port's name has it."""
        for container in self.containers or ():
            yield from container.ports or ()
        for container in self.init_containers or ():
            if container.restart_policy == "Always":
                yield from container.ports or ()


class PodIP(Slim, frozen=True):
    """One `status.podIPs` entry."""

    ip: Ip | None = None


class ContainerRun(Slim, frozen=True):
    """v1 ContainerStateRunning or ContainerStateTerminated; times have whole seconds."""

    started_at: str | None = None
    finished_at: str | None = None


class ContainerState(Slim, frozen=True):
    """v1 ContainerState."""

    running: ContainerRun | None = None
    terminated: ContainerRun | None = None


class ContainerStatus(Slim, frozen=True):
    """v1 ContainerStatus; the state is that of the latest run."""

    state: ContainerState | None = None
    restart_count: int = 0


class PodStatus(Slim, frozen=True):
    """v1 PodStatus."""

    phase: str | None = None
    pod_ip: Ip | None = msgspec.field(name="podIP", default=None)
    pod_ips: list[PodIP] | None = msgspec.field(name="podIPs", default=None)
    host_ip: Ip | None = msgspec.field(name="hostIP", default=None)
    container_statuses: list[ContainerStatus] | None = None
    init_container_statuses: list[ContainerStatus] | None = None


class Pod(Slim, frozen=True):
    """v1 Pod."""

    metadata: Metadata
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()
    kind: str = "Pod"


class ServicePort(Slim, frozen=True):
    """One port of a Service."""

    port: PortNumber
    name: str | None = None
    protocol: Literal["TCP", "UDP", "SCTP"] = "TCP"
    target_port: int | str | None = None
    node_port: Annotated[int, msgspec.Meta(ge=0, le=65535)] | None = None


class ClientIPConfig(Slim, frozen=True):
    """v1 ClientIPConfig."""

    timeout_seconds: Annotated[int, msgspec.Meta(ge=0, le=86_400)] | None = None


class SessionAffinityConfig(Slim, frozen=True):
    """v1 SessionAffinityConfig."""

    client_ip: ClientIPConfig | None = msgspec.field(name="clientIP", default=None)


class ServiceSpec(Slim, frozen=True):
    """v1 ServiceSpec."""

    type: str = "ClusterIP"
    cluster_ip: Ip | None = msgspec.field(name="clusterIP", default=None)
    cluster_ips: list[Ip] | None = msgspec.field(name="clusterIPs", default=None)
    external_ips: list[Ip] | None = msgspec.field(name="externalIPs", default=None)
    ports: list[ServicePort] | None = None
    selector: dict[str, str] | None = None
    publish_not_ready_addresses: bool | None = None
    session_affinity: str | None = None
    session_affinity_config: SessionAffinityConfig | None = None
    external_name: str | None = None


class LoadBalancerIngress(Slim, frozen=True):
    """One address that a load balancer gave the Service; it may be a host name only."""

    ip: Ip | None = None
    hostname: str | None = None


class LoadBalancerStatus(Slim, frozen=True):
    """v1 LoadBalancerStatus."""

    ingress: list[LoadBalancerIngress] | None = None


class ServiceStatus(Slim, frozen=True):
    """v1 ServiceStatus."""

    load_balancer: LoadBalancerStatus | None = None


class Service(Slim, frozen=True):
    """v1 Service."""

    metadata: Metadata
    spec: ServiceSpec = ServiceSpec()
    status: ServiceStatus = ServiceStatus()
    kind: str = "Service"

    @property
    def is_headless(self) -> bool:
        """Whether it has no address of its own: clients find its endpoints by name."""
        own = self.spec.cluster_ip
        return self.spec.type != "ExternalName" and own is not None and own.address == NO_ADDRESS


class ReplicaSet(Slim, frozen=True):
    """apps/v1 ReplicaSet: the link from a Pod to its Deployment."""

    metadata: Metadata
    kind: str = "ReplicaSet"


class Job(Slim, frozen=True):
    """batch/v1 Job: the link from a Pod to its CronJob."""

    metadata: Metadata
    kind: str = "Job"


class ServiceCIDRSpec(Slim, frozen=True):
    """networking.k8s.io ServiceCIDRSpec."""

    cidrs: list[Cidr] | None = None


class ServiceCIDR(Slim, frozen=True):
    """networking.k8s.io ServiceCIDR: the ranges that cluster addresses of Services come from."""

    metadata: Metadata
    spec: ServiceCIDRSpec = ServiceCIDRSpec()
    kind: str = "ServiceCIDR"


Policy = NetworkPolicy | AdminNetworkPolicy | BaselineAdminNetworkPolicy | ClusterNetworkPolicy
Entrance = Ingress | IngressClass | Route | Gateway | GatewayClass | HTTPRoute | GRPCRoute | TLSRoute | TCPRoute
Mesh = VirtualService | DestinationRule | IstioGateway | PeerAuthentication
Resource = (
    Namespace
    | Node
    | CiliumNode
    | Pod
    | Service
    | EndpointSlice
    | ReplicaSet
    | Job
    | ServiceCIDR
    | Policy
    | Entrance
    | Mesh
    | Other
)

MODELS: Final[Mapping[tuple[str, str], type[Resource]]] = {
    ("", "Namespace"): Namespace,
    ("", "Node"): Node,
    ("cilium.io", "CiliumNode"): CiliumNode,
    ("", "Pod"): Pod,
    ("", "Service"): Service,
    ("discovery.k8s.io", "EndpointSlice"): EndpointSlice,
    ("apps", "ReplicaSet"): ReplicaSet,
    ("batch", "Job"): Job,
    ("networking.k8s.io", "ServiceCIDR"): ServiceCIDR,
    ("networking.k8s.io", "NetworkPolicy"): NetworkPolicy,
    ("networking.k8s.io", "Ingress"): Ingress,
    ("networking.k8s.io", "IngressClass"): IngressClass,
    ("route.openshift.io", "Route"): Route,
    ("gateway.networking.k8s.io", "Gateway"): Gateway,
    ("gateway.networking.k8s.io", "GatewayClass"): GatewayClass,
    ("gateway.networking.k8s.io", "HTTPRoute"): HTTPRoute,
    ("gateway.networking.k8s.io", "GRPCRoute"): GRPCRoute,
    ("gateway.networking.k8s.io", "TLSRoute"): TLSRoute,
    ("gateway.networking.k8s.io", "TCPRoute"): TCPRoute,
    ("networking.istio.io", "VirtualService"): VirtualService,
    ("networking.istio.io", "DestinationRule"): DestinationRule,
    ("networking.istio.io", "Gateway"): IstioGateway,
    ("security.istio.io", "PeerAuthentication"): PeerAuthentication,
    ("policy.networking.k8s.io", "AdminNetworkPolicy"): AdminNetworkPolicy,
    ("policy.networking.k8s.io", "BaselineAdminNetworkPolicy"): BaselineAdminNetworkPolicy,
    ("policy.networking.k8s.io", "ClusterNetworkPolicy"): ClusterNetworkPolicy,
}
"""The model of an API group and kind. A Service of another group (Knative has one) is no Service of ours."""


def convert(api_version: str, kind: str, body: Mapping[str, Any]) -> Resource:
    """The resource in a decoded object. Raises msgspec.ValidationError, which names the field."""
    group = api_version.rpartition("/")[0]
    model = MODELS.get((group, kind), Other)
    resource: Resource
    try:
        resource = msgspec.convert(body, model, dec_hook=decode)
    except msgspec.ValidationError:
        if (bare := without_nulls(body)) == body:
            raise
        resource = msgspec.convert(bare, model, dec_hook=decode)
    if not resource.metadata.name and model is not Other:
        raise msgspec.ValidationError("Object has no name - at `$.metadata.name`")
    return resource


def is_same(one: Resource | None, other: Resource) -> bool:
    """Whether both say the same of an object; their versions may differ, for what nothing reads changes them too."""
    if one is None or isinstance(one, Other) or isinstance(other, Other):
        return one == other
    version = one.metadata.resource_version
    if version == other.metadata.resource_version or type(one) is not type(other):
        return one == other
    metadata = msgspec.structs.replace(other.metadata, resource_version=version)
    return one == msgspec.structs.replace(other, metadata=metadata)


def version_of(resource: Resource | None) -> str:
    """The resourceVersion at which the object became what is read of it; "" where it does not say."""
    metadata = None if resource is None else resource.metadata
    return str(metadata.resource_version or "") if isinstance(metadata, Metadata) else ""


def namespace_of(resource: Resource | GatewayRoute) -> str:
    """The namespace of a resource of a namespaced kind: `default` where it names none, as the API server fills in."""
    return resource.metadata.namespace or "default"
