"""The cluster's state over time: changes go in, snapshots of all that is kept come out.

Time is a parameter of every change; nothing here knows a clock or the bus. The invariant: what a snapshot says of an
instant before its `known_until` follows from the changes alone, however many came between two snapshots.

`endpoint_history`, `service_history` and `policy_history` hold what the kinds mean; a frame that follows from many
objects at once is a `tracked.TrackedFrame`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from functools import partial
from typing import Final

import numpy as np

from .cilium_nodes import CiliumNode
from .claims import cluster_ips, pod_ranges
from .endpoint_history import EndpointHistory
from .endpoints import ENDPOINTS, FIXED_ROWS
from .holders import Holders
from .identities import identity, key_of
from .models import (
    MODELS,
    Job,
    Node,
    Other,
    Pod,
    ReplicaSet,
    Resource,
    Service,
    ServiceCIDR,
    is_same,
)
from .outside import BUILTIN, NamedRange, outside_of
from .parts import Network
from .policy_history import KINDS as POLICY_KINDS
from .policy_history import PolicyEpoch, PolicyHistory, quantum
from .ranges import cluster_ranges, ranges_frame
from .rows import Register
from .service_history import ServiceHistory
from .slice_models import EndpointSlice
from .snapshot import TRACKED, Snapshot
from .spans import BEGINNING, END
from .tracked import Track, TrackedFrame

__all__ = ["History", "PolicyEpoch"]

KEEP_SECONDS: Final = 900.0
"""How long what has ended is kept: flows that come later than this are judged by what is left."""
_LOOKS: Final = 8
"""How many times in that span it is looked at what may go."""
_WORTH: Final = 1000
"""Rows are renumbered when so many, and half as many as are in use, are in nobody's use."""
RANGED: Final = (Node, CiliumNode, Service, ServiceCIDR)
"""Kinds that tell of the cluster's ranges."""
LEARNT_FIRST: Final = (Node, ReplicaSet, Job, Pod, Service, EndpointSlice)
"""The order in which a listing is taken, the other kinds after them, so that nothing is learnt late."""

Key = tuple[str, str, str]


class History:
    """Takes the changes of one cluster, in order, and gives snapshots."""

    def __init__(
        self,
        ranges: Sequence[Network] = (),
        outside: Sequence[NamedRange] = BUILTIN,
        tracked: Sequence[TrackedFrame] = TRACKED,
        keep_s: float = KEEP_SECONDS,
    ) -> None:
        """`ranges` and `outside` are as `snapshot.build` takes them."""
        self.anew = partial(History, ranges, outside, tracked, keep_s)
        """Makes one with the same settings that knows nothing."""
        self.known_until = BEGINNING
        """Every change before this instant has been given, as marks said."""
        self.is_synced = False
        """Whether anything is known."""
        self._ranges = ranges
        self._outside = outside_of(outside, len(FIXED_ROWS))
        self._keep_ns = int(keep_s * 1e9)
        self._objects: dict[type[Resource], dict[Key, Resource]] = {}
        self._told: dict[Hashable, int] = {}
        self._unseen: set[tuple[type[Resource], Key]] | None = None
        self._register: Register[Resource] = Register(
            ENDPOINTS, [*FIXED_ROWS, *(row[1:] for row in self._outside.endpoints.iter_rows())]
        )
        self._holders = Holders()
        self._ends = EndpointHistory(self._register, self._holders)
        self._services = ServiceHistory(self._register, self._holders)
        self._policies = PolicyHistory()
        self._tracks = {frame: Track(frame) for frame in tracked}
        self._outdated: dict[TrackedFrame, int] = {}
        self._ranges_frame = ranges_frame(cluster_ranges((), ranges))
        self._ranges_changed = False
        self._numbering = object()
        self._forgotten_at = BEGINNING
        self._snapshot: Snapshot | None = None

    def begin(self) -> None:
        """An epoch begins: puts of all that there is follow, then `synced`. Until the first, nothing is known."""
        if self.is_synced:
            self._unseen = {(kind, key) for kind, objects in self._objects.items() for key in objects}
        else:
            self._objects.clear()
            self._told.clear()

    def put(self, time_ns: int, resource: Resource) -> None:
        """The object is, or has become, this. `time_ns`: when the watcher knew."""
        kind, key = key_of(resource)
        if not self.is_synced:
            self._objects.setdefault(kind, {})[key] = resource
            self._told[kind, key] = time_ns
            return
        self._retain(time_ns)
        if self._unseen is not None:
            self._unseen.discard((kind, key))
        objects = self._objects.setdefault(kind, {})
        before = objects.get(key)
        if not is_same(before, resource):
            self._outdate(kind, time_ns)
            objects[key] = resource
            self._apply(time_ns, key, before, resource)

    def delete(self, time_ns: int, api_version: str, kind: str, namespace: str, name: str) -> None:
        """The object is gone, at some time since the last mark: there is none while nobody watches. One that is not
        known is passed over."""
        model = MODELS.get((api_version.rpartition("/")[0], kind), Other)
        key = identity(model, kind, namespace, name)
        if not self.is_synced:
            self._objects.get(model, {}).pop(key, None)
            return
        self._retain(time_ns)
        self._remove(time_ns, model, key, self.known_until)

    def drop(self, time_ns: int, resource: Resource) -> None:
        """The same of an object that is at hand, once something is known."""
        self._retain(time_ns)
        self._remove(time_ns, *key_of(resource))

    def synced(self, time_ns: int) -> None:
        """Everything that there is has been put since `begin`; what has not was deleted meanwhile. Of later epochs this
        is no mark: the bus may want one while the API server is away."""
        if not self.is_synced:
            self._load()
            self.mark(time_ns)
        for kind, key in self._unseen or ():
            self._remove(time_ns, kind, key, self.known_until)
        self._unseen = None

    def mark(self, time_ns: int) -> None:
        """Every change before `time_ns` has been given."""
        if self.is_synced:
            self.known_until = max(self.known_until, time_ns)
            self._retain(time_ns)

    def snapshot(self) -> Snapshot:
        """What is known by now; the same object while nothing changed, and so are those of its frames that did not."""
        self._follow(END)
        if self._ranges_changed:
            self._ranges_changed = False
            evidence = [item for kind in RANGED for item in self._objects.get(kind, {}).values()]
            self._ranges_frame = ranges_frame(cluster_ranges(evidence, self._ranges))
        if self._snapshot is None:
            self._snapshot = Snapshot(
                endpoints=self._register.frame(),
                addresses=self._holders.frame(),
                services=self._services.services.frame(),
                dialled=self._services.dialled.frame(),
                node_ports=self._services.node_ports.frame(),
                backends=self._services.backends.frame(),
                listeners=self._ends.listeners.frame(),
                ranges=self._ranges_frame,
                objects=self._counts(),
                nodes=frozenset(name for _, _, name in self._objects.get(Node, {})) if self.is_synced else frozenset(),
                numbering=self._numbering,
                known_until=self.known_until,
                subjects=self._register.subjects,
                tracked={frame.name: track.frame() for frame, track in self._tracks.items()},
                outside=self._outside,
            )
        return self._snapshot

    def objects(self) -> list[Resource]:
        """All objects that there are now."""
        return [item for objects in self._objects.values() for item in objects.values()] if self.is_synced else []

    def policy_epochs(self) -> Sequence[PolicyEpoch]:
        """What policies were made of: epochs in order of time, at least one. The first is also the best that is known
        of the time before it. An epoch stays the same object while it is kept, but for the last, which a change within
        the same quarter of a second replaces."""
        return self._policies.epochs()

    # --- changes ---

    def _load(self) -> None:
        """Take the first listing in."""
        self.is_synced = True
        kinds = dict.fromkeys((*LEARNT_FIRST, *self._objects))
        for kind in kinds:
            for key, resource in self._objects.get(kind, {}).items():
                self._apply(self._told[kind, key], key, None, resource, is_first=True)
            self._outdate(kind, BEGINNING)
        self._told.clear()

    def _apply(
        self, time_ns: int, key: Key, before: Resource | None, resource: Resource, *, is_first: bool = False
    ) -> None:
        self._snapshot = None
        match resource:
            case Pod():
                self._ends.put_pod(time_ns, resource, is_first=is_first)
            case Node():
                self._ends.put_node(time_ns, resource, is_first=is_first)
            case CiliumNode():
                self._ends.put_cilium_node(time_ns, resource, is_first=is_first)
            case ReplicaSet() | Job():
                self._ends.put_owner(resource)
            case Service():
                self._services.put_service(time_ns, resource, is_first=is_first)
            case EndpointSlice():
                self._services.put_slice(time_ns, resource, is_first=is_first)
            case _:
                if isinstance(resource, POLICY_KINDS):
                    self._policies.change(time_ns, key_of(resource), resource, is_first=is_first)
        self._ranges_changed |= _range_evidence(before) != _range_evidence(resource)

    def _remove(self, time_ns: int, kind: type[Resource], key: Key, lost_ns: int = END) -> None:
        if key not in self._objects.get(kind, {}):
            return
        self._snapshot = None
        self._outdate(kind, time_ns)
        resource = self._objects[kind].pop(key)
        match resource:
            case Pod():
                self._ends.delete_pod(time_ns, resource, lost_ns)
            case Node():
                self._ends.delete_node(time_ns, resource, lost_ns)
            case CiliumNode():
                self._ends.delete_cilium_node(time_ns, resource, lost_ns)
            case ReplicaSet() | Job():
                self._ends.delete_owner(resource)
            case Service():
                self._services.delete_service(time_ns, resource, lost_ns)
            case EndpointSlice():
                self._services.delete_slice(time_ns, resource)
            case _:
                if isinstance(resource, POLICY_KINDS):
                    self._policies.change(time_ns, (kind, key), None, is_first=False)
        self._ranges_changed |= bool(_range_evidence(resource))

    # --- time ---

    def _retain(self, time_ns: int) -> None:
        """Changes have come that far: drop what is old, now and then."""
        if time_ns - self._forgotten_at > self._keep_ns // _LOOKS:
            self._forgotten_at = time_ns
            self._forget(time_ns - self._keep_ns)

    def _outdate(self, kind: type[Resource], time_ns: int) -> None:
        """Objects of a kind are about to change; what was computed from them was so until the quantum's beginning."""
        for frame in self._tracks:
            if issubclass(kind, frame.kinds):
                since = BEGINNING if time_ns == BEGINNING else quantum(time_ns)
                if self._outdated.get(frame, since) < since:
                    self._follow(since)
                self._outdated[frame] = max(since, self._outdated.get(frame, since))

    def _follow(self, before_ns: int) -> None:
        """Compute the tracked frames whose objects changed before an instant."""
        for frame in [frame for frame, since in self._outdated.items() if since < before_ns]:
            objects = [item for kind in frame.kinds for item in self._objects.get(kind, {}).values()]
            self._tracks[frame].update(objects, self._outdated.pop(frame))

    # --- retention ---

    def _forget(self, before_ns: int) -> None:
        """Drop what ended before an instant; ids are given anew only where enough of them are free."""
        self._snapshot = None
        self._holders.forget(before_ns)
        self._ends.listeners.forget(before_ns)
        self._services.forget(before_ns)
        self._policies.forget(before_ns)
        tracks = [track for track in self._tracks.values() if track.closed > _WORTH]
        used = self._used()
        free = len(self._register) - len(used)
        if free > max(_WORTH, len(used) // 2) or tracks:
            for track in tracks:
                track.forget(before_ns)
            self._renumber()

    def _used(self) -> np.ndarray[tuple[int], np.dtype[np.uint32]]:
        """Endpoints that something speaks of."""
        used = [*self._ends.used(), *self._services.used(), *self._holders.used()]
        return np.unique(np.array(used, np.uint32))

    def _renumber(self) -> None:
        self._services.renumber()
        mapping = self._register.keep(self._used())
        for part in (self._holders, self._ends, self._services):
            part.remap(mapping)
        self._numbering = object()

    def _counts(self) -> dict[str, int]:
        counts: Counter[str] = Counter()
        for kind, objects in self._objects.items() if self.is_synced else ():
            counts.update((item.kind for item in objects.values()) if kind is Other else {})
            if kind is not Other and objects:
                counts[next(iter(objects.values())).kind] += len(objects)
        return dict(sorted(counts.items()))


def _range_evidence(resource: Resource | None) -> Sequence[object]:
    """What an object tells of the cluster's ranges."""
    match resource:
        case Node():
            return pod_ranges(resource)
        case CiliumNode():
            return resource.pod_ranges
        case Service():
            return cluster_ips(resource)
        case ServiceCIDR():
            return resource.spec.cidrs or []
    return ()
