"""Verdicts and mismatches of flows as they come: what the pipeline adds to attributed flows.

The invariant: flows are judged and marked under the snapshot that they were attributed under.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import polars as pl

from ...inventory.history import PolicyEpoch
from ...inventory.snapshot import Snapshot
from .engine import VERDICT
from .mismatches import GRACE_NS, MISMATCH, MismatchFinder
from .timeline import PolicyTimeline

ADDED: Final = pl.Schema(
    {"verdict": VERDICT, "egress": pl.UInt32(), "ingress_policy": pl.UInt32(), "mismatch": MISMATCH}
)
"""Columns that `judge` adds; `egress` and `ingress_policy` are rows of the timeline's `book.answers`."""


class LivePolicies:
    """Judges flows chunk by chunk."""

    def __init__(self, grace_ns: int = GRACE_NS) -> None:
        self.timeline = PolicyTimeline()
        self.mismatches = MismatchFinder(self.timeline, grace_ns)

    def judge(self, flows: pl.DataFrame, snapshot: Snapshot, epochs: Sequence[PolicyEpoch]) -> pl.DataFrame:
        """Add the columns `ADDED` to flows attributed under `snapshot`; `epochs` are the policies that are kept."""
        self.timeline.use(snapshot, epochs)
        said = self.timeline.say(flows)
        return flows.hstack([*said.columns(), self.mismatches.marks(flows, said, snapshot)])
