"""What is known of the cluster by now, of all the time that is kept, as frames: all that attribution knows of it.

Facts carry the span of time in which they held, so that a flow is judged as of its own instant. The invariant: ids mean
something in their own `numbering` only, so nothing that outlives it keeps them; labels do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import polars as pl

from .backends import backends_frame, listeners_frame
from .endpoints import addresses_frame, endpoints_frame, roster_of, subjects_of
from .identities import latest
from .meshes import AUTHENTICATIONS_FRAME, SHARES_FRAME, SUBSETS_FRAME
from .models import Node, Resource
from .outside import BUILTIN, NamedRange, Outside, outside_of
from .parts import Network
from .ranges import cluster_ranges, ranges_frame
from .routing import CONTROLLERS_FRAME, ROUTES_FRAME
from .selected import selected_slices
from .service_traits import ALIASES_FRAME, PORTS_FRAME
from .services import dialled_frame, node_ports_frame, services_frame
from .spans import END
from .tracked import TrackedFrame


@dataclass(frozen=True, eq=False)
class Snapshot:
    """The cluster over the time that is kept. Compared and hashed by identity: cache what is derived under it."""

    endpoints: pl.DataFrame
    """`endpoints.ENDPOINTS`: whatever can be an end of a connection."""
    addresses: pl.DataFrame
    """`endpoints.ADDRESSES`: who holds which address; a Node keeps its own where hostNetwork pods share them."""
    services: pl.DataFrame
    """`services.SERVICES`: Service ports."""
    dialled: pl.DataFrame
    """`services.DIALLED`: the addresses and ports under which Service ports are dialled."""
    node_ports: pl.DataFrame
    """`services.NODE_PORTS`: the same for ports of every node's every address."""
    backends: pl.DataFrame
    """`backends.BACKENDS`: who answers for Service ports."""
    listeners: pl.DataFrame
    """`backends.LISTENERS`: which pod answers on a port of its node."""
    ranges: pl.DataFrame
    """`ranges.RANGES`: the address ranges of the cluster."""
    objects: Mapping[str, int]
    """How many objects of each kind there are."""
    nodes: frozenset[str] = frozenset()
    """The names of the Nodes that there are."""
    numbering: object = field(default_factory=object)
    """Snapshots that share it give every id the same meaning; a later one may have more of them."""
    known_until: int = END
    """Every change of the cluster before this instant is in here, in ns since the epoch; END for a dump. Of a watched
    cluster `History.known_until` goes on while the snapshot stays the same object."""
    subjects: Sequence[Resource | None] = ()
    """By endpoint id: the Node, Pod or Service that it is; None where it is no object or not known. It may go on
    behind the last row."""
    tracked: Mapping[str, pl.DataFrame] = field(default_factory=dict)
    """The frames of `TRACKED` by name."""
    outside: Outside = field(default_factory=lambda: outside_of((), 0))
    """The named ranges beyond the cluster, whose places are rows of `endpoints` too."""


TRACKED: Final[tuple[TrackedFrame, ...]] = (
    ROUTES_FRAME,
    CONTROLLERS_FRAME,
    SUBSETS_FRAME,
    SHARES_FRAME,
    AUTHENTICATIONS_FRAME,
    PORTS_FRAME,
    ALIASES_FRAME,
)
"""The frames that every snapshot has beside its own; `tracked` tells how to add one."""


def build(
    objects: Iterable[Resource],
    ranges: Sequence[Network] = (),
    outside: Sequence[NamedRange] = BUILTIN,
    tracked: Sequence[TrackedFrame] = TRACKED,
) -> Snapshot:
    """The snapshot of the cluster that holds these objects.

    A later object replaces an earlier one of the same identity.
    `ranges` are address ranges of the cluster beyond those that the objects show, `outside` those with names beyond it.
    """
    resources = latest(objects)
    roster = roster_of(resources)
    endpoints = endpoints_frame(roster, resources)
    named = outside_of(outside, endpoints.height)
    return Snapshot(
        endpoints=pl.concat([endpoints, named.endpoints]),
        addresses=addresses_frame(roster),
        services=services_frame(roster),
        dialled=dialled_frame(roster),
        node_ports=node_ports_frame(roster),
        backends=backends_frame(roster, [*resources, *selected_slices(resources)]),
        listeners=listeners_frame(roster),
        ranges=ranges_frame(cluster_ranges(resources, ranges)),
        objects=dict(sorted(Counter(item.kind for item in resources).items())),
        nodes=frozenset(item.metadata.name for item in resources if isinstance(item, Node)),
        outside=named,
        subjects=subjects_of(roster),
        tracked={frame.name: frame.frame(resources) for frame in tracked},
    )
