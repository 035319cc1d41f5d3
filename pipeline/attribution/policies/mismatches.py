"""What was seen against what policies say: established although denied, and dropped although allowed.

Said only where it is sure: both ends are known, every policy near the start says the same, and what came of the
connection leaves no doubt. The invariant: a connection is marked on one of its rows at most.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np
import polars as pl

from collector.schema import OUTCOMES

from ...inventory.snapshot import Snapshot
from ...inventory.spans import BEGINNING
from ...kept import Frames, fits, rows_of
from ..confidence import REASON
from .answers import COVERAGE
from .engine import PAIR
from .timeline import PolicyTimeline

MISMATCH: Final[pl.Enum] = pl.Enum(["established_denied", "dropped_allowed"])

GRACE_NS: Final = 10_000_000_000
"""How long policies may take to come into force everywhere, and a pod to come onto the network."""
MOST_TOLD: Final = 200_000
"""Connections that are marked and still open: so many are remembered, the latest."""

_IN_DOUBT: Final = pl.Series(
    ["unknown_source", "unknown_destination", "ambiguous_address", "ambiguous_host_port", "before_status"],
    dtype=REASON,
).implode()
"""Reasons of attribution by which an end is not sure."""
_SAYS_WHEN_REFUSED: Final = (6, 132)
"""TCP and SCTP: silence is no answer. Of UDP, silence tells nothing."""
_NO_MISMATCH: Final = 255
_CONNECTION: Final = ("node", "flow_id")


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
        marks = np.full(flows.height, _NO_MISMATCH, dtype=np.uint8)
        found = self._found(flows, snapshot)
        is_denied = (found["verdict"] == "denied").to_numpy()
        names = MISMATCH.categories.to_list()
        marks[found["row"].to_numpy()] = np.where(
            is_denied, names.index("established_denied"), names.index("dropped_allowed")
        )
        series = pl.Series("mismatch", marks).to_frame()
        of_mismatch = pl.col("mismatch")
        return flows.with_columns(
            series.select(pl.when(of_mismatch != _NO_MISMATCH).then(of_mismatch))["mismatch"].cat.to(MISMATCH)
        )

    def _found(self, flows: pl.DataFrame, snapshot: Snapshot) -> pl.DataFrame:
        """The rows that are marked, `row` their place."""
        columns = (*PAIR, "start", "time", "verdict", "egress", "ingress_policy", "outcome", *_CONNECTION)
        suspects = (
            flows.lazy()
            .select(*columns, "reply_packets", "role", "reason")
            .with_row_index("row")
            .filter(_is_suspect())
            .select("row", *columns)
            .with_columns(pl.col("node").cast(pl.String))
            .collect()
        )
        if suspects.is_empty():
            return suspects
        facts = _facts_of(snapshot)
        sure = suspects.filter(_is_sure(facts, self._policies.book.answers["coverage"], self._grace_ns))
        settled = sure.filter(pl.Series(self._policies.is_settled(sure, self._grace_ns)))
        once = settled.unique(_CONNECTION, keep="first", maintain_order=True)
        new = once.join(self._told, on=_CONNECTION, how="anti", maintain_order="left")
        is_open = pl.col("outcome") == OUTCOMES.index("open")
        over = suspects.filter(~is_open)
        told = pl.concat([self._told, new.filter(is_open).select(_CONNECTION)])
        self._told = told.join(over, on=_CONNECTION, how="anti", maintain_order="left").tail(MOST_TOLD)
        return new


class _Facts:
    """What is known of endpoints, by id."""

    def __init__(self, snapshot: Snapshot) -> None:
        spans = snapshot.addresses.group_by("endpoint_id").agg(pl.col("since").min(), pl.col("until").max())
        ends = snapshot.endpoints.select("id", "kind", "node").join(
            spans, left_on="id", right_on="endpoint_id", how="left", maintain_order="left"
        )
        self.is_pod = ends["kind"] == "Pod"
        self.is_node = ends["kind"] == "Node"
        self.node = ends["node"]
        self.since = ends["since"]
        self.until = ends["until"]


@lru_cache(maxsize=2)
def _facts_of(snapshot: Snapshot) -> _Facts:
    return _Facts(snapshot)


def _is_suspect() -> pl.Expr:
    """Rows that count, with ends that are sure, whose outcome and verdict do not fit."""
    outcome = pl.col("outcome")
    is_over = outcome.is_in([OUTCOMES.index("closed"), OUTCOMES.index("reset")])
    is_established = is_over | ((outcome == OUTCOMES.index("open")) & (pl.col("reply_packets") > 0))
    is_dropped = (outcome == OUTCOMES.index("no_reply")) & pl.col("protocol").is_in(_SAYS_WHEN_REFUSED)
    is_odd = ((pl.col("verdict") == "denied") & is_established) | ((pl.col("verdict") == "allowed") & is_dropped)
    return is_odd & (pl.col("role") == "canonical") & ~pl.col("reason").is_in(_IN_DOUBT)


def _is_sure(facts: _Facts, coverage: pl.Series, grace_ns: int) -> pl.Expr:
    """Denied, and not what a node says to its own pods, which it always may; or allowed, by policies that are all
    understood, to a pod that was there from well before to the end."""
    source, destination = pl.col("src_id"), pl.col("dst_id")
    node = pl.lit(facts.node)
    is_own_node = (pl.lit(facts.is_node).gather(source) | pl.lit(facts.is_node).gather(destination)) & (
        node.gather(source) == node.gather(destination)
    )
    since, until = (pl.lit(series).gather(destination) for series in (facts.since, facts.until))
    is_there = (
        pl.lit(facts.is_pod).gather(destination)
        & ((since == BEGINNING) | (pl.col("start") - since > grace_ns))
        & (pl.col("time") < until)
    )
    of_side = pl.lit(coverage.cast(COVERAGE))
    is_understood = pl.all_horizontal(of_side.gather(side) != "not_judged" for side in ("egress", "ingress_policy"))
    return pl.when(pl.col("verdict") == "denied").then(~is_own_node).otherwise(is_there & is_understood)
