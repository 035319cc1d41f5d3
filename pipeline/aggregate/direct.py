"""Connections of pods straight to an endpoint of Services that have an address: they go around these.

Those to an endpoint of a headless Service are its own: there is no other way to it. The invariant: a connection is
judged by who was an endpoint when it began.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl

from ..attribution import arrays
from ..attribution.arrays import Rows
from ..attribution.lookups import Ids, lookups_of, packed_addresses, packed_ports
from ..attribution.services import redirected
from ..inventory.snapshot import Snapshot

ROUTED: Final = ("route_id", "route_set")
"""Columns, where flows have them, that are not null where an Ingress or a Gateway's route led to the backend."""


@dataclass(frozen=True, slots=True)
class Direct:
    """Connections whose two ends are pods and whose answering end is an endpoint of a Service that was not dialled."""

    rows: Rows
    """Of the flows."""
    service: Ids
    """The Service port; -1 where several have the endpoint."""


def direct_connections(flows: pl.DataFrame, is_connection: arrays.Mask, snapshot: Snapshot) -> Direct:
    """The direct ones among rows that are connections.

    What a route or a mesh leads to is not here: a proxy stands for the Service.
    """
    lookups = lookups_of(snapshot)
    rows = np.flatnonzero(is_connection & ~arrays.is_there(flows["service_id"]))
    rows = rows[_is_undirected(flows, rows, snapshot)]
    hi, lo, port, protocol, starts = (
        flows[name].to_numpy().take(rows) for name in ("backend_hi", "backend_lo", "backend_port", "protocol", "start")
    )
    keys = packed_addresses(lookups.index.find([hi, lo]), packed_ports(port, protocol))
    facts = lookups.backends.rows(keys, starts)
    rows, facts = rows[facts >= 0], facts[facts >= 0]
    return Direct(rows, lookups.backends.answer.take(facts))


def _is_undirected(flows: pl.DataFrame, rows: Rows, snapshot: Snapshot) -> arrays.Mask:
    """Which of the rows go from pod to pod with nothing that led them there."""
    found = ~redirected(flows, rows)
    is_pod = lookups_of(snapshot).is_pod.to_numpy()
    for end in ("src_id", "dst_id"):
        found &= is_pod.take(flows[end].to_numpy().take(rows))
    for name in ("service_set", *ROUTED):
        if name in flows.columns and flows[name].null_count() < flows.height:
            found &= ~arrays.is_there(flows[name]).take(rows)
    if "mesh" in flows.columns:
        found &= arrays.is_code(flows["mesh"], "none").take(rows)
    return found
