"""The oracle of the fault tests: every flow that was made, and whether it is told once, to row, byte and identity.

It knows nothing of how the pipeline counts. The invariant, which `reconcile` holds a run against: what was made is in
the metrics and in the history exactly once, or in a counter of what was lost.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
from prometheus_client.parser import text_string_to_metric_families

from collector.schema import FLOWS, OUTCOMES, UTF8, Batch, encode
from pipeline.inventory.addresses import parse
from pipeline.query import scan_flows
from tests.pipeline.shipments import NOW, SECOND

SOURCES: Final = {"node-a": "10.0.1.5", "node-b": "10.0.2.5"}
"""A pod of each node, as tests/pipeline/small_cluster.py has them."""
_SERVICES: Final = (("10.96.0.7", "10.0.2.7", 5432), ("10.96.0.5", "10.0.1.5", 80))
_REFUSED: Final = OUTCOMES.index("refused")
_OUTCOMES: Final = (OUTCOMES.index("open"), OUTCOMES.index("closed"), _REFUSED)


class Ledger:
    """Makes batches of flows by a seed, each flow with an identity of its own, and remembers what they come to."""

    def __init__(
        self, seed: int, rows: int = 20, restarts: float = 0.02, nodes: tuple[str, ...] = tuple(SOURCES)
    ) -> None:
        """A batch has up to `rows`; before a share `restarts` of them their collector began anew."""
        self._nodes = nodes
        self._chance = random.Random(seed)
        self._columns_chance = np.random.default_rng(seed)
        self._rows = rows
        self._restarts = restarts
        self._refused_of: dict[bytes, int] = {}
        self._seq = Counter[tuple[str, int]]()
        self._epoch = dict.fromkeys(SOURCES, 1)
        self.batches = self.rows = self.bytes = self.refused = 0
        self.again = 0
        """How often a batch was put on the bus that had been there before: whoever does it says so."""
        self.settled = 0
        """Identities below it have been found once each; of them a history is held against a digest alone."""

    def batch(self, time_ns: int = NOW) -> Batch:
        """The next batch of some node, of connections that began a second before `time_ns`."""
        node = self._chance.choice(self._nodes)
        columns = self._columns(node, self._chance.randint(1, self._rows), time_ns)
        rows, size = len(columns["flow_id"]), int(columns["bytes"].sum() + columns["reply_bytes"].sum())
        made = Batch(FLOWS.name, node, *self._name(node), rows, size, encode(FLOWS, columns))
        self._refused_of[made.value] = int((columns["outcome"] == _REFUSED).sum())
        return self._noted(made)

    def renamed(self, one: Batch) -> Batch:
        """The rows of a batch under the next name of its node: cheap, and without identities of their own."""
        epoch, seq = self._name(one.node)
        return self._noted(replace(one, epoch=epoch, seq=seq))

    def knows(self, other: Ledger) -> None:
        """Let batches of another ledger be renamed."""
        self._refused_of.update(other._refused_of)

    def settle(self) -> None:
        """All that was made has been found: forget what it takes to find one of it, so that a ledger may be long."""
        self.settled = self.rows
        self._refused_of.clear()

    def _name(self, node: str) -> tuple[int, int]:
        if self._chance.random() < self._restarts:
            self._epoch[node] += 1
        epoch = self._epoch[node]
        self._seq[node, epoch] += 1
        return epoch, self._seq[node, epoch] - 1

    def _noted(self, made: Batch) -> Batch:
        self.batches += 1
        self.rows += made.rows
        self.bytes += made.byte_sum
        self.refused += self._refused_of[made.value]
        return made

    def _columns(self, node: str, rows: int, time_ns: int) -> dict[str, Any]:
        chance = self._columns_chance
        service = chance.integers(0, len(_SERVICES), rows)
        columns: dict[str, Any] = {
            name: [""] * rows if kind == UTF8 else np.zeros(rows, dtype=kind) for name, kind in FLOWS.columns.items()
        }
        for end, texts in (("dst", [vip for vip, _, _ in _SERVICES]), ("backend", [to for _, to, _ in _SERVICES])):
            for half in ("hi", "lo"):
                columns[f"{end}_{half}"] = np.array([getattr(parse(text), half) for text in texts], np.uint64)[service]
        for end in ("src", "nat_src"):
            for half in ("hi", "lo"):
                columns[f"{end}_{half}"][:] = getattr(parse(SOURCES[node]), half)
            columns[f"{end}_port"][:] = 40_000
        port = np.array([port for _, _, port in _SERVICES], np.uint16)[service]
        columns["dst_port"], columns["backend_port"] = port, port.copy()
        columns["start"][:] = time_ns - SECOND
        columns["time"][:] = time_ns
        columns["flow_id"] = np.arange(self.rows, self.rows + rows, dtype=np.uint64)
        columns["protocol"][:] = 6
        columns["outcome"] = np.array(_OUTCOMES, columns["outcome"].dtype)[chance.integers(0, len(_OUTCOMES), rows)]
        columns["opened"][:] = 1
        columns["packets"][:] = columns["reply_packets"][:] = 10
        columns["bytes"] = chance.integers(1, 100_000, rows).astype(np.uint64)
        columns["reply_bytes"] = chance.integers(1, 100_000, rows).astype(np.uint64)
        return columns


@dataclass(frozen=True, slots=True)
class Lost:
    """What counters of losses say."""

    rows: int = 0
    bytes: int = 0


NOTHING: Final = Lost()


@dataclass(frozen=True, slots=True)
class Account:
    """A run held against its ledger, line by line: what, by the ledger, lost, told."""

    lines: tuple[tuple[str, int, int, int], ...]
    identities: dict[str, int] = field(default_factory=dict)
    """Flows of the history that are `missing`, `doubled` or `foreign`."""

    @property
    def unexplained(self) -> dict[str, int]:
        """What was made and neither told nor lost; below 0 what is told too often."""
        found = {what: made - lost - told for what, made, lost, told in self.lines}
        return {what: count for what, count in {**found, **self.identities}.items() if count}

    def __str__(self) -> str:
        head = f"{'':24}{'made':>14}{'lost':>12}{'told':>14}{'unexplained':>13}"
        rows = [
            f"{what:24}{made:14,}{lost:12,}{told:14,}{made - lost - told:13,}" for what, made, lost, told in self.lines
        ]
        return "\n".join([head, *rows, *(f"{what:24}{count:53,}" for what, count in self.identities.items())])


def reconcile(
    ledger: Ledger,
    page: str,
    lake: Path | None = None,
    lost: Lost = NOTHING,
    *,
    is_ordered: bool = True,
    fallen: int = 0,
) -> Account:
    """Hold a page of metrics, and a history, against the ledger.

    Where rows were lost, counts that counters of losses do not tell are left out; where batches overtake
    each other (`is_ordered` is False) some are missing for a while, which stays counted. `fallen` counters are a fault.
    """
    told = totals(page)
    lines = [
        ("rows", ledger.rows, lost.rows, told["flowatlas_pipeline_rows_total"]),
        ("connections", ledger.rows, lost.rows, told["flowatlas_connections_total"]),
        ("bytes of workloads", ledger.bytes, lost.bytes, told["flowatlas_flow_bytes_total"]),
        ("bytes of Services", ledger.bytes, lost.bytes, told["flowatlas_service_bytes_total"]),
        ("fallen counters", 0, 0, fallen),
        ("duplicates", ledger.again, 0, told["flowatlas_pipeline_duplicate_batches_total"]),
    ]
    if lost == NOTHING:
        lines.insert(0, ("batches", ledger.batches, 0, told["flowatlas_pipeline_batches_total"]))
        lines.append(("refused", ledger.refused, 0, told["flowatlas_connection_failures_total"]))
        if is_ordered:
            lines.append(("missing batches", 0, 0, told["flowatlas_pipeline_missing_batches_total"]))
    identities = {}
    if lake is not None:
        history = scan_flows(lake)
        told_by_history = history.select(rows=pl.len(), size=pl.sum("bytes") + pl.sum("reply_bytes")).collect()
        lines.append(("rows of the history", ledger.rows, lost.rows, int(told_by_history["rows"][0])))
        lines.append(("bytes of the history", ledger.bytes, lost.bytes, int(told_by_history["size"][0])))
        recent = history.select("flow_id").filter(pl.col("flow_id") >= ledger.settled).collect()["flow_id"]
        known = recent.unique()
        identities = {
            "missing": ledger.rows - ledger.settled - lost.rows - int((known < ledger.rows).sum()),
            "doubled": recent.len() - known.len(),
            "foreign": int((known >= ledger.rows).sum()),
            "settled ones that changed": _changed(history, ledger.settled),
        }
    return Account(tuple(lines), identities)


def _changed(history: pl.LazyFrame, settled: int) -> int:
    """0 where the identities below `settled` are there once each, by their number, sum and sum of squares modulo 2**64:
    what is missing and what is doubled make other sums, unless it is three or more of each that happen to agree."""
    one = pl.col("flow_id").filter(pl.col("flow_id") < settled)
    found = history.select(count=one.len(), total=one.sum(), squares=(one * one).sum()).collect().row(0)
    wanted = settled, settled * (settled - 1) // 2, (settled - 1) * settled * (2 * settled - 1) // 6
    return sum((int(told) - made) % 2**64 for told, made in zip(found, wanted, strict=True))


def totals(page: str) -> Counter[str]:
    """Every sample's name and the sum of its series, of flows where they are told by table."""
    found: Counter[str] = Counter()
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            if sample.labels.get("table", "flows") != "flows":
                continue
            found[sample.name] += int(sample.value) if sample.value == sample.value else 0  # NaN is no count
    return found
