"""Compiled policies of one snapshot, and what they say of connections.

The invariant: whatever the number of rows, each distinct question is evaluated once. Both directions are judged apart,
and a connection is allowed where neither denies it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl

from ...inventory.models import Resource, identity_of
from ...inventory.snapshot import Snapshot
from .classes import point
from .evaluation import ALLOWED, VERDICTS, Questions, evaluate
from .identities import Identities, identities_of
from .matcher import Matcher
from .readers import not_judged, read
from .side import REFERENCES, Side, compile_side, ordered
from .terms import Direction

PAIR: Final = (
    "src_id",
    "dst_id",
    "src_hi",
    "src_lo",
    "backend_hi",
    "backend_lo",
    "backend_port",
    "protocol",
)
"""What makes two connections alike: columns as `flows.attribute` and `collector.schema.FLOWS` name them."""

SIDE_VERDICT: Final[pl.Enum] = pl.Enum(VERDICTS)
VERDICT: Final[pl.Enum] = pl.Enum(["allowed", "denied"])
POLICIES: Final[pl.List] = pl.List(pl.Struct(REFERENCES))
SIDES: Final = {"egress": "egress", "ingress": "ingress_policy"}
"""Direction and the column of its answers."""

_QUESTION: Final = ("subject", "peer", "peer_class", "port_class", "point", "destination", "exempt")


@dataclass(frozen=True)
class Judgement:
    """What policies say of each row, by number, and what the numbers mean."""

    rows: pl.DataFrame
    """`verdict` (VERDICT), `egress` and `ingress_policy` (UInt32: rows of `sides`), in the order of the rows judged.
    All are null where a Service was dialled and the backend, which policies are about, is not known."""
    sides: pl.DataFrame
    """Distinct answers: `verdict` (SIDE_VERDICT) and `policies` (POLICIES)."""

    def structs(self) -> pl.DataFrame:
        """`verdict`, and `egress` and `ingress_policy` as structs {verdict, policies}."""
        answers = pl.lit(self.sides.to_struct())
        return self.rows.select(
            pl.col("verdict"), *(answers.gather(pl.col(column)).alias(column) for column in SIDES.values())
        )


class Policies:
    """The policies of one snapshot. Immutable, and safe to share between threads."""

    def __init__(self, objects: Iterable[Resource], snapshot: Snapshot) -> None:
        objects = list({(type(item), *identity_of(item)): item for item in objects}.values())
        self._identities: Identities = identities_of(snapshot, objects)
        self._is_service = snapshot.endpoints["kind"] == "Service"
        self.not_judged = not_judged(objects)
        """Kind, namespace and name of policies of kinds that are not understood."""
        policies = ordered(list(read(objects)))
        self._sides: dict[Direction, Side] = {}
        self._matchers: dict[Direction, Matcher] = {}
        for direction in ("egress", "ingress"):
            mine = [policy for policy in policies if policy.direction == direction]
            side = compile_side(mine, self.not_judged, self._identities)
            self._sides[direction] = side
            self._matchers[direction] = Matcher(side.rules, self._identities)

    def judge(self, pairs: pl.DataFrame) -> pl.DataFrame:
        """`verdict`, `egress` and `ingress_policy` of each row of `pairs` (columns `PAIR`), in order."""
        return self.judgement(pairs).structs()

    def judgement(self, pairs: pl.DataFrame) -> Judgement:
        """The same by number, for many rows: the structs of 10 million flows are better never made."""
        distinct = pairs.select(PAIR).unique()
        columns: list[pl.Series] = []
        answers: list[pl.DataFrame] = []
        for direction, column in SIDES.items():
            numbers, sides = self._ask(direction, distinct)  # type: ignore[arg-type]  # a key of SIDES is a Direction
            columns.append((numbers + sum(part.height for part in answers)).cast(pl.UInt32).alias(column))
            answers.append(sides)
        sides = pl.concat(answers)
        is_denied = pl.lit(sides["verdict"] == "denied")
        judged = distinct.with_columns(columns).with_columns(
            pl.when(is_denied.gather("egress") | is_denied.gather("ingress_policy"))
            .then(pl.lit("denied", dtype=VERDICT))
            .otherwise(pl.lit("allowed", dtype=VERDICT))
            .alias("verdict")
        )
        outputs = ("verdict", *SIDES.values())
        unknown = pl.lit(self._is_service).gather("dst_id")
        judged = judged.with_columns(pl.when(~unknown).then(pl.col(name)).alias(name) for name in outputs)
        rows = pairs.select(PAIR).join(judged, on=PAIR, how="left", maintain_order="left", nulls_equal=True)
        return Judgement(rows.select(outputs), sides)

    def _ask(self, direction: Direction, pairs: pl.DataFrame) -> tuple[pl.Series, pl.DataFrame]:
        """The number of each pair's answer, and the distinct answers."""
        questions = self._questions(direction, pairs)
        distinct = questions.unique(maintain_order=True).with_row_index("question")
        side, matcher = self._sides[direction], self._matchers[direction]
        asked = {name: distinct[name].to_numpy() for name in _QUESTION}
        answers = evaluate(side, matcher, Questions(*(asked[name] for name in _QUESTION[:-1])))
        exempt = asked["exempt"]
        verdicts = np.where(exempt, np.uint8(ALLOWED), answers.verdicts)
        counted = ~exempt[answers.positions]
        named = pl.DataFrame(
            {"question": answers.positions[counted].astype(np.uint32), "reference": answers.references[counted]}
        )
        lists = named.group_by("question", maintain_order=True).agg("reference")
        distinct = distinct.with_columns(verdict=pl.Series(verdicts)).join(
            lists, on="question", how="left", maintain_order="left"
        )
        distinct = distinct.with_columns(pl.col("reference").fill_null([]))
        sides = distinct.select("verdict", "reference").unique(maintain_order=True).with_row_index("answer")
        distinct = distinct.join(sides, on=["verdict", "reference"], how="left", maintain_order="left")
        numbers = questions.join(distinct, on=_QUESTION, how="left", maintain_order="left")["answer"]
        return numbers, _readable(sides, side.references)

    def _questions(self, direction: Direction, pairs: pl.DataFrame) -> pl.DataFrame:
        """What decides a pair in one direction: identities and classes. `exempt` is what never leaves a pod."""
        matcher = self._matchers[direction]
        src, dst = (self._identities.of_endpoint[pairs[end].to_numpy()] for end in ("src_id", "dst_id"))
        peer_side = "backend" if direction == "egress" else "src"
        subject, peer = (src, dst) if direction == "egress" else (dst, src)
        points = point(pairs["protocol"].to_numpy().astype(np.uint32), pairs["backend_port"].to_numpy())
        to_itself = (pairs["src_hi"] == pairs["backend_hi"]) & (pairs["src_lo"] == pairs["backend_lo"])
        return pl.DataFrame(
            {
                "subject": subject,
                "peer": peer,
                "peer_class": matcher.addresses.of(
                    pairs[f"{peer_side}_hi"].to_numpy(), pairs[f"{peer_side}_lo"].to_numpy()
                ),
                "port_class": matcher.ports.of(points),
                "point": points,
                "destination": dst,
                "exempt": to_itself | ((pairs["src_id"] == pairs["dst_id"]) & pl.Series(self._identities.is_pod[src])),
            }
        )


def compile_policies(objects: Iterable[Resource], snapshot: Snapshot) -> Policies:
    """Compile the policies among the objects that the snapshot was built from, pods, namespaces and nodes included."""
    return Policies(objects, snapshot)


def _readable(sides: pl.DataFrame, references: pl.DataFrame) -> pl.DataFrame:
    """Answers with names in place of references."""
    names = (
        sides.select("answer", "reference")
        .explode("reference")
        .drop_nulls()
        .with_columns(policy=pl.lit(references.to_struct()).gather("reference"))
        .group_by("answer", maintain_order=True)
        .agg("policy")
    )
    named = sides.join(names, on="answer", how="left", maintain_order="left")
    return named.select(
        pl.lit(pl.Series(VERDICTS)).gather("verdict").cast(SIDE_VERDICT).alias("verdict"),
        pl.col("policy").cast(POLICIES).fill_null(pl.lit([], dtype=POLICIES)).alias("policies"),
    )
