"""Which rules recorded pairs matched, whether the rule decided or another one did before it.

A rule is a number of its direction's side (`side.rules`), as the engine has it. The invariant: what matches here is
what the engine's own tables match; nothing is worked out a second way.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import polars as pl

from ..attribution.policies import Policies
from ..attribution.policies.terms import Direction

_MOST_CANDIDATES: Final = 2_000_000


def matched_rules(policies: Policies, direction: Direction, pairs: pl.DataFrame) -> pl.DataFrame:
    """`pair` (row of `pairs`) and `rule` (number), both UInt32: every rule whose peers and ports mean the pair."""
    side, matcher = policies.side(direction), policies.matcher(direction)
    questions = policies.questions(direction, pairs)
    distinct = questions.unique(maintain_order=True).with_row_index("question")
    asked = {name: distinct[name].to_numpy() for name in questions.columns}
    parts: list[pl.DataFrame] = []
    for first, end in _parts(side.rules_of.lengths(asked["subject"])):
        place, rules = side.rules_of.expand(asked["subject"][first:end])
        place = place + first
        met = ~asked["exempt"][place]
        met &= matcher.match_peers(rules, asked["peer"][place], asked["peer_class"][place])
        place, rules = place[met], rules[met]
        met = matcher.match_ports(rules, asked["port_class"][place], asked["point"][place], asked["destination"][place])
        parts.append(pl.DataFrame({"question": place[met].astype(np.uint32), "rule": rules[met].astype(np.uint32)}))
    found = pl.concat(parts) if parts else pl.DataFrame(schema={"question": pl.UInt32, "rule": pl.UInt32})
    numbered = questions.join(distinct, on=questions.columns, how="left", maintain_order="left")
    return (
        numbered.select(pl.row_index("pair"), "question")
        .join(found, on="question", how="inner", maintain_order="left")
        .select("pair", "rule")
    )


def _parts(lengths: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Iterator[tuple[int, int]]:
    """Ranges of questions that are few enough rules together."""
    totals = np.cumsum(lengths)
    first = 0
    while first < lengths.size:
        before = totals[first - 1] if first else 0
        end = max(first + 1, int(np.searchsorted(totals, before + _MOST_CANDIDATES, side="right")))
        yield first, end
        first = end
