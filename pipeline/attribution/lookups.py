"""A snapshot, made ready for joins: every question that a row asks is one join or one gather, as of the row's start.

Addresses are numbered, so that joins on address, port and protocol are on one integer. A node has one number under
however many endpoint ids it is known. The invariant: what is not asked for is not built.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ..inventory.outside import Outside
from ..inventory.services import VIAS
from ..inventory.snapshot import Snapshot
from ..inventory.spans import BEGINNING
from ..inventory.steps import Steps
from .answers import Answers, answers_of
from .arrays import Rows, table
from .keyindex import KeyIndex
from .timelines import Timeline

ADDRESS: Final = ("addr_hi", "addr_lo")
_SERVICE: Final = ("service_namespace", "service", "service_port")

Ids = NDArray[np.int32]
"""Ids or numbers to take by row: the last, for -1, stands for none."""
Keys = NDArray[np.uint64]


def packed(address: pl.Expr, port: pl.Expr, protocol: pl.Expr) -> pl.Expr:
    """An address's number, port and protocol in one UInt64."""
    return address.cast(pl.UInt64) * (1 << 24) + packed_port(port, protocol)


def packed_port(port: pl.Expr, protocol: pl.Expr) -> pl.Expr:
    """Port and protocol in one UInt64."""
    return port.cast(pl.UInt64) * (1 << 8) + protocol.cast(pl.UInt64)


def packed_ports(ports: NDArray[np.uint16], protocols: NDArray[np.uint8]) -> Keys:
    """`packed_port` of arrays."""
    keys = ports.astype(np.uint64)
    keys <<= np.uint64(8)
    keys |= protocols
    return keys


def packed_addresses(addresses: NDArray[np.int32], packed_ports: Keys) -> Keys:
    """`packed` of arrays; an address without a number (-1) gives what no key is."""
    keys = addresses.astype(np.uint64)
    keys <<= np.uint64(24)
    keys |= packed_ports
    return keys


@dataclass(frozen=True, slots=True)
class Hosts:
    """The nodes that endpoints are on, by endpoint id."""

    is_node: NDArray[np.bool_]
    node: Ids
    """The number of the Node that it is or is on; -1 where it is on none."""

    def from_own_nodes(self, src: NDArray[np.integer], dst: NDArray[np.integer]) -> Rows:
        """The rows of what comes from the node that the destination is on, by the endpoint ids of both."""
        rows = np.flatnonzero(self.is_node.take(src))
        return rows[self.node.take(src[rows]) == self.node.take(dst[rows])] if rows.size else rows


class Lookups:
    """Frames to join on and columns to gather from, of one snapshot."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    @cached_property
    def index(self) -> KeyIndex:
        """The numbers of all addresses that mean anything, at any time, by their halves."""
        halves = pl.concat([frame.select(ADDRESS) for frame in self._addressed.values()], rechunk=True)
        return KeyIndex([halves[half].to_numpy() for half in ADDRESS])

    @property
    def addresses(self) -> pl.DataFrame:
        """addr_hi, addr_lo, address (UInt32: the number in `index`)."""
        return pl.DataFrame(dict(zip(ADDRESS, self.index.keys, strict=True))).with_row_index("address")

    @cached_property
    def holders(self) -> Timeline:
        """By address number: endpoint_id, and seen."""
        return Timeline(self._snapshot.addresses, self._numbers["addresses"], len(self.index))

    @cached_property
    def was_held(self) -> NDArray[np.bool_]:
        """By address number: whether anything of the cluster held it, at any time."""
        return np.append(self.holders.is_known.to_numpy(), [False])

    @cached_property
    def holder(self) -> Ids:
        """By row of `holders`: the endpoint id."""
        return table(self.holders.facts["endpoint_id"], -1)

    @cached_property
    def seen(self) -> NDArray[np.int64] | None:
        """By row of `holders`: when the cluster said so; None where it always had by the beginning of the span."""
        facts = self.holders.facts
        if (facts["seen"] <= facts["since"]).all():
            return None
        return np.append(facts["seen"].to_numpy(), BEGINNING)

    @cached_property
    def dials(self) -> Answers:
        """By `packed` address, port and protocol dialled: the Service port and via."""
        return answers_of(self._by_address("dialled", "service_id", pl.col("via")))

    @cached_property
    def node_ports(self) -> Answers:
        """By `packed_port`: the Service port that it means on every address of every node."""
        claims = self._snapshot.node_ports.select(
            packed_port(pl.col("port"), pl.col("protocol")).alias("key"),
            pl.col("service_id").alias("answer"),
            pl.lit("node_port", dtype=VIAS).alias("via"),
            "since",
            "until",
        )
        return answers_of(claims)

    @cached_property
    def backends(self) -> Answers:
        """By `packed` address, port and protocol of a backend: the Service port that it answers for."""
        return answers_of(self._by_address("backends", "service_id", pl.lit("backend", dtype=VIAS)))

    @cached_property
    def headless(self) -> Answers:
        """The same of Services without an address, while they have none: dialling a backend is the only way to them."""
        declared = self._snapshot.tracked["service_ports"].filter("is_headless")
        spans = self._snapshot.services.join(declared, on=_SERVICE)
        claims = (
            self._by_address("backends", "service_id", pl.lit("headless", dtype=VIAS))
            .join(spans.select("since", "until", answer="service_id"), on="answer", suffix="_declared")
            .with_columns(
                since=pl.max_horizontal("since", "since_declared"), until=pl.min_horizontal("until", "until_declared")
            )
            .filter(pl.col("since") < pl.col("until"))
        )
        return answers_of(claims)

    @cached_property
    def may_be_headless(self) -> NDArray[np.bool_]:
        """By row of `backends`: whether `headless` has the backend too, at some time."""
        keys = self.backends.timeline.facts["key"].to_numpy()
        return np.append(self.headless.index.find([keys]) >= 0, [False])

    @cached_property
    def listeners(self) -> Answers:
        """By `packed` address, port and protocol of a node: the endpoint id of the pod that answers there."""
        return answers_of(self._by_address("listeners", "endpoint_id", pl.lit(None, VIAS)))

    @cached_property
    def service_sets(self) -> pl.Series:
        """The lists of service ids that a `service_set` means: of `dials`, `node_ports`, `backends`, `headless`."""
        return pl.concat([self.dials.sets, self.node_ports.sets, self.backends.sets, self.headless.sets])

    @cached_property
    def node_names(self) -> pl.DataFrame:
        """node (String), here (UInt32: its number), node_id (its newest endpoint id)."""
        nodes = self._snapshot.endpoints.filter(self._is_node).select("node", node_id="id")
        return nodes.unique("node", keep="last", maintain_order=True).with_row_index("here")

    @cached_property
    def node_index(self) -> KeyIndex:
        """The numbers of Nodes by the physical code of their name's category."""
        return KeyIndex([self._node_categories.to_physical().to_numpy()])

    @cached_property
    def _node_categories(self) -> pl.Series:
        """Kept, since the codes of categories that nobody has may be given to others."""
        return self.node_names["node"].cast(pl.Categorical)

    @cached_property
    def node_id(self) -> Ids:
        """By a Node's number: its newest endpoint id."""
        return table(self.node_names["node_id"], -1)

    @cached_property
    def place(self) -> Ids:
        """By endpoint id: the number of the Node that it is or is on; -1 for all that is on none."""
        named = self._snapshot.endpoints.join(self.node_names, on="node", how="left", maintain_order="left")
        return table(named["here"], -1)

    @cached_property
    def collected(self) -> Ids:
        """By endpoint id: `place`, where that Node has a collector; -1 elsewhere."""
        is_collected = np.append(self._snapshot.endpoints["is_collected"].to_numpy(), [False])
        return np.where(is_collected, self.place, np.int32(-1))

    @cached_property
    def hosts(self) -> Hosts:
        """By endpoint id: the node that it is on."""
        return Hosts(self.is_node, self.place)

    @cached_property
    def is_node(self) -> NDArray[np.bool_]:
        """By endpoint id: whether it is a Node."""
        return np.append(self._is_node.to_numpy(), [False])

    @cached_property
    def _is_node(self) -> pl.Series:
        return self._snapshot.endpoints["kind"] == "Node"

    @cached_property
    def is_pod(self) -> pl.Series:
        """By endpoint id: whether it is a pod."""
        return self._snapshot.endpoints["kind"] == "Pod"

    @cached_property
    def is_external(self) -> pl.Series:
        """By endpoint id: whether it is beyond the cluster."""
        return self._snapshot.endpoints["kind"] == "External"

    @cached_property
    def service_endpoint(self) -> Ids:
        """By service id: the Service's endpoint id."""
        return table(self._snapshot.services["endpoint_id"], -1)

    @cached_property
    def ranges(self) -> Steps:
        """The edges of the cluster's ranges: an address lies in one where an odd number lies at or before it."""
        edges: list[int] = []
        rows = sorted(
            (hi << 64 | lo, (hi_to << 64 | lo_to) + 1) for hi, lo, hi_to, lo_to in self._snapshot.ranges.rows()
        )
        for first, end in rows:
            if edges and first <= edges[-1]:
                edges[-1] = max(edges[-1], end)
            else:
                edges += (first, end)
        return Steps([edge for edge in edges if edge < 1 << 128])

    @property
    def outside(self) -> Outside:
        """The named ranges beyond the cluster."""
        return self._snapshot.outside

    @property
    def _addressed(self) -> dict[str, pl.DataFrame]:
        """The frames whose addresses have numbers, by name."""
        return {name: getattr(self._snapshot, name) for name in ("addresses", "dialled", "backends", "listeners")}

    @cached_property
    def _numbers(self) -> dict[str, NDArray[np.int32]]:
        """By the name of a frame and by row, the number of the address."""
        ends = np.cumsum([frame.height for frame in self._addressed.values()])
        return dict(zip(self._addressed, np.split(self.index.numbers, ends[:-1]), strict=True))

    def _by_address(self, name: str, answer: str, via: pl.Expr) -> pl.DataFrame:
        """Facts about an address, port and protocol as claims for `answers_of`."""
        address = pl.lit(pl.Series(self._numbers[name]))
        return self._addressed[name].select(
            packed(address, pl.col("port"), pl.col("protocol")).alias("key"),
            pl.col(answer).alias("answer"),
            via.alias("via"),
            "since",
            "until",
        )


@lru_cache(maxsize=2)
def lookups_of(snapshot: Snapshot) -> Lookups:
    """The look-ups of a snapshot; those of the newest two are kept."""
    return Lookups(snapshot)
