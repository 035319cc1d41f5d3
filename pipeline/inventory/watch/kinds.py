"""The kinds of objects that are watched, and which of them a cluster has.

The invariant: of a kind the first version listed here that the cluster serves is watched, since the models read it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of objects. `versions`: those that are understood, best first."""

    group: str
    versions: tuple[str, ...]
    resource: str
    name: str
    is_required: bool = False
    """Whether nothing can be said of the cluster without it; the cluster may lack the others or forbid them."""

    @property
    def label(self) -> str:
        """The kind as metrics and logs call it: by its name, of Gateways with whose they are."""
        return f"{self.name}.{self.group}" if self.name == "Gateway" else self.name


@dataclass(frozen=True, slots=True)
class Served:
    """A kind in the version in which a cluster has it."""

    kind: Kind
    version: str

    @property
    def api_version(self) -> str:
        """As objects write it: `v1`, `apps/v1`."""
        return f"{self.kind.group}/{self.version}" if self.kind.group else self.version

    @property
    def path(self) -> str:
        """Where its objects are listed, of all namespaces."""
        return f"{group_path(self.api_version)}/{self.kind.resource}"


def _builtin(group: str, version: str, resource: str, name: str) -> Kind:
    return Kind(group, (version,), resource, name, is_required=True)


_POLICY: Final = "policy.networking.k8s.io"
_GATEWAY: Final = "gateway.networking.k8s.io"

KINDS: Final = (
    _builtin("", "v1", "namespaces", "Namespace"),
    _builtin("", "v1", "nodes", "Node"),
    _builtin("apps", "v1", "replicasets", "ReplicaSet"),
    _builtin("batch", "v1", "jobs", "Job"),
    _builtin("", "v1", "pods", "Pod"),
    _builtin("", "v1", "services", "Service"),
    _builtin("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice"),
    _builtin("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy"),
    _builtin("networking.k8s.io", "v1", "ingresses", "Ingress"),
    _builtin("networking.k8s.io", "v1", "ingressclasses", "IngressClass"),
    Kind("networking.k8s.io", ("v1", "v1beta1"), "servicecidrs", "ServiceCIDR"),
    Kind(_POLICY, ("v1alpha1",), "adminnetworkpolicies", "AdminNetworkPolicy"),
    Kind(_POLICY, ("v1alpha1",), "baselineadminnetworkpolicies", "BaselineAdminNetworkPolicy"),
    Kind(_POLICY, ("v1alpha2",), "clusternetworkpolicies", "ClusterNetworkPolicy"),
    Kind(_GATEWAY, ("v1", "v1beta1"), "gatewayclasses", "GatewayClass"),
    Kind(_GATEWAY, ("v1", "v1beta1"), "gateways", "Gateway"),
    Kind(_GATEWAY, ("v1", "v1beta1"), "httproutes", "HTTPRoute"),
    Kind(_GATEWAY, ("v1", "v1alpha2"), "grpcroutes", "GRPCRoute"),
    Kind(_GATEWAY, ("v1", "v1alpha2"), "tcproutes", "TCPRoute"),
    Kind(_GATEWAY, ("v1", "v1alpha3", "v1alpha2"), "tlsroutes", "TLSRoute"),
    Kind("networking.istio.io", ("v1", "v1beta1", "v1alpha3"), "virtualservices", "VirtualService"),
    Kind("networking.istio.io", ("v1", "v1beta1", "v1alpha3"), "destinationrules", "DestinationRule"),
    Kind("networking.istio.io", ("v1", "v1beta1", "v1alpha3"), "gateways", "Gateway"),
    Kind("security.istio.io", ("v1", "v1beta1"), "peerauthentications", "PeerAuthentication"),
    Kind("route.openshift.io", ("v1",), "routes", "Route"),
)
"""Owners before what they own, so that the first listing reads like a story; nothing depends on that."""


def group_path(api_version: str) -> str:
    """The path under which the API server serves a group's version."""
    return f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"


def wanted_versions(groups: Mapping[str, Collection[str]], kinds: Iterable[Kind] = KINDS) -> list[str]:
    """The API versions to ask for what they hold; `groups` has the versions that the cluster serves of each group."""
    found = {
        f"{kind.group}/{version}" if kind.group else version
        for kind in kinds
        for version in kind.versions
        if version in groups.get(kind.group, ())
    }
    return sorted(found)


def choose(resources: Mapping[str, Collection[str]], kinds: Iterable[Kind] = KINDS) -> list[Served]:
    """The kinds that a cluster has, each in its best version; `resources` has those of each API version."""
    chosen = []
    for kind in kinds:
        for version in kind.versions:
            served = Served(kind, version)
            if kind.resource in resources.get(served.api_version, ()):
                chosen.append(served)
                break
    return chosen
