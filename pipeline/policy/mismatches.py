"""What was observed against what the policies say: answered although denied, unanswered although allowed.

The first means that something does not enforce the policies; the second may have many reasons, of which a policy of a
kind that is not judged is one. The invariant: verdicts are of today's policies, so only a record that is younger than
the last change of policies testifies.
"""

from __future__ import annotations

from typing import Final

import polars as pl

from ..attribution.policies import Policies
from ..inventory.snapshot import Snapshot
from .masqueraded import as_backends_saw, denied_behind
from .record import FIELDS, SIDES, established
from .responsible import labels_of

MISMATCH: Final = pl.Enum(["answered although denied", "unanswered although allowed"])
_WHO: Final = tuple(f"{side}_{field}" for side in SIDES for field in FIELDS if field not in {"kind", "name"})
_TCP: Final = 6


def mismatches(policies: Policies, snapshot: Snapshot, pairs: pl.DataFrame) -> pl.DataFrame:
    """By workload pair and port: `mismatch`, `connections`, `bytes`, `last_seen` and the `responsible` policies.

    Of datagrams without a reply nothing is said: many are meant to have none. Nor of a node that reaches a pod of its
    own, which Kubernetes always lets through, nor where it depends on whether a policy sees the source or the node that
    masqueraded it.
    """
    node = pl.lit(snapshot.endpoints["node"])
    is_own_node = (pl.col("source_kind") == "Node") & (node.gather("src_id") == node.gather("dst_id"))
    pairs = pairs.filter(~is_own_node)
    judgement = policies.judgement(pairs)
    responsible = pl.lit(labels_of(judgement, ("allow", "deny", "isolates")))
    seen = as_backends_saw(pairs)
    is_denied = judgement.rows["verdict"] == "denied"
    differs = denied_behind(judgement, policies.judgement(seen), seen) != is_denied.gather(seen["pair"])
    told = pairs.with_columns(
        judgement.rows["verdict"],
        responsible=judgement.rows.select(
            pl.concat_list(responsible.gather(column) for column in ("egress", "ingress_policy")).list.unique(
                maintain_order=True
            )
        ).to_series(),
    ).filter(~pl.int_range(pl.len()).is_in(seen.filter(differs)["pair"].implode()))
    answered = told.filter((pl.col("verdict") == "denied") & (established() > 0)).with_columns(
        counted=established(), mismatch=pl.lit(MISMATCH.categories[0]).cast(MISMATCH)
    )
    is_unanswered = (pl.col("verdict") == "allowed") & (pl.col("no_reply") > 0) & (pl.col("protocol") == _TCP)
    unanswered = told.filter(is_unanswered).with_columns(
        counted=pl.col("no_reply"), mismatch=pl.lit(MISMATCH.categories[1]).cast(MISMATCH)
    )
    rows = (
        pl.concat([answered, unanswered])
        .group_by("mismatch", *_WHO, "port", "protocol", "responsible")
        .agg(connections=pl.col("counted").sum(), bytes=pl.col("bytes").sum(), last_seen=pl.col("last").max())
    )
    order = ["mismatch", "connections", *_WHO, "port", "protocol"]
    return rows.sort(order, descending=[name == "connections" for name in order], nulls_last=True)
