"""What Flowatlas says of policies against what the lab's programs met: denials by name, and mismatches.

Without enforcement the truth holds no denial, and each connection of its `denied-` scenarios that got through must be a
mismatch. Pure: frames in, a report out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import polars as pl

from .verify import KEY, MATCH_TOLERANCE_NS

DENIED_SCENARIOS: Final = "denied-"


@dataclass(frozen=True, slots=True)
class PolicyReport:
    """The outcome of one comparison. Each list names connections, one a line."""

    denied: int
    """Connections that policies cut in the lab and that are judged denied, by the policy that cut them."""
    mismatches: int
    """Connections that got through although policies deny them, each marked as such."""
    wrong: list[str] = field(default_factory=list)


def judged(flows: pl.LazyFrame) -> pl.DataFrame:
    """Canonical observations of the history as connections: KEY, start (ns), verdict, policies, mismatch, marks."""
    return (
        flows.filter(pl.col("role") == "canonical")
        .with_columns(pl.col("start").cast(pl.Int64))
        .group_by(*KEY, "flow_id", "node")
        .agg(
            pl.col("start", "verdict").first(),
            policies=pl.concat_list(pl.col("egress_policies").first(), pl.col("ingress_policies").first()).first(),
            mismatch=pl.col("mismatch").max(),
            marks=(pl.col("mismatch") != "").sum(),
        )
        .collect()
    )


def compare_policies(truth: pl.DataFrame, found: pl.DataFrame) -> PolicyReport:
    """Every connection of the truth (`verify.truth_frame`) that was seen: cut by name, let through, or a mismatch.

    An attempt to a Service that its own node drops has no backend yet, so no policy can be judged for it: eBPF sees it,
    conntrack does not, and it is left out.
    """
    matched = (
        found.sort("start")
        .join_asof(
            truth.select(*KEY, "opened_ns", "id", "scenario", "outcome", "denied_by", "client", "tracked").sort(
                "opened_ns"
            ),
            left_on="start",
            right_on="opened_ns",
            by=KEY,
            strategy="nearest",
            tolerance=MATCH_TOLERANCE_NS,
            check_sortedness=False,
        )
        .filter(pl.col("id").is_not_null(), pl.col("tracked") | (pl.col("verdict") != ""))
    )
    is_denied = pl.col("denied_by").is_not_null()
    by_name = pl.format("isolates NetworkPolicy/{}/", "denied_by")
    is_through = pl.col("scenario").str.starts_with(DENIED_SCENARIOS) & ~is_denied & (pl.col("outcome") == "closed")
    expected = pl.when(is_through).then(pl.lit("established_denied")).otherwise(pl.lit(""))
    faults = pl.concat_list(
        pl.when(is_denied & (pl.col("verdict") != "denied")).then(pl.format("{} and not denied", "verdict")),
        pl.when(is_denied & ~pl.col("policies").list.contains(by_name)).then(
            pl.format("denied by {}, not named", "denied_by")
        ),
        pl.when(pl.col("mismatch") != expected).then(pl.format("mismatch '{}', not '{}'", "mismatch", expected)),
        pl.when(pl.col("marks") > 1).then(pl.lit("marked more than once")),
    ).list.drop_nulls()
    rows = matched.with_columns(faults=faults, is_denied=is_denied, is_through=is_through)
    right = rows.filter(pl.col("faults").list.len() == 0)
    return PolicyReport(
        denied=right.filter("is_denied").height,
        mismatches=right.filter("is_through").height,
        wrong=[
            f"{row['client']} {row['src_ip']}:{row['src_port']} -> {row['dst_ip']}:{row['dst_port']}/{row['protocol']} "
            f"[{row['scenario']}]: {'; '.join(row['faults'])} ({', '.join(row['policies'] or ()) or 'no policy'})"
            for row in rows.filter(pl.col("faults").list.len() > 0).sort(*KEY).iter_rows(named=True)
        ],
    )
