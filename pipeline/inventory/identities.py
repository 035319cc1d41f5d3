"""Which object is which: a resource is identified by (kind, namespace, name), and a later one replaces an earlier one.

The invariant: a policy that its model refuses has the identity of the policy, so the one replaces the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from .admin_policies import AdminNetworkPolicy, BaselineAdminNetworkPolicy, ClusterNetworkPolicy
from .cilium_nodes import CiliumNode
from .gateway_models import GatewayClass
from .ingress_models import IngressClass
from .models import MODELS, NameOnly, Namespace, Node, Opaque, Policy, Resource, ServiceCIDR
from .policies import NetworkPolicy

Identity = tuple[str, str, str]
"""Kind, namespace and name."""

_POLICIES: Final[Mapping[str, type[Policy]]] = {
    "NetworkPolicy": NetworkPolicy,
    "AdminNetworkPolicy": AdminNetworkPolicy,
    "BaselineAdminNetworkPolicy": BaselineAdminNetworkPolicy,
    "ClusterNetworkPolicy": ClusterNetworkPolicy,
}
_CLUSTER_WIDE: Final = (
    Node,
    CiliumNode,
    Namespace,
    ServiceCIDR,
    IngressClass,
    GatewayClass,
    AdminNetworkPolicy,
    BaselineAdminNetworkPolicy,
    ClusterNetworkPolicy,
)


def model_of(resource: Resource) -> type[Resource]:
    """Whose an object's identity is."""
    return _POLICIES[resource.kind] if isinstance(resource, Opaque) else type(resource)


def identity_of(resource: Resource) -> Identity:
    """Kind, namespace and name; an object of a cluster-wide kind has no namespace."""
    return identity(model_of(resource), resource.kind, resource.metadata.namespace, resource.metadata.name)


def identity(model: type[Resource], kind: str, namespace: str | None, name: str) -> Identity:
    """The same of an object that is only spoken of; `model` as `MODELS` has it, else `Other`."""
    return kind, "" if issubclass(model, _CLUSTER_WIDE) else namespace or "default", name


def key_of(resource: Resource) -> tuple[type[Resource], Identity]:
    """What no other object has: kinds of the same name may be of several API groups."""
    return model_of(resource), identity_of(resource)


def latest(resources: Iterable[Resource]) -> list[Resource]:
    """One resource of each key: the last, in the place of the first."""
    return list({key_of(resource): resource for resource in resources}.values())


def opaque(api_version: str, kind: str, namespace: str | None, name: str) -> Opaque | None:
    """What stands for an object that `convert` refuses; None where it is left out: it is no policy, or has no name."""
    model = MODELS.get((api_version.rpartition("/")[0], kind))
    if model is None or model is not _POLICIES.get(kind) or not name:
        return None
    _, home, _ = identity(model, kind, namespace, name)
    return Opaque(kind, NameOnly(name, home or None))
