"""What policies said of a flow, as the history keeps it: text in place of numbers.

The invariant: a responsible policy is written `EFFECT KIND/NAMESPACE/NAME/RULE`; the namespace is empty where the
policy is cluster-wide, and the rule where none decided. Only a rule's name may hold a slash.
"""

from __future__ import annotations

from typing import Final

import polars as pl

from ..attribution.policies.answers import AnswerBook

VERDICTS: Final = pl.Schema(
    {
        "verdict": pl.String(),  # allowed or denied; "" where only the Service is known, not who answers
        "egress_verdict": pl.String(),  # of the source's policies: allowed, denied, unprotected or not judged
        "ingress_verdict": pl.String(),  # of the destination's
        "egress_policies": pl.List(pl.String()),  # every policy that is responsible, as `policies_of` reads it
        "ingress_policies": pl.List(pl.String()),
        "mismatch": pl.String(),  # established_denied or dropped_allowed, on one row of a connection at most
    }
)
"""Columns of the history."""

_SIDES: Final = {"egress": "egress", "ingress": "ingress_policy"}
_REFERENCE: Final = (
    r"^(?<effect>allow|deny|pass|isolates|not judged) "
    r"(?<kind>[^/]*)/(?<namespace>[^/]*)/(?<name>[^/]*)/(?<rule>.*)$"
)


def with_verdicts(flows: pl.LazyFrame, book: AnswerBook | None) -> pl.LazyFrame:
    """Columns `VERDICTS` in place of those that `LivePolicies.judge` added; empty where nothing was judged."""
    if book is None:
        return flows.with_columns(pl.lit(None, dtype).alias(name) for name, dtype in VERDICTS.items()).with_columns(
            pl.col(name).fill_null("") for name, dtype in VERDICTS.items() if dtype == pl.String
        )
    verdicts, texts = pl.lit(book.answers["verdict"].cast(pl.String)), pl.lit(book.answers["texts"])
    return flows.with_columns(
        pl.col("verdict", "mismatch").cast(pl.String).fill_null(""),
        *(verdicts.gather(pl.col(side)).fill_null("").alias(f"{name}_verdict") for name, side in _SIDES.items()),
        *(texts.gather(pl.col(side)).alias(f"{name}_policies") for name, side in _SIDES.items()),
    )


def policies_of(texts: pl.Expr) -> pl.Expr:
    """Responsible policies as structs of text {effect, kind, namespace, name, rule}, from their text (not the list)."""
    return texts.str.extract_groups(_REFERENCE)
