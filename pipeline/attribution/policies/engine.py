"""Compiled policies of one instant, and what they say of connections.

The invariant: whatever the number of rows, each distinct question is evaluated once. Both directions are judged apart,
and a connection is allowed where neither denies it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from ...inventory.models import Namespace, Resource, identity_of
from ...inventory.snapshot import Snapshot
from .classes import point
from .evaluation import ALLOWED, VERDICTS, Questions, evaluate
from .identities import Identities, identities_of, vocabulary_of
from .matcher import Matcher
from .profiles import Profiles
from .readers import not_judged, read_one
from .side import REFERENCES, Side, compile_side, ordered
from .terms import Direction, Policy

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
SIDES: Final[Mapping[Direction, str]] = {"egress": "egress", "ingress": "ingress_policy"}
"""Direction and the column of its answers."""

QUESTION_WORDS: Final = 3
"""How many 64-bit numbers decide what policies say of a pair, both directions together."""
_QUESTION: Final = ("subject", "peer", "peer_class", "port_class", "point", "destination", "exempt")

Reader = Callable[[Resource], Sequence[Policy]]


@dataclass(frozen=True)
class Judgement:
    """What policies say of each row, by number, and what the numbers mean."""

    rows: pl.DataFrame
    """`verdict` (VERDICT), `egress` and `ingress_policy` (UInt32: rows of `answers` and of `sides`), in the order of
    the rows judged. All are null where a Service was dialled and the backend that policies are about is not known."""
    answers: pl.DataFrame
    """Distinct answers: `direction`, `verdict` (UInt8: a number of `VERDICTS`) and `reference` (List of UInt32: rows
    of the direction's `references`)."""
    references: Mapping[Direction, pl.DataFrame]
    """By direction, what an answer can name: REFERENCES."""

    @cached_property
    def sides(self) -> pl.DataFrame:
        """The distinct answers with names: `verdict` (SIDE_VERDICT) and `policies` (POLICIES)."""
        return pl.concat(
            _readable(self.answers.filter(pl.col("direction") == direction), references)
            for direction, references in self.references.items()
        )

    def structs(self) -> pl.DataFrame:
        """`verdict`, and `egress` and `ingress_policy` as structs {verdict, policies}."""
        answers = pl.lit(self.sides.to_struct())
        return self.rows.select(
            pl.col("verdict"), *(answers.gather(pl.col(column)).alias(column) for column in SIDES.values())
        )


class Policies:
    """The policies of one instant, compiled for the endpoints that are known. Immutable; threads may share it."""

    def __init__(
        self,
        objects: Iterable[Resource],
        snapshot: Snapshot,
        profiles: Profiles,
        reader: Reader = read_one,
    ) -> None:
        objects = list({(type(item), *identity_of(item)): item for item in objects}.values())
        policies = ordered([policy for item in objects for policy in reader(item)])
        self.not_judged = not_judged(objects)
        """Kind, namespace and name of policies of kinds that are not understood."""
        self.written: Sequence[Policy] = policies
        """Every policy that takes part, a direction at a time, in the order in which they are asked."""
        self._namespace_labels = {
            item.metadata.name: item.metadata.labels or {} for item in objects if isinstance(item, Namespace)
        }
        self._compile(snapshot, identities_of(profiles, vocabulary_of(policies), self._namespace_labels))

    @property
    def identities(self) -> Identities:
        """Who the endpoints are to these policies."""
        return self._identities

    def side(self, direction: Direction) -> Side:
        """One direction, compiled."""
        return self._sides[direction]

    def matcher(self, direction: Direction) -> Matcher:
        """What the rules of one direction match."""
        return self._matchers[direction]

    def following(self, snapshot: Snapshot, profiles: Profiles) -> Policies:
        """The same policies for a later snapshot of the same numbering.

        An endpoint of a known identity costs nothing. A new identity has the tables built anew, from what was read.
        """
        later = object.__new__(Policies)
        later.not_judged, later.written = self.not_judged, self.written
        later._namespace_labels = self._namespace_labels
        identities = self._identities.following(profiles)
        if identities is None:
            identities = identities_of(profiles, self._identities.vocabulary, self._namespace_labels)
            later._compile(snapshot, identities)
        else:
            later._identities, later._is_service = identities, _is_service(snapshot)
            later._sides, later._matchers = self._sides, self._matchers
        return later

    def judge(self, pairs: pl.DataFrame) -> pl.DataFrame:
        """`verdict`, `egress` and `ingress_policy` of each row of `pairs` (columns `PAIR`), in order."""
        return self.judgement(pairs).structs()

    def judgement(self, pairs: pl.DataFrame) -> Judgement:
        """The same by number, for many rows: the structs of 10 million flows are better never made."""
        distinct = pairs.select(PAIR).unique()
        judged = self.ask(distinct)
        known = distinct.hstack(judged.rows)
        rows = pairs.select(PAIR).join(known, on=PAIR, how="left", maintain_order="left", nulls_equal=True)
        return Judgement(rows.select(judged.rows.columns), judged.answers, judged.references)

    def ask(self, distinct: pl.DataFrame) -> Judgement:
        """The same for rows of `PAIR` of which no two are alike."""
        columns: list[pl.Series] = []
        parts: list[pl.DataFrame] = []
        for direction, column in SIDES.items():
            numbers, answers = self._ask(direction, distinct)
            columns.append((numbers + sum(part.height for part in parts)).cast(pl.UInt32).alias(column))
            parts.append(answers)
        answers = pl.concat(parts)
        is_denied = pl.lit(answers["verdict"] == VERDICTS.index("denied"))
        is_any_denied = is_denied.gather("egress") | is_denied.gather("ingress_policy")
        is_open = pl.lit(self._is_service).gather(distinct["dst_id"]) if distinct.height else pl.lit(value=False)
        verdict = pl.when(is_any_denied).then(pl.lit("denied")).otherwise(pl.lit("allowed")).cast(VERDICT)
        rows = pl.DataFrame(columns).select(
            pl.when(~is_open).then(expression).alias(name)
            for name, expression in (("verdict", verdict), *((column, pl.col(column)) for column in SIDES.values()))
        )
        return Judgement(rows, answers, {direction: side.references for direction, side in self._sides.items()})

    def _compile(self, snapshot: Snapshot, identities: Identities) -> None:
        self._identities = identities
        self._is_service = _is_service(snapshot)
        self._sides: dict[Direction, Side] = {}
        self._matchers: dict[Direction, Matcher] = {}
        for direction in SIDES:
            mine = [policy for policy in self.written if policy.direction == direction]
            side = compile_side(mine, self.not_judged, identities)
            self._sides[direction] = side
            self._matchers[direction] = Matcher(side.rules, identities)

    def _ask(self, direction: Direction, pairs: pl.DataFrame) -> tuple[pl.Series, pl.DataFrame]:
        """The number of each pair's answer, and the distinct answers."""
        questions = self.questions(direction, pairs)
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
        return numbers, sides.select(pl.lit(direction).alias("direction"), "verdict", "reference")

    def words(self, pairs: pl.DataFrame) -> list[npt.NDArray[np.uint64]]:
        """What decides each pair (columns `PAIR`), as QUESTION_WORDS numbers: pairs alike in them are answered alike.

        The numbers mean something only together with the `numbers` of these `identities`.
        """
        of_endpoint = self._identities.of_endpoint
        sources, destinations = pairs["src_id"].to_numpy(), pairs["dst_id"].to_numpy()
        src, dst = of_endpoint.take(sources), of_endpoint.take(destinations)
        halves = {name: pairs[name].to_numpy() for name in ("src_hi", "src_lo", "backend_hi", "backend_lo")}
        is_itself = (halves["src_hi"] == halves["backend_hi"]) & (halves["src_lo"] == halves["backend_lo"])
        is_itself |= (sources == destinations) & self._identities.is_pod.take(src)
        is_service = self._is_service.to_numpy().take(destinations)
        ports = point(pairs["protocol"].to_numpy().astype(np.uint32), pairs["backend_port"].to_numpy())
        flags = is_itself.astype(np.uint32) | (is_service.astype(np.uint32) << np.uint32(1))
        return [
            _joined(src, dst),
            _joined(
                self._matchers["egress"].addresses.of(halves["backend_hi"], halves["backend_lo"]),
                self._matchers["ingress"].addresses.of(halves["src_hi"], halves["src_lo"]),
            ),
            _joined(flags, ports),
        ]

    def questions(self, direction: Direction, pairs: pl.DataFrame) -> pl.DataFrame:
        """What decides each pair in one direction: identities and classes. `exempt` is what never leaves a pod."""
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
    """Compile the policies among the objects that the snapshot was built from, namespaces included."""
    profiles = Profiles()
    profiles.see(snapshot)
    return Policies(objects, snapshot, profiles)


def _joined(high: npt.NDArray[Any], low: npt.NDArray[Any]) -> npt.NDArray[np.uint64]:
    """Two numbers below 2^32 in one."""
    joined: npt.NDArray[np.uint64] = (high.astype(np.uint64) << np.uint64(32)) | low.astype(np.uint64)
    return joined


def _is_service(snapshot: Snapshot) -> pl.Series:
    """By endpoint id."""
    return snapshot.endpoints["kind"] == "Service"


def _readable(answers: pl.DataFrame, references: pl.DataFrame) -> pl.DataFrame:
    """Answers with names in place of references."""
    numbered = answers.with_row_index("answer")
    names = (
        numbered.select("answer", "reference")
        .explode("reference")
        .drop_nulls()
        .with_columns(policy=pl.lit(references.to_struct()).gather("reference"))
        .group_by("answer", maintain_order=True)
        .agg("policy")
    )
    named = numbered.join(names, on="answer", how="left", maintain_order="left")
    return named.select(
        pl.lit(pl.Series(VERDICTS)).gather("verdict").cast(SIDE_VERDICT).alias("verdict"),
        pl.col("policy").cast(POLICIES).fill_null(pl.lit([], dtype=POLICIES)).alias("policies"),
    )
