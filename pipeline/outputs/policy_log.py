"""What the log says of policies: connections that went against them, and kinds that nobody judges.

The invariant: a span of PERIOD_SECONDS has at most MAX_LINES lines about mismatches, whatever the traffic; what they
leave out is counted in the last one. Everything is in the metrics and in the history too.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from typing import Final

import numpy as np
import polars as pl

from ..aggregate.rollups import ends_as, workload_ids
from ..attribution import arrays, with_labels
from ..attribution.policies import PolicyTimeline
from ..attribution.policies.answers import AnswerBook
from ..inventory.snapshot import Snapshot
from .verdicts import with_verdicts

log = logging.getLogger(__name__)

PERIOD_SECONDS: Final = 60.0
MAX_LINES: Final = 10
MAX_HELD: Final = 50_000
"""So many rows of ids are held at most before they are named."""
MAX_FRAMES: Final = 1_000
"""In so many frames."""
MAX_KEPT: Final = 1_000
"""So many different mismatches are kept for the next lines."""
_ALIKE: Final = ("mismatch", "backend_port", "verdict", "egress", "ingress_policy")
_WORDS: Final = {
    "established_denied": "established although denied",
    "dropped_allowed": "never answered although allowed",
}

Key = tuple[str, ...]


class PolicyLog:
    """Takes flows and writes lines now and then. Time comes in as a parameter."""

    def __init__(self) -> None:
        self._held: list[pl.DataFrame] = []
        """Mismatches by ids and their number, until there is something to tell: names are for few rows."""
        self._held_rows = 0
        self._meant: tuple[Snapshot, AnswerBook] | None = None
        """What the ids of what is held mean."""
        self._seen: Counter[Key] = Counter()
        self._left_out = 0
        self._written_s = -PERIOD_SECONDS
        self._named: Sequence[tuple[str, str | None, str]] = ()
        self._not_judged: dict[str, int] = {}

    def take(self, flows: pl.DataFrame, snapshot: Snapshot, policies: PolicyTimeline) -> None:
        """Remember the mismatches among flows that `policies` judged."""
        self._name(policies.current().not_judged)
        if flows["mismatch"].null_count() < flows.height:
            rows = np.flatnonzero(arrays.is_there(flows["mismatch"]))
            marked = arrays.taken(flows, rows, "src_id", "dst_id", *_ALIKE)
            self._hold(marked, snapshot, policies.book)

    def tell(self, now_s: float, *, is_last: bool = False) -> None:
        """Write what is remembered, where it is time to or there is no later time."""
        if (self._held or self._seen) and (is_last or now_s - self._written_s >= PERIOD_SECONDS):
            self._written_s = now_s
            self._remember()
            self._write()

    def _name(self, not_judged: Sequence[tuple[str, str | None, str]]) -> None:
        """Say which kinds are there and are not judged, where that has changed."""
        if not_judged is self._named:
            return
        self._named = not_judged
        kinds = dict(sorted(Counter(kind for kind, _, _ in not_judged).items()))
        if kinds != self._not_judged and kinds:
            told = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
            log.warning("policies: not judged, and never called unprotected: %s", told)
        self._not_judged = kinds

    def _hold(self, marked: pl.DataFrame, snapshot: Snapshot, book: AnswerBook) -> None:
        if self._meant and (self._meant[0].numbering is not snapshot.numbering or self._meant[1] is not book):
            self._remember()
        self._meant = snapshot, book
        ends = ends_as(marked, workload_ids(snapshot))
        alike = {name: marked[name] for name in _ALIKE}
        self._held.append(pl.DataFrame({**ends, **alike, "len": np.ones(marked.height, np.uint32)}))
        self._held_rows += marked.height
        if self._held_rows > MAX_HELD or len(self._held) > MAX_FRAMES:
            self._held = [pl.concat(self._held).group_by("src_id", "dst_id", *_ALIKE).agg(pl.col("len").sum())]
            self._held_rows = self._held[0].height
            if self._held_rows > MAX_HELD // 2:
                self._remember()

    def _remember(self) -> None:
        """Give names to what is held."""
        if self._meant is None or not self._held:
            return
        snapshot, book = self._meant
        counted = pl.concat(self._held).lazy().group_by("src_id", "dst_id", *_ALIKE).agg(pl.col("len").sum())
        self._held, self._held_rows = [], 0
        named = with_labels(with_verdicts(counted, book), snapshot)
        key = (
            "mismatch",
            *(f"{side}_{field}" for side in ("source", "destination") for field in ("namespace", "workload")),
            "backend_port",
            "policies",
        )
        every = pl.concat_list("egress_policies", "ingress_policies").list.unique(maintain_order=True)
        denying = every.list.filter(pl.element().str.contains("^(deny|isolates) "))
        policies = pl.when(pl.col("mismatch") == "established_denied").then(denying).otherwise(every)
        rows = named.with_columns(
            policies=policies.list.join(", "), backend_port=pl.col("backend_port").cast(pl.String)
        )
        for *names, count in rows.group_by(key).agg(pl.col("len").sum()).sort(key).collect().iter_rows():
            known = tuple(names)
            if known in self._seen or len(self._seen) < MAX_KEPT:
                self._seen[known] += count
            else:
                self._left_out += count

    def _write(self) -> None:
        lines = self._seen.most_common()
        shown = lines[:MAX_LINES] if len(lines) + bool(self._left_out) <= MAX_LINES else lines[: MAX_LINES - 1]
        for (mismatch, *ends, port, policies), count in shown:
            source, destination = ("/".join(filter(None, ends[first : first + 2])) for first in (0, 2))
            by = policies or "no policy"
            log.warning(
                "policies: %d connections %s: %s to %s port %s, by %s",
                *(count, _WORDS[mismatch], source, destination, port, by),
            )
        more = sum(count for _, count in lines[len(shown) :]) + self._left_out
        if more:
            log.warning("policies: and %d more connections against what policies say", more)
        self._seen.clear()
        self._left_out = 0
