"""One frozen picture of the cluster as frames: all that attribution knows of Kubernetes.

The invariant: ids mean something in their own snapshot only, so nothing that outlives a snapshot keeps them; labels do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from .endpoints import addresses_frame, endpoints_frame, roster_of
from .models import Resource, identity_of
from .parts import Network
from .ranges import cluster_ranges, ranges_frame
from .services import dialled_frame, node_ports_frame, services_frame


@dataclass(frozen=True, eq=False)
class Snapshot:
    """The cluster at one time. Compared and hashed by identity: what is derived from it may be cached under it."""

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
    ranges: pl.DataFrame
    """`ranges.RANGES`: the address ranges of the cluster."""
    objects: Mapping[str, int]
    """How many objects of each kind there are."""


def build(objects: Iterable[Resource], ranges: Sequence[Network] = ()) -> Snapshot:
    """The snapshot of the cluster that holds these objects.

    A later object replaces an earlier one of the same identity.
    `ranges` are address ranges of the cluster beyond those that the objects show.
    """
    resources = list({(type(item), *identity_of(item)): item for item in objects}.values())
    roster = roster_of(resources)
    return Snapshot(
        endpoints=endpoints_frame(roster, resources),
        addresses=addresses_frame(roster),
        services=services_frame(roster),
        dialled=dialled_frame(roster),
        node_ports=node_ports_frame(roster),
        ranges=ranges_frame(cluster_ranges(resources, ranges)),
        objects=dict(sorted(Counter(item.kind for item in resources).items())),
    )
