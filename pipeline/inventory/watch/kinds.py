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
    unless: str = ""
    """A group that has the same objects: where the cluster serves the resource there too, it is watched there alone."""

    @property
    def label(self) -> str:
        """The kind as metrics and logs call it: by its name, and with whose it is where others have that name too."""
        return f"{self.name}.{self.group}" if self.name in _NAMESAKES and self.group not in _FIRST else self.name


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
_CALICO: Final = "crd.projectcalico.org"
_CALICO_API: Final = "projectcalico.org"
_ANTREA: Final = "crd.antrea.io"
_AWS: Final = "networking.k8s.aws"
_LINKERD: Final = "policy.linkerd.io"
_NAMESAKES: Final = frozenset(
    {"Gateway", "NetworkPolicy", "GlobalNetworkPolicy", "ClusterNetworkPolicy", "AuthorizationPolicy"}
)
_FIRST: Final = frozenset({"networking.k8s.io", _POLICY})
"""Whose policies are called by the bare name."""

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
    Kind("cilium.io", ("v2",), "ciliumnodes", "CiliumNode"),
    # Policies that are not judged: only that they are there is told, and their pods are never called unprotected.
    Kind(_CALICO, ("v1",), "networkpolicies", "NetworkPolicy"),
    Kind(_CALICO, ("v1",), "globalnetworkpolicies", "GlobalNetworkPolicy"),
    Kind(_CALICO_API, ("v3",), "networkpolicies", "NetworkPolicy", unless=_CALICO),
    Kind(_CALICO_API, ("v3",), "globalnetworkpolicies", "GlobalNetworkPolicy", unless=_CALICO),
    Kind("cilium.io", ("v2",), "ciliumnetworkpolicies", "CiliumNetworkPolicy"),
    Kind("cilium.io", ("v2",), "ciliumclusterwidenetworkpolicies", "CiliumClusterwideNetworkPolicy"),
    Kind(_ANTREA, ("v1beta1", "v1alpha1"), "networkpolicies", "NetworkPolicy"),
    Kind(_ANTREA, ("v1beta1", "v1alpha1"), "clusternetworkpolicies", "ClusterNetworkPolicy"),
    Kind(_AWS, ("v1alpha1",), "clusternetworkpolicies", "ClusterNetworkPolicy"),
    Kind(_AWS, ("v1alpha1",), "applicationnetworkpolicies", "ApplicationNetworkPolicy"),
    Kind("k8s.ovn.org", ("v1",), "egressfirewalls", "EgressFirewall"),
    Kind("security.istio.io", ("v1", "v1beta1"), "authorizationpolicies", "AuthorizationPolicy"),
    Kind(_LINKERD, ("v1alpha1",), "authorizationpolicies", "AuthorizationPolicy"),
    Kind(_LINKERD, ("v1beta1", "v1alpha1"), "serverauthorizations", "ServerAuthorization"),
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
    elsewhere = {(api_version.rpartition("/")[0], name) for api_version, names in resources.items() for name in names}
    for kind in kinds:
        if kind.unless and (kind.unless, kind.resource) in elsewhere:
            continue
        for version in kind.versions:
            served = Served(kind, version)
            if kind.resource in resources.get(served.api_version, ()):
                chosen.append(served)
                break
    return chosen
