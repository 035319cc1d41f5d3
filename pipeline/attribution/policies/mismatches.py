"""What was seen against what policies say: established although denied, and dropped although allowed.

Said only where it is sure: both ends are known, every policy near the start says the same of the connection in all of
its guises, and what came of it leaves no doubt. The invariant: a connection is marked on one of its rows at most.
"""

from __future__ import annotations

from dataclasses import dataclass
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
from ..connections import among, connections_of
from ..keyindex import distinct
from ..roles import CANONICAL
from .answers import COVERAGE
from .guises import masqueraded, relabelled
from .pairs import Pairs, pairs_of
from .sayings import Said
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
_TOLD: Final = pl.Schema({"node": pl.String, "flow_id": pl.UInt64})
"""As a snapshot has connections; here their nodes are categories."""
_MARKS: Final = [arrays.code(MISMATCH, mark) for mark in ("dropped_allowed", "established_denied")]
"""By code of VERDICT: the code of what is odd about it."""
_NO_MARK: Final = pl.Series("mismatch", [None], dtype=MISMATCH)
_ALLOWED, _DENIED = range(2)
"""Codes of VERDICT."""
_NOT_JUDGED: Final = arrays.code(COVERAGE, "not_judged")
_DENIED_OUT: Final = arrays.code(COVERAGE, "denied")
"""Of an answer on the way out."""

Places = NDArray[np.int64]


class MismatchFinder:
    """Marks judged flows. It remembers connections that it marked while they are open."""

    def __init__(self, policies: PolicyTimeline, grace_ns: int = GRACE_NS) -> None:
        self._policies = policies
        self._grace_ns = grace_ns
        self._told = pl.DataFrame(schema=_TOLD).cast({"node": pl.Categorical})

    def state(self) -> Frames:
        """The connections that are marked and still open."""
        return {"told": self._told.cast({"node": pl.String})}

    def restore(self, frames: Frames) -> int:
        """Take up connections that are not to be marked again."""
        if not fits(frames, told=_TOLD):
            return rows_of(frames)
        self._told = frames["told"].cast({"node": pl.Categorical})
        return 0

    def marks(self, flows: pl.DataFrame, said: Said, snapshot: Snapshot) -> pl.Series:
        """By row of attributed flows, of which that was `said`: MISMATCH, null on all rows that are none."""
        places = _suspects(flows, said.verdict)
        if places.size:
            places = places[self._new(_suspects_of(flows, said, places), snapshot)]
        if not places.size:
            return _NO_MARK.new_from_index(0, flows.height)
        marks = np.zeros(flows.height, np.uint8)
        is_marked = np.zeros(flows.height, np.bool_)
        is_marked[places] = True
        marks[places] = np.take(_MARKS, said.verdict[places])
        return arrays.enumerated(marks, MISMATCH, is_marked).alias("mismatch")

    def _new(self, suspects: _Suspects, snapshot: Snapshot) -> Places:
        """The places of suspects that are marked."""
        facts = _facts_of(snapshot)
        rows = np.flatnonzero(_is_sure(suspects, facts, self._policies.book.coverages, self._grace_ns))
        is_settled = self._policies.is_settled(
            suspects.pairs.at(rows), suspects.start[rows], suspects.said.verdict[rows], self._grace_ns
        )
        rows = rows[is_settled]
        rows = rows[self._is_so_in_any_guise(suspects, rows, snapshot)]
        rows = rows[~self._policies.may_be_overruled(suspects.pairs.at(rows), suspects.start[rows])]
        if rows.size:
            rows = rows[suspects.firsts(rows)]
            if self._told.height:
                rows = rows[_others(suspects.connections(rows), self._told)]
        is_open = suspects.outcome == OUTCOMES.index("open")
        opened = rows[is_open[rows]]
        if opened.size:
            self._told = pl.concat([self._told, suspects.connections(opened)], rechunk=True)
        over = np.flatnonzero(~is_open)
        if self._told.height and over.size:
            left = _others(self._told, suspects.connections(over))
            if left.size < self._told.height:
                self._told = self._told[left]
        if self._told.height > MOST_TOLD:
            self._told = self._told.tail(MOST_TOLD)
        return rows

    def _is_so_in_any_guise(self, suspects: _Suspects, rows: Places, snapshot: Snapshot) -> arrays.Mask:
        """Which of these rows have their verdict however a dataplane may have known the connection."""
        pairs, starts, verdicts = suspects.pairs.at(rows), suspects.start[rows], suspects.said.verdict[rows]
        is_so = np.ones(rows.size, np.bool_)
        for places, others in relabelled(pairs, starts, snapshot, self._grace_ns):
            is_so[places] &= self._policies.is_settled(others, starts[places], verdicts[places], self._grace_ns)
        # Whoever is denied on the way out is denied by its own policies, which see it before any node masquerades it.
        denied_out = self._policies.book.coverages.take(suspects.said.egress[rows]) == _DENIED_OUT
        for places, others in masqueraded(pairs, starts, (suspects.nat_hi[rows], suspects.nat_lo[rows]), snapshot):
            settled = self._policies.is_settled(others, starts[places], verdicts[places], self._grace_ns)
            is_so[places] &= settled | denied_out[places]
        return is_so


@dataclass(frozen=True)
class _Suspects:
    """What is asked of the rows that may be mismatches, in columns."""

    pairs: Pairs
    nat_hi: NDArray[np.uint64]
    nat_lo: NDArray[np.uint64]
    start: NDArray[np.int64]
    time: NDArray[np.int64]
    said: Said
    outcome: NDArray[np.uint8]
    named: pl.DataFrame
    """What names their connections: `node` (Categorical) and `flow_id`."""

    def firsts(self, rows: Places) -> Places:
        """Of these rows, the first of each connection."""
        of_all = connections_of(self.named)
        return distinct([of_all.ids.take(rows), of_all.nodes.take(rows)])[1]

    def connections(self, rows: Places) -> pl.DataFrame:
        """What names the connections of these rows."""
        return arrays.taken(self.named, rows, *_TOLD)


def _suspects_of(flows: pl.DataFrame, said: Said, places: Places) -> _Suspects:
    return _Suspects(
        pairs=pairs_of(flows).at(places),
        nat_hi=flows["nat_src_hi"].to_numpy()[places],
        nat_lo=flows["nat_src_lo"].to_numpy()[places],
        start=flows["start"].to_numpy()[places],
        time=flows["time"].to_numpy()[places],
        said=said.at(places),
        outcome=flows["outcome"].to_numpy()[places],
        named=arrays.taken(flows, places, *_TOLD),
    )


def _others(connections: pl.DataFrame, told: pl.DataFrame) -> Places:
    """The rows of connections that are not among those told."""
    asked = connections_of(connections)
    is_other = np.ones(len(asked), np.bool_)
    is_other[among(asked, is_other, connections_of(told))] = False
    return np.flatnonzero(is_other)


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


def _suspects(flows: pl.DataFrame, verdict: NDArray[np.uint8]) -> Places:
    """Rows that count, with ends that are sure, whose outcome and verdict do not fit."""
    outcome = flows["outcome"].to_numpy()
    is_dropped = outcome == OUTCOMES.index("no_reply")
    is_odd: arrays.Mask = (verdict == _DENIED) & ~is_dropped
    if is_odd.any():
        is_over = (outcome == OUTCOMES.index("closed")) | (outcome == OUTCOMES.index("reset"))
        is_over |= (outcome == OUTCOMES.index("open")) & (flows["reply_packets"].to_numpy() > 0)
        is_odd &= is_over
    if is_dropped.any():
        protocol = flows["protocol"].to_numpy()
        is_dropped &= (protocol == _SAYS_WHEN_REFUSED[0]) | (protocol == _SAYS_WHEN_REFUSED[1])
        is_odd |= is_dropped & (verdict == _ALLOWED)
    places = np.flatnonzero(is_odd)
    if not places.size:
        return places
    is_meant: arrays.Mask = arrays.numbers(flows["role"])[places] == CANONICAL
    is_meant &= ~_IN_DOUBT.take(arrays.numbers(flows["reason"])[places], mode="clip")
    is_meant &= arrays.is_there(flows["reason"])[places]
    meant: Places = places[is_meant]
    return meant


def _is_sure(suspects: _Suspects, facts: _Facts, coverages: NDArray[np.uint8], grace_ns: int) -> arrays.Mask:
    """Denied, and not what a node says to its own pods, which it always may; or allowed, by policies that are all
    understood, to a pod that was there from well before to the end."""
    source, destination, start = suspects.pairs.src_id, suspects.pairs.dst_id, suspects.start
    is_own_node = facts.is_node.take(source) | facts.is_node.take(destination)
    is_own_node &= facts.node.take(source) == facts.node.take(destination)
    since, until = facts.since.take(destination), facts.until.take(destination)
    is_there = facts.is_pod.take(destination) & (suspects.time < until)
    is_there &= (since == BEGINNING) | ((start > since) & (start - since > grace_ns))
    understood = coverages != _NOT_JUDGED
    for answers in (suspects.said.egress, suspects.said.ingress):
        is_there &= understood.take(answers)
    sure: arrays.Mask = np.where(suspects.said.verdict == _DENIED, ~is_own_node, is_there)
    return sure
