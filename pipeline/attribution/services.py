"""Which Service port a flow means: by what was dialled, or by the backend where a dataplane shows nothing else.

A headless Service has no address of its own: its clients are given its endpoints' by DNS, and dial these.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ..inventory.endpoints import UNKNOWN
from ..inventory.services import VIAS
from . import arrays
from .answers import Answers
from .arrays import Mask, Rows
from .blocks import Address, Block
from .ends import Ends
from .lookups import Ids, Keys, Lookups, packed_addresses, packed_ports

BACKEND: Final = np.uint8(arrays.code(VIAS, "backend"))
HEADLESS: Final = np.uint8(arrays.code(VIAS, "headless"))


@dataclass(frozen=True, slots=True)
class Dialled:
    """The Service ports of a block: a row has one, several or none. What finds more of them later writes it here."""

    service: Ids
    via: NDArray[np.uint8]
    """Code of VIAS; NO_VIA where there is no one Service."""
    several: Ids
    """The row of `lookups.service_sets`."""

    def tell(self, rows: Rows, answers: Answers, facts: Ids, first_set: int) -> None:
        """Write what the facts say of rows that have no Service yet; `first_set` is where the answers' sets begin."""
        sets = answers.several.take(facts)
        self.service[rows] = answers.answer.take(facts)
        self.via[rows] = answers.via.take(facts)
        self.several[rows] = np.where(sets >= 0, sets + np.int32(first_set), sets)

    def tell_one(self, rows: Rows, services: Ids) -> None:
        """Write the one Service of rows that were told by the backend, in place of several."""
        self.service[rows] = services
        self.via[rows] = BACKEND
        self.several[rows] = -1

    def tell_backends(self, rows: Rows, keys: Keys, starts: NDArray[np.int64], lookups: Lookups) -> None:
        """Write the Services of backends, by address, port and protocol, to rows that have none yet.

        Not where all of them are headless: their clients dial the backend wherever they are (`tell_headless`).
        """
        backends, headless = lookups.backends, lookups.headless
        facts = backends.rows(keys, starts)
        asked = np.flatnonzero(lookups.may_be_headless.take(facts))
        alone = headless.rows(keys.take(asked), starts.take(asked))
        is_alone = (alone >= 0) & (headless.count.take(alone) == backends.count.take(facts.take(asked)))
        facts[asked[is_alone]] = -1
        self.tell(rows, backends, facts, len(lookups.dials.sets) + len(lookups.node_ports.sets))


def dialled_of(block: Block, ends: Ends, lookups: Lookups, *, by_backend: bool) -> Dialled:
    """The Service ports by the address, port and protocol dialled.

    A Service's own address comes first. Then node ports, which answer on every address of a node, also on those that
    the Node object does not list, or that several do: an address that nobody alone holds, but whose packets were
    redirected to a backend, was such a one. Last, `by_backend`, the backends of Services, where nothing was redirected.
    """
    ports = packed_ports(block.dst_port, block.protocol)
    own = packed_addresses(ends.dst.address, ports)
    dials = lookups.dials
    facts = dials.rows(own, block.start)
    dialled = Dialled(dials.answer.take(facts), dials.via.take(facts), dials.several.take(facts))

    asked = np.flatnonzero(facts < 0)
    holder, is_redirected = ends.dst.holder.take(asked), block.is_redirected.take(asked)
    is_nobodys = (holder < 0) | (holder == UNKNOWN)
    on_node = asked[lookups.is_node.take(holder) | (is_nobodys & is_redirected)]
    if on_node.size and len(lookups.node_ports.index):
        facts[on_node] = found = lookups.node_ports.rows(ports.take(on_node), block.start.take(on_node))
        dialled.tell(on_node, lookups.node_ports, found, len(dials.sets))
    if by_backend:
        plain = np.flatnonzero((facts < 0) & ~block.is_redirected)
        dialled.tell_backends(plain, own.take(plain), block.start.take(plain), lookups)
    return dialled


def tell_headless(block: Block, ends: Ends, ids: tuple[Ids, Ids], dialled: Dialled, lookups: Lookups) -> None:
    """Tell `dialled` of the headless Services whose endpoints were dialled, where nothing else told a Service.

    `ids` are the endpoints that opened and answered. What a pod's own node says to it is the kubelet's probe, as a
    rule, and no client's.
    """
    if not len(lookups.headless.index):
        return
    rows = np.flatnonzero((dialled.service < 0) & (dialled.several < 0) & ~block.is_redirected)
    ports = packed_ports(block.dst_port.take(rows), block.protocol.take(rows))
    keys = packed_addresses(ends.dst.address.take(rows), ports)
    facts = lookups.headless.rows(keys, block.start.take(rows))
    rows, facts = rows[facts >= 0], facts[facts >= 0]
    probes = lookups.hosts.from_own_nodes(*(end.take(rows) for end in ids))
    first_set = len(lookups.dials.sets) + len(lookups.node_ports.sets) + len(lookups.backends.sets)
    dialled.tell(np.delete(rows, probes), lookups.headless, np.delete(facts, probes), first_set)


def unanswered(block: Block, dialled: Dialled) -> Rows:
    """Rows where a Service's address was dialled and went nowhere else, as far as the row shows."""
    is_open: Mask = dialled.service >= 0
    is_open &= ~block.is_redirected
    is_open &= dialled.via != BACKEND
    return np.flatnonzero(is_open)


def redirected(flows: pl.DataFrame, rows: Rows) -> Mask:
    """Which of the rows `is_redirected` tells."""
    dialled, answered = (
        Address(*(flows[f"{end}_{half}"].to_numpy() for half in ("hi", "lo"))).of(rows) for end in ("dst", "backend")
    )
    return answered.differs(dialled)


def is_redirected() -> pl.Expr:
    """Whether the packets went to another address than the one dialled."""
    return (pl.col("backend_lo") != pl.col("dst_lo")) | (pl.col("backend_hi") != pl.col("dst_hi"))
