"""What was seen against what policies say: established although denied, and dropped although allowed.

Said only where it is sure: both ends are known, every policy near the start says the same, and what came of the
connection leaves no doubt. The invariant: a connection is marked on one of its rows at most.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from collector.schema import OUTCOMES

from ...inventory.snapshot import Snapshot
from ...inventory.spans import BEGINNING, END
from ...kept import Frames, fits, rows_of
from .. import arrays
from ..confidence import REASON
from .pairs import PAIR
from .timeline import PolicyTimeline

MISMATCH: Final[pl.Enum] = pl.Enum(["established_denied", "dropped_allowed"])

GRACE_NS: Final = 10_000_000_000
"""How long policies may take to come into force everywhere, and a pod to come onto the network."""
MOST_TOLD: Final = 200_000
"""Connections that are marked and still open: so many are remembered, the latest."""

_IN_DOUBT: Final = np.isin(
    REASON.categories.to_list(),
    ["unknown_source", "unknown_destination", "ambiguous_address", "ambiguous_host_port", "before_status"],
)
"""By the code of a reason of attribution, whether by it an end is not sure."""
_SAYS_WHEN_REFUSED: Final = (6, 132)
"""TCP and SCTP: silence is no answer. Of UDP, silence tells nothing."""
_CONNECTION: Final = ("node", "flow_id")
_ASKED: Final = (*PAIR, "start", "time", "verdict", "egress", "ingress_policy", "outcome", *_CONNECTION)
_MARKS: Final = MISMATCH.categories.to_list()

Places = NDArray[np.int64]


class MismatchFinder:
    """Marks judged flows. It remembers connections that it marked while they are open."""

    def __init__(self, policies: PolicyTimeline, grace_ns: int = GRACE_NS) -> None:
        self._policies = policies
        self._grace_ns = grace_ns
        self._told = pl.DataFrame(schema={"node": pl.String, "flow_id": pl.UInt64})

    def state(self) -> Frames:
        """The connections that are marked and still open."""
        return {"told": self._told}

    def restore(self, frames: Frames) -> int:
        """Take up connections that are not to be marked again."""
        if not fits(frames, told=self._told.schema):
            return rows_of(frames)
        self._told = frames["told"]
        return 0

    def mark(self, flows: pl.DataFrame, snapshot: Snapshot) -> pl.DataFrame:
        """Add `mismatch` (MISMATCH, null on all rows that are none) to what `PolicyTimeline.judge` gave."""
        places = np.flatnonzero(_is_suspect(flows))
        if places.size:
            places = places[self._new(arrays.taken(flows, places, *_ASKED), snapshot)]
        if not places.size:
            return flows.hstack([pl.Series("mismatch", dtype=MISMATCH).extend_constant(None, flows.height)])
        marks = np.zeros(flows.height, np.uint8)
        is_marked = np.zeros(flows.height, np.bool_)
        is_marked[places] = True
        marks[places] = np.where(
            arrays.is_code(flows["verdict"], "denied")[places],
            _MARKS.index("established_denied"),
            _MARKS.index("dropped_allowed"),
        )
        return flows.hstack([arrays.enumerated(marks, MISMATCH, is_marked).alias("mismatch")])

    def _new(self, suspects: pl.DataFrame, snapshot: Snapshot) -> Places:
        """The places of suspects that are marked."""
        facts = _facts_of(snapshot)
        sure = np.flatnonzero(_is_sure(suspects, facts, self._policies.book.answers["coverage"], self._grace_ns))
        settled = sure[self._policies.is_settled(arrays.taken(suspects, sure, *suspects.columns), self._grace_ns)]
        connections = {"node": suspects["node"].cast(pl.String), "flow_id": suspects["flow_id"]}
        new = arrays.taken(connections, settled, *_CONNECTION).with_row_index("row")
        new = new.unique(_CONNECTION, keep="first", maintain_order=True)
        if self._told.height:
            new = new.join(self._told, on=_CONNECTION, how="anti", maintain_order="left")
        rows: Places = settled[new["row"].to_numpy()]
        is_open = suspects["outcome"].to_numpy() == OUTCOMES.index("open")
        opened = rows[is_open[rows]]
        if opened.size:
            self._told = pl.concat([self._told, arrays.taken(connections, opened, *_CONNECTION)], rechunk=True)
        over = np.flatnonzero(~is_open)
        if self._told.height and over.size:
            gone = arrays.taken(connections, over, *_CONNECTION)
            self._told = self._told.join(gone, on=_CONNECTION, how="anti", maintain_order="left")
        self._told = self._told.tail(MOST_TOLD)
        return rows


class _Facts:
    """What is known of endpoints, by id."""

    def __init__(self, snapshot: Snapshot) -> None:
        spans = snapshot.addresses.group_by("endpoint_id").agg(pl.col("since").min(), pl.col("until").max())
        ends = snapshot.endpoints.select("id", "kind", "node").join(
            spans, left_on="id", right_on="endpoint_id", how="left", maintain_order="left"
        )
        self.is_pod = (ends["kind"] == "Pod").to_numpy()
        self.is_node = (ends["kind"] == "Node").to_numpy()
        self.node = ends["node"].rank("dense").to_numpy()
        """A number of the node's name."""
        self.since = ends["since"].fill_null(END).to_numpy()
        self.until = ends["until"].fill_null(BEGINNING).to_numpy()
        """What holds no address is never there."""


@lru_cache(maxsize=2)
def _facts_of(snapshot: Snapshot) -> _Facts:
    return _Facts(snapshot)


def _is_suspect(flows: pl.DataFrame) -> arrays.Mask:
    """Rows that count, with ends that are sure, whose outcome and verdict do not fit."""
    outcome = flows["outcome"].to_numpy()
    is_over = (outcome == OUTCOMES.index("closed")) | (outcome == OUTCOMES.index("reset"))
    is_established = is_over | ((outcome == OUTCOMES.index("open")) & (flows["reply_packets"].to_numpy() > 0))
    protocol = flows["protocol"].to_numpy()
    says_when_refused = (protocol == _SAYS_WHEN_REFUSED[0]) | (protocol == _SAYS_WHEN_REFUSED[1])
    is_dropped = (outcome == OUTCOMES.index("no_reply")) & says_when_refused
    verdict = flows["verdict"]
    is_odd: arrays.Mask = arrays.is_code(verdict, "denied") & is_established
    is_odd |= arrays.is_code(verdict, "allowed") & is_dropped
    if is_odd.any():
        is_odd &= arrays.is_code(flows["role"], "canonical")
        is_odd &= arrays.is_there(flows["reason"])
        is_odd &= ~_IN_DOUBT.take(arrays.numbers(flows["reason"]), mode="clip")
    return is_odd


def _is_sure(flows: pl.DataFrame, facts: _Facts, coverage: pl.Series, grace_ns: int) -> arrays.Mask:
    """Denied, and not what a node says to its own pods, which it always may; or allowed, by policies that are all
    understood, to a pod that was there from well before to the end."""
    source, destination = flows["src_id"].to_numpy(), flows["dst_id"].to_numpy()
    is_own_node = facts.is_node.take(source) | facts.is_node.take(destination)
    is_own_node &= facts.node.take(source) == facts.node.take(destination)
    since, until = facts.since.take(destination), facts.until.take(destination)
    start = flows["start"].to_numpy()
    is_there = facts.is_pod.take(destination) & (flows["time"].to_numpy() < until)
    is_there &= (since == BEGINNING) | ((start > since) & (start - since > grace_ns))
    understood = ~arrays.is_code(coverage, "not_judged")
    for side in ("egress", "ingress_policy"):
        is_there &= understood.take(flows[side].to_numpy())
    sure: arrays.Mask = np.where(arrays.is_code(flows["verdict"], "denied"), ~is_own_node, is_there)
    return sure
