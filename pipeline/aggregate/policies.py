"""The policy metrics of the catalogue: traffic by responsible policy, how far policies cover it, and mismatches.

Takes flows as `PolicyTimeline.judge` and `MismatchFinder.mark` leave them. The invariant: of each direction a flow is
under every policy that is responsible for it, and in the coverage of its pod once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ..attribution import arrays, with_labels
from ..attribution.keyindex import distinct
from ..attribution.lookups import lookups_of
from ..attribution.policies import PolicyTimeline
from ..attribution.policies.answers import COVERAGE, DIRECTION, AnswerBook
from ..attribution.policies.engine import SIDE_VERDICT
from ..attribution.policies.mismatches import MISMATCH
from ..catalog import COVERED, PAIR, POLICY
from ..inventory.snapshot import Snapshot
from ..kept import Kept
from .policy_state import PolicyState
from .rollups import Measure, both_ways, canonical, ends_as, measures_of, workload_ids
from .samples import Samples
from .totals import Totals
from .views import Plain, View

Numbers = NDArray[np.uint32]

_MEASURES: Final = ("bytes", "connections")
_SIDES: Final = {"egress": ("src_id", "egress"), "ingress": ("dst_id", "ingress_policy")}
"""By direction: the end that its policies select, and the column of its answer."""


class PolicyMetrics:
    """A family of metrics; `families.Family` tells what is called when."""

    def __init__(self, policies: PolicyTimeline) -> None:
        self._policies = policies
        self._state = PolicyState(policies)
        self._by_policy = Totals(("reference", "verdict"), POLICY, _MEASURES)
        self._coverage = Totals(("src_id", "direction", "coverage"), COVERED, ("bytes",))
        self._mismatches = Totals(("mismatch", "src_id", "dst_id"), ("mismatch", *PAIR), ("connections",))
        self._views: tuple[View, ...] = (
            Plain("flowatlas_policy_bytes_total", self._by_policy, "bytes"),
            Plain("flowatlas_policy_connections_total", self._by_policy, "connections"),
            Plain("flowatlas_policy_coverage_bytes_total", self._coverage, "bytes"),
            Plain("flowatlas_policy_mismatch_connections_total", self._mismatches, "connections"),
        )
        self._snapshot: Snapshot | None = None
        self._book: AnswerBook | None = None
        self._workloads = pl.Series()
        self._is_pod = np.zeros(0, np.bool_)
        """By endpoint id."""

    def use(self, snapshot: Snapshot) -> None:
        """Take ids to be those of `snapshot` from now on."""
        if snapshot is self._snapshot:
            return
        if self._snapshot is None or snapshot.numbering is not self._snapshot.numbering:
            self._coverage.forget_ids()
            self._mismatches.forget_ids()
        self._snapshot = snapshot
        self._workloads = workload_ids(snapshot)
        self._is_pod = lookups_of(snapshot).is_pod.to_numpy()

    def add(self, flows: pl.DataFrame) -> None:
        """Add the mismatches among flows that were judged and marked under the snapshot in use."""
        if flows["mismatch"].null_count() == flows.height:
            return
        rows = np.flatnonzero(arrays.is_there(flows["mismatch"]))
        marked = arrays.taken(flows, rows, "mismatch", "src_id", "dst_id")
        ids = {"mismatch": marked["mismatch"], **ends_as(marked, self._workloads)}
        self._mismatches.count(ids, {"connections": np.ones(rows.size, np.uint64)}, self._name_pairs)

    def add_sums(self, sums: pl.DataFrame) -> None:
        """Add sums of flows that were judged under the snapshot in use; or flows, of which the canonical ones count."""
        if self._book is not self._policies.book:
            self._by_policy.forget_ids()
            self._book = self._policies.book
        if "role" in sums.columns:
            sums = canonical(sums)
        ends = ends_as(sums, self._workloads)
        answers = np.concatenate([arrays.ids(sums[column]) for _, column in _SIDES.values()])
        subjects = np.concatenate([ends[end].to_numpy() for end, _ in _SIDES.values()])
        bytes_, opened = both_ways(sums), measures_of(sums, "opened")["opened"]
        judged = np.flatnonzero(answers != arrays.NO_ID)
        if judged.size:
            answers, subjects = answers.take(judged), subjects.take(judged)
            measures = {"bytes": np.tile(bytes_, 2).take(judged), "connections": np.tile(opened, 2).take(judged)}
            self._count_policies(answers, measures)
            self._count_coverage(answers, subjects, measures["bytes"])

    def _count_policies(self, answers: Numbers, measures: Mapping[str, Measure]) -> None:
        """Count under all that is responsible: what is alike in its answer is counted at once."""
        numbers, first = distinct([answers])
        sums = {measure: np.zeros(first.size, np.uint64) for measure in measures}
        for measure, values in measures.items():
            np.add.at(sums[measure], numbers, values)
        book, answers = self._policies.book, answers.take(first)
        rows, references = book.responsible.expand(answers)
        if rows.size:
            verdicts = arrays.enumerated(book.verdicts.take(answers.take(rows)), SIDE_VERDICT)
            ids = {"reference": pl.Series(references), "verdict": verdicts}
            self._by_policy.count(
                ids, {measure: values.take(rows) for measure, values in sums.items()}, self._name_policies
            )

    def _count_coverage(self, answers: Numbers, subjects: Numbers, bytes_: Measure) -> None:
        pods = np.flatnonzero(self._is_pod.take(subjects))
        if pods.size:
            book, answers = self._policies.book, answers.take(pods)
            ids = {
                "src_id": pl.Series(subjects.take(pods)),
                "direction": arrays.enumerated(book.directions.take(answers), DIRECTION),
                "coverage": arrays.enumerated(book.coverages.take(answers), COVERAGE),
            }
            self._coverage.count(ids, {"bytes": bytes_.take(pods)}, self._name_workloads)

    def kept(self) -> Mapping[str, Kept]:
        """The totals."""
        return {"by_policy": self._by_policy, "coverage": self._coverage, "mismatches": self._mismatches}

    def samples(self) -> list[Samples]:
        """Every policy metric with its values as they are now; what the cluster's state tells once it is known."""
        state = [] if self._snapshot is None else self._state.samples(self._snapshot)
        return [*(view.samples() for view in self._views), *state]

    def _name_policies(self, ids: pl.DataFrame) -> pl.DataFrame:
        assert self._book is not None  # noqa: S101 - `add` has set it
        named = pl.lit(self._book.references.to_struct())
        return ids.select(
            pl.col("verdict").cast(SIDE_VERDICT).cast(pl.String), named.gather("reference").alias("named")
        ).select(
            "verdict",
            pl.col("named").struct.field("kind").alias("policy_kind"),
            pl.col("named").struct.field("namespace").fill_null("").alias("policy_namespace"),
            pl.col("named").struct.field("name").alias("policy"),
            pl.col("named").struct.field("rule").fill_null("").alias("rule"),
            pl.col("named").struct.field("direction").cast(pl.String).alias("direction"),
        )

    def _name_workloads(self, ids: pl.DataFrame) -> pl.DataFrame:
        named = with_labels(ids.lazy(), self._require_snapshot()).collect()
        return named.select(
            pl.col("source_namespace").alias("namespace"),
            pl.col("source_workload").alias("workload"),
            pl.col("source_workload_kind").alias("workload_kind"),
            pl.col("direction").cast(DIRECTION).cast(pl.String),
            pl.col("coverage").cast(COVERAGE).cast(pl.String),
        )

    def _name_pairs(self, ids: pl.DataFrame) -> pl.DataFrame:
        named = with_labels(ids.lazy(), self._require_snapshot()).collect()
        return named.with_columns(pl.col("mismatch").cast(MISMATCH).cast(pl.String))

    def _require_snapshot(self) -> Snapshot:
        if self._snapshot is None:
            raise RuntimeError("use(snapshot) comes before add(flows)")
        return self._snapshot
