"""When objects begin and end, as they themselves say.

Objects have whole seconds, so an instant told here is the beginning of the second in which it was. The invariant: what
an object does not say is taken so that it claims less, but for what a first listing holds, which was there before.
"""

from __future__ import annotations

from typing import Final

from .cilium_nodes import CiliumNode
from .models import Node, Pod, Service
from .slice_models import EndpointSlice
from .spans import BEGINNING, END, instant_of

_SECOND: Final = 1_000_000_000


def born(resource: Node | CiliumNode | Pod | Service | EndpointSlice, time_ns: int, *, is_first: bool) -> int:
    """Since when an object may be there: its creation, or when it was told of; always, where a first listing has it."""
    created = instant_of(resource.metadata.creation_timestamp)
    if created is None:
        return BEGINNING if is_first else time_ns
    return min(created, time_ns)


def ran(pod: Pod) -> int:
    """The second in which the first container of a pod began; BEGINNING where a restart hides it, or none has."""
    statuses = [*(pod.status.init_container_statuses or []), *(pod.status.container_statuses or [])]
    runs = [status.state.running or status.state.terminated for status in statuses if status.state]
    begun = [instant_of(run.started_at) for run in runs if run]
    known = [instant for instant in begun if instant is not None]
    is_hidden = any(status.restart_count for status in statuses) or len(known) < len(begun)
    return BEGINNING if is_hidden else min(known, default=BEGINNING)


def finished(pod: Pod) -> int:
    """The second in which the last container of a pod ended; END where not all have."""
    ends = [
        instant_of(status.state.terminated.finished_at) if status.state and status.state.terminated else None
        for status in pod.status.container_statuses or []
    ]
    return END if None in ends else max((end for end in ends if end is not None), default=END)


def ended(pod: Pod, time_ns: int) -> int | None:
    """By when the last container of a pod was gone, the second after it finished; None where not all have."""
    last = finished(pod)
    return None if last == END else min(time_ns, last + _SECOND)
