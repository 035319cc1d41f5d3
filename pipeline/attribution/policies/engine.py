"""Compiled policies of one instant, and what they say of connections.

The invariant: whatever the number of rows, each distinct question is evaluated once. Both directions are judged apart,
and a connection is allowed where neither denies it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from ...inventory.identities import latest
from ...inventory.models import Namespace, Resource
from ...inventory.snapshot import Snapshot
from .. import arrays
from ..keyindex import distinct
from ..lookups import lookups_of
from .evaluation import ALLOWED, DENIED, VERDICTS, Questions, evaluate
from .identities import Identities, identities_of, vocabulary_of
from .likeness import likeness_of
from .lists import Lists, distinct_lists
from .matcher import Matcher
from .pairs import Homes, Packing, Pairs, pairs_of
from .profiles import Profiles
from .readers import read_one
from .side import REFERENCES, Side, compile_side, ordered
from .strangers import strangers_of
from .terms import Direction, Pods, Policy

SIDE_VERDICT: Final[pl.Enum] = pl.Enum(VERDICTS)
VERDICT: Final[pl.Enum] = pl.Enum(["allowed", "denied"])
NO_VERDICT: Final = np.uint8(255)
"""In place of a code of VERDICT."""
POLICIES: Final[pl.List] = pl.List(pl.Struct(REFERENCES))
SIDES: Final[Mapping[Direction, str]] = {"egress": "egress", "ingress": "ingress_policy"}
"""Direction and the column of its answers."""

Reader = Callable[[Resource], Sequence[Policy]]


@dataclass(frozen=True)
class SideAnswers:
    """Distinct answers of one direction."""

    verdicts: npt.NDArray[np.uint8]
    """By answer: a number of `VERDICTS`."""
    references: Lists
    """By answer: rows of the direction's `references`."""


@dataclass(frozen=True)
class Judgement:
    """What policies say of each row, by number, and what the numbers mean."""

    verdicts: npt.NDArray[np.uint8]
    """By row: a code of VERDICT, or NO_VERDICT where a Service was dialled and the backend that policies are about is
    not known."""
    said: Mapping[Direction, npt.NDArray[np.uint32]]
    """By direction and row: a row of `distinct`."""
    distinct: Mapping[Direction, SideAnswers]
    references: Mapping[Direction, pl.DataFrame]
    """By direction, what an answer can name: REFERENCES."""

    def at(self, places: npt.NDArray[np.integer]) -> Judgement:
        """What is said of rows that are alike those at these places."""
        said = {direction: numbers[places] for direction, numbers in self.said.items()}
        return replace(self, verdicts=self.verdicts[places], said=said)

    @cached_property
    def rows(self) -> pl.DataFrame:
        """`verdict` (VERDICT), `egress` and `ingress_policy` (UInt32: rows of `answers` and of `sides`), in the order
        of the rows judged. All are null where there is no verdict."""
        is_judged = self.verdicts != NO_VERDICT
        columns = [arrays.enumerated(self.verdicts, VERDICT, is_judged).alias("verdict")]
        first = 0
        for direction, column in SIDES.items():
            columns.append(arrays.nullable(self.said[direction] + np.uint32(first), is_judged).alias(column))
            first += self.distinct[direction].verdicts.size
        return pl.DataFrame(columns)

    @cached_property
    def answers(self) -> pl.DataFrame:
        """Distinct answers: `direction`, `verdict` (UInt8: a number of `VERDICTS`) and `reference` (List of UInt32:
        rows of the direction's `references`)."""
        return pl.concat(
            pl.DataFrame({"verdict": answers.verdicts, "reference": answers.references.to_series()}).select(
                pl.lit(direction).alias("direction"), "verdict", "reference"
            )
            for direction, answers in self.distinct.items()
        )

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
        objects = latest(objects)
        policies = ordered([policy for item in objects for policy in reader(item)])
        self.not_judged = strangers_of(objects)
        """Policies that are not understood."""
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
            later._sides, later._matchers, later.likeness = self._sides, self._matchers, self.likeness
            later._know(snapshot, identities)
        return later

    def judge(self, pairs: pl.DataFrame) -> pl.DataFrame:
        """`verdict`, `egress` and `ingress_policy` of each row of `pairs` (columns `PAIR`), in order."""
        return self.judgement(pairs).structs()

    def judgement(self, pairs: pl.DataFrame) -> Judgement:
        """The same by number, for many rows: the structs of 10 million flows are better never made."""
        asked = pairs_of(pairs)
        numbers, first = distinct(list(self.packing.words(asked).T))
        return self.ask(asked.at(first)).at(numbers)

    def ask(self, pairs: Pairs) -> Judgement:
        """The same, each row evaluated by itself, whether there is one like it or not."""
        said: dict[Direction, npt.NDArray[np.uint32]] = {}
        found: dict[Direction, SideAnswers] = {}
        is_denied = np.zeros(len(pairs), dtype=np.bool_)
        for direction in SIDES:
            said[direction], found[direction] = self._ask(direction, pairs)
            is_denied |= found[direction].verdicts.take(said[direction]) == DENIED
        verdicts = np.where(self._is_service.take(pairs.dst_id), NO_VERDICT, is_denied.astype(np.uint8))
        references = {direction: side.references for direction, side in self._sides.items()}
        return Judgement(verdicts, said, found, references)

    def may_be_overruled(self, pairs: Pairs) -> npt.NDArray[np.bool_]:
        """Of which connections the dataplane may know better, by a policy that is not understood."""
        found = np.zeros(len(pairs), dtype=np.bool_)
        ends: Mapping[Direction, npt.NDArray[np.uint32]] = {"egress": pairs.src_id, "ingress": pairs.dst_id}
        for stranger in self.not_judged:
            concerned = self._identities.select(Pods(stranger.reach, (), ()))
            for direction, ids in ends.items():
                if stranger.may_overrule and stranger.may_concern(direction):
                    found |= concerned.take(self._identities.of_endpoint.take(ids))
        return found

    def _compile(self, snapshot: Snapshot, identities: Identities) -> None:
        self._sides: dict[Direction, Side] = {}
        self._matchers: dict[Direction, Matcher] = {}
        for direction in SIDES:
            mine = [policy for policy in self.written if policy.direction == direction]
            strangers = [stranger for stranger in self.not_judged if stranger.may_concern(direction)]
            side = compile_side(mine, strangers, identities)
            self._sides[direction] = side
            self._matchers[direction] = Matcher(side.rules, identities)
        self.likeness = likeness_of(identities, self._sides, self._matchers)
        self._know(snapshot, identities)

    def _know(self, snapshot: Snapshot, identities: Identities) -> None:
        """Take in the endpoints that there are."""
        self._identities = identities
        self._is_pod = identities.is_pod.take(identities.of_endpoint)
        self._is_service = _is_service(snapshot)
        self._hosts = lookups_of(snapshot).hosts
        addresses = {direction: matcher.addresses for direction, matcher in self._matchers.items()}
        self.packing = Packing(identities, self.likeness, self._is_service, addresses, Homes.of(snapshot), self._hosts)

    def _ask(self, direction: Direction, pairs: Pairs) -> tuple[npt.NDArray[np.uint32], SideAnswers]:
        """The number of each pair's answer, and the distinct answers."""
        questions, is_exempt = self._questions(direction, pairs)
        answers = evaluate(self._sides[direction], self._matchers[direction], questions)
        verdicts = np.where(is_exempt, np.uint8(ALLOWED), answers.verdicts)
        is_named = ~is_exempt[answers.positions]
        lengths = np.bincount(answers.positions[is_named], minlength=len(pairs))
        references = Lists(np.concatenate([[0], np.cumsum(lengths)]), answers.references[is_named].astype(np.uint32))
        numbers, first = distinct_lists(verdicts, references)
        return numbers.astype(np.uint32), SideAnswers(verdicts[first], references.at(first))

    def questions(self, direction: Direction, pairs: pl.DataFrame) -> pl.DataFrame:
        """What decides each pair in one direction: identities and classes. `exempt` is what never leaves a pod."""
        questions, is_exempt = self._questions(direction, pairs_of(pairs))
        names = ("subject", "peer", "peer_class", "port_class", "point", "destination", "from_own_node")
        return pl.DataFrame({**dict(zip(names, vars(questions).values(), strict=True)), "exempt": is_exempt})

    def _questions(self, direction: Direction, pairs: Pairs) -> tuple[Questions, npt.NDArray[np.bool_]]:
        matcher, of_endpoint = self._matchers[direction], self._identities.of_endpoint
        src, dst = of_endpoint.take(pairs.src_id), of_endpoint.take(pairs.dst_id)
        points = pairs.points()
        subjects, peers, hi, lo = (
            (src, dst, pairs.backend_hi, pairs.backend_lo)
            if direction == "egress"
            else (dst, src, pairs.src_hi, pairs.src_lo)
        )
        own = np.zeros(len(pairs), np.bool_)
        if direction == "ingress":
            own[self._hosts.from_own_nodes(pairs.src_id, pairs.dst_id)] = True
        questions = Questions(subjects, peers, matcher.addresses.of(hi, lo), matcher.ports.of(points), points, dst, own)
        return questions, pairs.to_themselves(self._is_pod)


def compile_policies(objects: Iterable[Resource], snapshot: Snapshot) -> Policies:
    """Compile the policies among the objects that the snapshot was built from, namespaces included."""
    profiles = Profiles()
    profiles.see(snapshot)
    return Policies(objects, snapshot, profiles)


def _is_service(snapshot: Snapshot) -> npt.NDArray[np.bool_]:
    """By endpoint id."""
    return (snapshot.endpoints["kind"] == "Service").to_numpy()


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
