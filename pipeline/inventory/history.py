"""The cluster's state over time: changes go in, snapshots of all that is kept come out.

Time is a parameter of every change; nothing here knows a clock or the bus. The invariant: what a snapshot says of an
instant before its `known_until` is what the changes said, in whatever batches they came.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from .models import Resource
from .parts import Network
from .snapshot import TRACKED, Snapshot
from .tracked import TrackedFrame

KEEP_SECONDS: Final = 900.0


@dataclass(frozen=True, slots=True, eq=False)
class PolicyEpoch:
    """What policies were made of from an instant on, until the next epoch's. Compared by identity: cache under it."""

    since_ns: int
    """`spans.BEGINNING` of the first epoch that is kept."""
    objects: tuple[Resource, ...]
    """Every policy of a kind that is read, the names of other objects (`Other`), and every Namespace, at that time.
    Pods and Nodes are not here: `Snapshot.subjects` has them by endpoint id, and an endpoint whose labels or named
    ports change gets a new id."""


class History:
    """Takes the changes of one cluster, in order, and gives snapshots."""

    def __init__(
        self,
        ranges: Sequence[Network] = (),
        tracked: Sequence[TrackedFrame] = TRACKED,
        keep_s: float = KEEP_SECONDS,
    ) -> None:
        raise NotImplementedError

    def begin(self) -> None:
        """An epoch begins: puts of all that there is follow, then `synced`. Until the first, nothing is known."""

    def put(self, time_ns: int, resource: Resource) -> None:
        """The object is, or has become, this. `time_ns`: when the watcher knew."""

    def delete(self, time_ns: int, api_version: str, kind: str, namespace: str, name: str) -> None:
        """The object is gone."""

    def synced(self, time_ns: int) -> None:
        """Everything that there is has been put since `begin`; what has not was deleted meanwhile."""

    def mark(self, time_ns: int) -> None:
        """Every change before `time_ns` has been given."""

    @property
    def is_synced(self) -> bool:
        """Whether anything is known."""
        raise NotImplementedError

    def snapshot(self) -> Snapshot:
        """What is known by now; the same object while nothing changed."""
        raise NotImplementedError

    def objects(self) -> list[Resource]:
        """All objects that there are now."""
        raise NotImplementedError

    def policy_epochs(self) -> Sequence[PolicyEpoch]:
        """The epochs that are kept, in order of time; at least one. An epoch stays the same object while it is kept."""
        raise NotImplementedError
