"""Policies that no reader understands, most by their kind: which there are, and whom they may concern.

Only kind, namespace and name are known of them. The invariant: an end that one of them may decide about is never called
unprotected, and one that none of them can reach is never called not judged for their sake.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from ...inventory.meshes import ROOT_NAMESPACE
from ...inventory.models import Opaque, Other, Resource
from .terms import Direction

INGRESS_ONLY: Final = frozenset({"AuthorizationPolicy", "ServerAuthorization"})
"""A mesh's: the proxy of whoever is called decides, and never that of the caller."""
EGRESS_ONLY: Final = frozenset({"EgressFirewall"})
NOT_JUDGED: Final = (
    frozenset(
        {
            "NetworkPolicy",  # of another group than networking.k8s.io, or it would have a model
            "GlobalNetworkPolicy",
            "ClusterNetworkPolicy",
            "ApplicationNetworkPolicy",
            "CiliumNetworkPolicy",
            "CiliumClusterwideNetworkPolicy",
        }
    )
    | INGRESS_ONLY
    | EGRESS_ONLY
)
"""Kinds that may allow or deny traffic. Staged ones are not among them: they take no part until they are set."""
_SHOWN_AGAIN: Final = ("knp.", "kanp.", "kbanp.", "kcnp.")
"""How the names begin under which Calico's API shows the policies of Kubernetes among its own."""


class Stranger(NamedTuple):
    """One policy that is there and is not understood."""

    kind: str
    namespace: str | None
    name: str

    @property
    def reach(self) -> str | None:
        """The namespace whose pods it may concern; None where that may be any.

        Source: Istio's reference of AuthorizationPolicy, for which one in the root namespace holds in all.
        """
        return None if self.kind == "AuthorizationPolicy" and self.namespace == ROOT_NAMESPACE else self.namespace

    @property
    def may_overrule(self) -> bool:
        """Whether it may drop what others allow, or let through what they deny. A mesh's policies do neither: its
        proxies take the connection first, and see only what came through."""
        return self.kind not in INGRESS_ONLY

    def may_concern(self, direction: Direction) -> bool:
        """Whether its kind decides about what goes this way."""
        return self.kind not in (EGRESS_ONLY if direction == "ingress" else INGRESS_ONLY)

    def may_apply(self, direction: Direction, namespace: str) -> bool:
        """Whether it may concern the pods of a namespace in what goes this way."""
        return self.may_concern(direction) and self.reach in {None, namespace}


def strangers_of(objects: Iterable[Resource]) -> list[Stranger]:
    """The policies among the objects that are not understood."""
    return [
        Stranger(item.kind, item.metadata.namespace, item.metadata.name)
        for item in objects
        if isinstance(item, Other) and (isinstance(item, Opaque) or _is_strange(item))
    ]


def _is_strange(item: Other) -> bool:
    is_shown_again = item.metadata.name.startswith(_SHOWN_AGAIN)
    return item.kind in NOT_JUDGED and not (item.kind in {"NetworkPolicy", "GlobalNetworkPolicy"} and is_shown_again)
