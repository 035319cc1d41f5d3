"""Connections of pods straight to an endpoint of Services: what was not dialled by any Service's address.

The clients of a headless Service have no other way; those of other Services go around them. The invariant: a
connection is judged by who was an endpoint when it began.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ..attribution import arrays
from ..attribution.arrays import Rows
from ..attribution.lookups import Ids, lookups_of, packed_addresses, packed_ports
from ..attribution.policies.lists import Lists, lists_of
from ..attribution.services import redirected
from ..catalog import SERVICE
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
    called: Rows
    """Places in `rows`, one for each headless Service port that has the endpoint: there is no other way to that."""
    headless: NDArray[np.uint32]
    """The service ids of these."""

    def around(self) -> Rows:
        """Places in `rows` of connections that had another way: no Service of theirs is headless."""
        has_other_way = np.ones(self.rows.size, np.bool_)
        has_other_way[self.called] = False
        return np.flatnonzero(has_other_way)


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
    service, several = lookups.backends.answer.take(facts), lookups.backends.several.take(facts)
    owners = np.where(service >= 0, service, several + snapshot.services.height)
    return Direct(rows, service, *_headless(snapshot).expand(owners))


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


@lru_cache(maxsize=2)
def _headless(snapshot: Snapshot) -> Lists:
    """By service id, and behind these by row of the sets of service ids that share an endpoint: the headless ones."""
    declared = snapshot.tracked["service_ports"].filter("is_headless").select(SERVICE).unique()
    height, sets = snapshot.services.height, lookups_of(snapshot).backends.sets
    is_headless = np.zeros(height, np.bool_)
    is_headless[snapshot.services.join(declared, on=SERVICE, how="semi")["service_id"].to_numpy()] = True
    alone = np.arange(height, dtype=np.uint32)
    of_sets = np.repeat(np.arange(len(sets), dtype=np.uint32), sets.list.len().to_numpy()) + np.uint32(height)
    members = np.append(alone, sets.explode().to_numpy())
    told = is_headless.take(members)
    return lists_of(np.append(alone, of_sets)[told], members[told], height + len(sets))
