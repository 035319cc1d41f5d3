"""What policies were made of over time: the objects that decide which policies there are and whom they select.

The invariant: an epoch's objects are those that were there at its beginning, and changes that follow one another within
QUANTUM_NS are one epoch, so that a burst of changes is compiled once.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Final

from .admin_policies import AdminNetworkPolicy, BaselineAdminNetworkPolicy, ClusterNetworkPolicy
from .models import Namespace, Other, Resource
from .policies import NetworkPolicy
from .spans import BEGINNING

QUANTUM_NS: Final = 250_000_000
"""What happens within one is taken to happen at its beginning."""

KINDS: Final = (
    Namespace,
    NetworkPolicy,
    AdminNetworkPolicy,
    BaselineAdminNetworkPolicy,
    ClusterNetworkPolicy,
    Other,
)


def quantum(time_ns: int) -> int:
    """The beginning of the quantum that an instant is in."""
    return time_ns // QUANTUM_NS * QUANTUM_NS


@dataclass(frozen=True, slots=True, eq=False)
class PolicyEpoch:
    """What policies were made of from an instant on, until the next epoch's. Compared by identity: cache under it."""

    since_ns: int
    """`spans.BEGINNING` of the epoch that a history begins with."""
    objects: tuple[Resource, ...]
    """Every policy of a kind that is read, the names of other objects (`Other`), and every Namespace, at that time.
    Pods and Nodes are not here: `Snapshot.subjects` has them by endpoint id, and an endpoint whose labels or named
    ports change gets a new id."""


class PolicyHistory:
    """Takes changes of the objects of KINDS, and gives epochs."""

    def __init__(self) -> None:
        self._objects: dict[Hashable, Resource] = {}
        self._epochs = [PolicyEpoch(BEGINNING, ())]
        self._changed_at: int | None = None

    def change(self, time_ns: int, key: Hashable, resource: Resource | None, *, is_first: bool) -> None:
        """An object is, or has become, this; None where it is gone."""
        if self._objects.get(key) == resource:
            return
        since = BEGINNING if is_first else max(quantum(time_ns), self._epochs[-1].since_ns)
        if self._changed_at is not None and since > self._changed_at:
            self._cut()
        self._changed_at = since if self._changed_at is None else max(since, self._changed_at)
        if resource is None:
            self._objects.pop(key, None)
        else:
            self._objects[key] = resource

    def epochs(self) -> Sequence[PolicyEpoch]:
        """The epochs that are kept. One stays the same object while it is kept, but for the last: a change within the
        same quantum replaces it."""
        self._cut()
        return tuple(self._epochs)

    def forget(self, before_ns: int) -> None:
        """Drop the epochs that had ended before an instant."""
        while len(self._epochs) > 1 and self._epochs[1].since_ns <= before_ns:
            del self._epochs[0]

    def _cut(self) -> None:
        if self._changed_at is None:
            return
        epoch = PolicyEpoch(self._changed_at, tuple(self._objects.values()))
        if self._epochs[-1].since_ns >= epoch.since_ns:
            self._epochs.pop()
        self._epochs.append(epoch)
        self._changed_at = None
