"""What was responsible for an answer of the policy engine, as text that people read: one text a policy.

Texts are made once a distinct answer, never once a connection.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import polars as pl

from ..attribution.policies import Judgement


def label(policy: Mapping[str, Any]) -> str:
    """One responsible policy: `NetworkPolicy shop/web rule 2 allow`."""
    name = f"{policy['namespace']}/{policy['name']}" if policy["namespace"] else str(policy["name"])
    rule = f" rule {policy['rule']}" if policy["rule"] is not None else ""
    near = f" (near miss: rule {policy['near_miss_rule']})" if policy["near_miss_rule"] is not None else ""
    return f"{policy['kind']} {name}{rule} {policy['effect']}{near}"


def labels_of(judgement: Judgement, effects: Collection[str]) -> pl.Series:
    """By row of `judgement.sides`: the labels of the policies with one of these effects, in the order of asking."""
    return pl.Series(
        "responsible",
        [
            [label(policy) for policy in policies if policy["effect"] in effects]
            for policies in judgement.sides["policies"].to_list()
        ],
        dtype=pl.List(pl.String),
    )
