"""What each rule was good for in the record, and how much more it allows than was ever used.

A rule is used where it matches a recorded pair, decided or not, also as its backend saw it: a node in place of the
source that it masqueraded. `decided` counts the connections of which it is named as responsible. The invariant: a rule
that matched nothing is in the output too, with zeros: it is what is looked for.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl

from ..attribution.policies import Policies
from ..attribution.policies.engine import SIDES
from ..attribution.policies.terms import Action, Addresses, Direction, Pods, Ports, Rule
from ..inventory.snapshot import Snapshot
from .ends import living
from .masqueraded import as_backends_saw
from .matches import matched_rules

RULES: Final = pl.Schema(
    {
        "direction": pl.String(),
        "kind": pl.String(),
        "namespace": pl.String(),
        "name": pl.String(),
        "rule": pl.String(),
        "effect": pl.String(),
    }
)
"""What names a rule."""

LEAST_ADDRESSES: Final = 256
LEAST_WORKLOADS: Final = 4
LEAST_PORTS: Final = 100
_USED_PART: Final = 0.1
"""A rule is over-broad where it allows at least so many, and at most this part of them (half of workloads) was used."""

_EVERY_ADDRESS: Final = 1 << 32


def rules_of(policies: Policies) -> pl.DataFrame:
    """Every rule of both directions, `RULES`, and `number`, in the order in which they are asked."""
    rows = []
    for direction in SIDES:
        side = policies.side(direction)
        for number, named in enumerate(side.references.head(len(side.rules)).iter_rows(named=True)):
            rows.append((direction, *(named[key] for key in RULES.names()[1:]), number))
    return pl.DataFrame(rows, schema={**RULES, "number": pl.UInt32()}, orient="row")


def usage(policies: Policies, snapshot: Snapshot, pairs: pl.DataFrame) -> pl.DataFrame:
    """Every rule with `pairs`, `connections`, `bytes`, `last_seen` of what it matched and the `decided` connections.

    Of rules that allow, `addresses_allowed`, `workloads_allowed` and `ports_allowed` are what the rule names today
    (null: everything, or nothing of the kind), and `..._used` what the record shows of it.
    """
    parts = [_of_direction(policies, direction, snapshot, pairs) for direction in SIDES]
    return rules_of(policies).join(pl.concat(parts), on=["direction", "number"], how="left", maintain_order="left")


def over_broad() -> pl.Expr:
    """Of `usage`: texts that say what a rule allows far beyond what was used; none where nothing was used."""
    is_used = (pl.col("connections") > 0) & (pl.col("effect") == "allow")
    findings = [
        _finding("addresses", LEAST_ADDRESSES, _USED_PART, is_used),
        _finding("workloads", LEAST_WORKLOADS, 0.5, is_used),
        _finding("ports", LEAST_PORTS, _USED_PART, is_used),
    ]
    return pl.concat_list(findings).list.drop_nulls()


def _finding(what: str, least: int, part: float, is_used: pl.Expr) -> pl.Expr:
    allowed, used = pl.col(f"{what}_allowed"), pl.col(f"{what}_used")
    is_broad = is_used & (allowed >= least) & (used <= allowed * part)
    return pl.when(is_broad).then(pl.format(f"{{}} of {{}} {what} used", used, allowed))


def _of_direction(policies: Policies, direction: Direction, snapshot: Snapshot, pairs: pl.DataFrame) -> pl.DataFrame:
    peer, peer_end = ("destination", "backend") if direction == "egress" else ("source", "src")
    side = policies.side(direction)
    asked = pairs.with_row_index("pair").drop("seen_as")
    if direction == "ingress":
        asked = pl.concat([asked, as_backends_saw(pairs).select(asked.columns)])
    rows = matched_rules(policies, direction, asked).rename({"pair": "row"})
    matched = rows.join(asked.with_row_index("row"), on="row", how="left", maintain_order="left")
    matched = matched.unique(["pair", "rule"], keep="first", maintain_order=True)
    within = _in_ranges(policies, direction, matched, peer_end)
    is_external = pl.col(f"{peer}_kind") != "Pod"
    used = (
        matched.with_columns(within=within)
        .group_by(pl.col("rule").alias("number"))
        .agg(
            pairs=pl.len().cast(pl.Int64),
            connections=pl.col("connections").sum(),
            bytes=pl.col("bytes").sum(),
            last_seen=pl.col("last").max(),
            addresses_used=pl.struct(f"{peer_end}_hi", f"{peer_end}_lo").filter("within").n_unique().cast(pl.Int64),
            workloads_used=pl.struct(f"{peer}_namespace", f"{peer}_workload_kind", f"{peer}_workload")
            .filter(~is_external)
            .n_unique()
            .cast(pl.Int64),
            ports_used=pl.struct("port", "protocol").n_unique().cast(pl.Int64),
        )
    )
    allowed = [_allowed(rule, number, policies, direction, snapshot) for number, rule in enumerate(side.rules)]
    schema = {"number": pl.UInt32, **{f"{w}_allowed": pl.Int64 for w in ("addresses", "workloads", "ports")}}
    rows = pl.DataFrame(allowed, schema=schema, orient="row").join(used, on="number", how="left", maintain_order="left")
    decided = _decided(policies, direction, pairs)
    counts = ("pairs", "connections", "bytes", "decided", "addresses_used", "workloads_used", "ports_used")
    return rows.join(decided, on="number", how="left", maintain_order="left").select(
        pl.lit(direction).alias("direction"),
        "number",
        *(pl.col(name).fill_null(0) for name in counts[:3]),
        "last_seen",
        pl.col("decided").fill_null(0),
        *(
            pl.when(pl.col(f"{what}_allowed").is_not_null())
            .then(pl.col(f"{what}_used").fill_null(0))
            .alias(f"{what}_used")
            for what in ("addresses", "workloads", "ports")
        ),
        *(f"{what}_allowed" for what in ("addresses", "workloads", "ports")),
    )


def _decided(policies: Policies, direction: Direction, pairs: pl.DataFrame) -> pl.DataFrame:
    """By rule number, the connections of which it is named as responsible."""
    judgement = policies.judgement(pairs)
    named = judgement.answers.with_row_index("answer").select("answer", "reference").explode("reference").drop_nulls()
    asked = judgement.rows.select(pl.col(SIDES[direction]).alias("answer")).hstack(pairs.select("connections"))
    first_of_other = len(policies.side(direction).rules)
    return (
        asked.join(named, on="answer", how="inner")
        .filter(pl.col("reference") < first_of_other)
        .group_by(pl.col("reference").cast(pl.UInt32).alias("number"))
        .agg(decided=pl.col("connections").sum())
    )


def _allowed(
    rule: Rule, number: int, policies: Policies, direction: Direction, snapshot: Snapshot
) -> tuple[int, int | None, int | None, int | None]:
    """Number, addresses, workloads and ports that the rule names; of rules that deny or pass, nothing."""
    if rule.action != Action.ALLOW:
        return number, None, None, None
    addresses = [term for term in rule.peers or () if isinstance(term, Addresses)]
    span = sum(term.network.num_addresses - sum(part.num_addresses for part in term.excluded) for term in addresses)
    ports = [term for term in rule.ports or () if isinstance(term, Ports)]
    return (
        number,
        min(span, _EVERY_ADDRESS) if addresses else None,
        _workloads(rule, policies, snapshot),
        sum(term.last - max(term.first, 1) + 1 for term in ports) if ports else None,
    )


def _workloads(rule: Rule, policies: Policies, snapshot: Snapshot) -> int | None:
    """How many workloads have pods now that the rule's selectors select."""
    terms = [term for term in rule.peers or () if isinstance(term, Pods)]
    if not terms:
        return None
    identities = policies.identities
    selected = np.logical_or.reduce([identities.select(term) for term in terms])
    alive = snapshot.endpoints.join(living(snapshot).select("id").unique(), on="id", how="semi", maintain_order="left")
    mine = alive.filter(pl.Series(selected[identities.of_endpoint[alive["id"].to_numpy()]]))
    return mine.select("namespace", "workload_kind", "workload").n_unique()


def _in_ranges(policies: Policies, direction: Direction, matched: pl.DataFrame, end: str) -> pl.Series:
    """Row by row of `matched`: whether the peer's address is in one of the address ranges that the rule names."""
    matcher = policies.matcher(direction)
    classes = matcher.addresses.of(matched[f"{end}_hi"].to_numpy(), matched[f"{end}_lo"].to_numpy())
    return pl.Series("within", matcher.match_ranges(matched["rule"].to_numpy(), classes), dtype=pl.Boolean)
