"""What is known of one node and of one pod, as `endpoint_history` keeps it from one change to the next. Data alone.

The invariant: each claim here is open, and stands for the endpoint that the node or pod is now.
"""

from __future__ import annotations

from .addresses import Address
from .claims import Strength
from .holders import Claim
from .models import Node, Pod
from .spans import BEGINNING

PodKey = tuple[str, str]
OwnerKey = tuple[str, str, str]
Listener = tuple[int, int, int, int, int]


class NodeState:
    """What is known of one node, by its object or by the pods on it."""

    __slots__ = ("claims", "endpoint", "is_there", "node", "noted", "own", "pods", "since")

    def __init__(self, endpoint: int) -> None:
        self.endpoint = endpoint
        self.node: Node | None = None
        self.is_there = False
        """Whether the object is there; what it said of the place is kept while pods are on the node."""
        self.own: frozenset[tuple[Address, Strength]] = frozenset()
        """What the object claims."""
        self.noted: frozenset[tuple[Address, Strength]] = frozenset()
        """What Cilium claims for it."""
        self.claims: dict[tuple[Address, Strength], tuple[Claim, int]] = {}
        """Each open claim, and how many objects make it."""
        self.pods: set[PodKey] = set()
        self.since = BEGINNING
        """When it became this endpoint: what is learnt late holds since then at the earliest."""


class PodState:
    """What is known of one pod."""

    __slots__ = ("claims", "endpoint", "had_address", "host", "listeners", "node", "owner", "pod", "told")

    def __init__(self, endpoint: int, pod: Pod, owner: OwnerKey | None) -> None:
        self.endpoint = endpoint
        self.pod = pod
        self.owner = owner
        self.node = ""
        self.host: Address | None = None
        self.claims: dict[Address, Claim] = {}
        self.had_address = False
        self.listeners: dict[Listener, int] = {}
        """Where it listens, and since when."""
        self.told = BEGINNING
        """When it was last told of."""
