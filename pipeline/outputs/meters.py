"""What the pipeline counts about itself, as catalogued: batches, rows, what was refused, time spent.

It holds numbers and computes no flow metric. The invariant: counters here never fall.
"""

from __future__ import annotations

import platform
import time
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import metadata
from typing import Any, Final

from collector.schema import FLOWS

from ..aggregate.samples import Samples, samples_of
from ..bus.share import Share
from ..catalog import BY_NAME
from ..inventory.spans import END
from .lags import Lags

_Counts = Mapping[tuple[str, ...], int | float]
"""What a metric counts, by its labels."""

GONE_SECONDS: Final = 3600.0
"""What is counted of a node that the cluster has no more is shown for so long after its newest observation."""
STAGES: Final = ("decode", "state", "attribute", "policies", "aggregate", "output")


class Meters:
    """The pipeline's own counters and gauges. Written and read by the engine's thread."""

    def __init__(self, share: Share | None = None) -> None:
        self._share = share
        self.duplicates: Mapping[str, int] = {}
        """Batches that came again and were passed over, by node."""
        self.late: Mapping[str, int] = {}
        """Batches that came after later ones, by node."""
        self.watermark: int | None = None
        """Event time up to which everything is taken to be here, in ns."""
        self.objects: Mapping[str, int] = {}
        """Kubernetes objects known, by kind."""
        self.refused_objects: Mapping[str, int] = {}
        """Kubernetes objects that could not be understood, by kind."""
        self.known_until = END
        """Every change of the cluster before this instant is known, in ns since the epoch; END for manifests."""
        self.cluster: frozenset[str] = frozenset()
        """The names of the Nodes that the cluster has."""
        self.held_rows = 0
        """Flow rows that wait for the cluster's state."""
        self.late_rows = 0
        """Flow rows that were judged before the cluster's state was known of their time."""
        self.lag: Mapping[str, int] = {}
        """Messages that wait on the bus, by topic."""
        self.geo_failures = 0
        """Look-ups that a MaxMind database's bytes did not allow."""
        self.refused_snapshots = 0
        """Snapshots that could not be read."""
        self.misfits: Counter[str] = Counter()
        """Rows of snapshots that found no place as they were, by part."""
        self._snapshot: tuple[float, float, int] | None = None
        """When the last snapshot was taken (Unix time), how long it took (s), and its size (bytes)."""
        self._build = (metadata.version("flowatlas"), platform.python_version())
        self._batches: Counter[tuple[str, ...]] = Counter()
        self._rows: Counter[tuple[str, ...]] = Counter()
        self._quarantined: Counter[tuple[str, ...]] = Counter()
        self._gaps: Counter[tuple[str, ...]] = Counter()
        self._missing: Mapping[str, int] = {}
        self._lost: Counter[tuple[str, ...]] = Counter()
        self._late_rows: Counter[tuple[str, ...]] = Counter()
        self._skewed: Counter[tuple[str, ...]] = Counter()
        self._lags = Lags("flowatlas_capture_to_metric_seconds")
        self._newest_ns: dict[str, int] = defaultdict(int)
        self._nodes: set[str] = set()
        """Who of these is a Node of the cluster, or was."""
        self._seconds: dict[tuple[str, ...], float] = {(stage,): 0.0 for stage in STAGES}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time that the block takes to a stage."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[(name,)] += time.perf_counter() - began

    def applied(self, table: str, nodes: Sequence[str], rows: Sequence[int], newest_ns: Sequence[int]) -> None:
        """Batches of a table were taken: of each its node, how many rows it has, and the time of its newest
        observation, 0 where it has no row."""
        rows_of = dict.fromkeys(nodes, 0)
        newest_of = rows_of.copy()
        for node, count, newest in zip(nodes, rows, newest_ns, strict=True):
            rows_of[node] += count
            if newest > newest_of[node]:
                newest_of[node] = newest
        for node, batches in Counter(nodes).items():
            self._batches[table, node] += batches
            self._rows[table, node] += rows_of[node]
            self._newest_ns[node] = max(self._newest_ns[node], newest_of[node])
        if table == FLOWS.name:
            self._lags.wait(filter(None, newest_ns))

    def arrived(self, nodes: Sequence[str], late_rows: Sequence[int], is_ahead: Sequence[bool]) -> None:
        """New batches have come: of each its node, how many of its rows are late, and whether it has times that have
        not come yet."""
        for counts, values in ((self._late_rows, late_rows), (self._skewed, is_ahead)):
            for node in dict.fromkeys(nodes):
                counts[(node,)] += 0
            for node, value in zip(nodes, values, strict=True):
                if value:
                    counts[(node,)] += value

    def published(self, now_ns: int) -> None:
        """Everything that was applied until now can be seen; how long that took is counted from the next time on."""
        self._lags.end(now_ns)

    def quarantined(self, reason: str) -> None:
        """A batch was set aside."""
        self._quarantined[(reason,)] += 1

    def snapshot(self, at_s: float, took_s: float, size: int) -> None:
        """A snapshot was taken."""
        self._snapshot = at_s, took_s, size

    def state(self) -> dict[str, Any]:
        """Everything that is counted, as plain values; gauges are not."""
        counted = {
            name: [[*labels, value] for labels, value in counts.items()] for name, counts in self._kept().items()
        }
        single = {"late_rows": self.late_rows, "refused_snapshots": self.refused_snapshots}
        return {
            "counters": counted,
            "single": single,
            "missing": dict(self._missing),
            "newest_ns": dict(self._newest_ns),
            "nodes": sorted(self._nodes),
            "cluster": sorted(self.cluster),
            "misfits": dict(self.misfits),
            "lags": self._lags.state(),
        }

    def restore(self, values: Mapping[str, Any]) -> None:
        """Take up what is counted, in place of what was until now."""
        for name, counts in self._kept().items():
            counts.clear()
            counts.update({tuple(labels): value for *labels, value in values["counters"].get(name, [])})
        for (stage,) in {(stage,) for stage in STAGES} - self._seconds.keys():
            self._seconds[(stage,)] = 0.0
        self.late_rows = values["single"].get("late_rows", 0)
        self.refused_snapshots = values["single"].get("refused_snapshots", 0)
        self._missing = values["missing"]
        self._newest_ns.clear()
        self._newest_ns.update(values["newest_ns"])
        self._nodes = set(values.get("nodes", ()))
        self.cluster = frozenset(values.get("cluster", ()))
        self.misfits = Counter(values["misfits"])
        self._lags.restore(values.get("lags", {}))

    def _kept(self) -> dict[str, dict[tuple[str, ...], Any]]:
        return {
            "batches": self._batches,
            "rows": self._rows,
            "quarantined": self._quarantined,
            "gaps": self._gaps,
            "lost": self._lost,
            "late_rows": self._late_rows,
            "skewed": self._skewed,
            "seconds": self._seconds,
        }

    def missing(self, by_node: Mapping[str, int]) -> None:
        """How many batches of each node are missing now. What was missing once stays counted when it comes late."""
        for node, count in by_node.items():
            self._gaps[(node,)] += max(0, count - self._missing.get(node, 0))
        self._missing = dict(by_node)

    def forget(self, nodes: Collection[str]) -> None:
        """Count nothing of these nodes any more; one that comes again begins at zero."""
        if nodes:
            for name in ("batches", "rows", "gaps", "late_rows", "skewed"):
                counts = self._kept()[name]
                for labels in [labels for labels in counts if labels[-1] in nodes]:
                    del counts[labels]
            self._missing = {node: count for node, count in self._missing.items() if node not in nodes}
            self._nodes -= set(nodes)
            for node in nodes:
                self._newest_ns.pop(node, None)

    def known_missing(self, by_node: Mapping[str, int]) -> None:
        """How many are missing now, where whoever missed them has counted them."""
        self._missing = dict(by_node)

    def lost(self, by_topic: Mapping[str, int]) -> None:
        """The bus has given up so many messages more before they were read."""
        for topic, messages in by_topic.items():
            self._lost[(topic,)] += messages

    def samples(self, series: int) -> list[Samples]:
        """All self metrics; `series` is how many series of flow and counter metrics are exposed."""
        self._nodes |= self.cluster & self._newest_ns.keys()
        gone = self._nodes - self.cluster
        values: dict[str, _Counts] = {
            "flowatlas_build_info": {self._build: 1},
            "flowatlas_pipeline_batches_total": self._batches,
            "flowatlas_pipeline_rows_total": self._rows,
            "flowatlas_pipeline_quarantined_batches_total": self._quarantined,
            "flowatlas_pipeline_duplicate_batches_total": _keyed(self.duplicates),
            "flowatlas_pipeline_missing_batches_total": self._gaps,
            "flowatlas_pipeline_absent_batches": _keyed(self._missing),
            "flowatlas_pipeline_late_batches_total": _keyed(self.late),
            "flowatlas_pipeline_late_rows_total": self._late_rows,
            "flowatlas_pipeline_skewed_batches_total": self._skewed,
            "flowatlas_pipeline_stage_seconds_total": self._seconds,
            "flowatlas_pipeline_last_observation_timestamp_seconds": self._newest(gone),
            "flowatlas_bus_lag_messages": _keyed(self.lag),
            "flowatlas_bus_lost_messages_total": self._lost,
            "flowatlas_pipeline_geo_failures_total": {(): self.geo_failures},
            "flowatlas_pipeline_series": {(): series},
            "flowatlas_state_objects": _keyed(self.objects),
            "flowatlas_state_refused_objects": _keyed(self.refused_objects),
            "flowatlas_state_age_seconds": self._state_age(),
            "flowatlas_state_held_rows": {(): self.held_rows},
            "flowatlas_state_late_rows_total": {(): self.late_rows},
            "flowatlas_pipeline_snapshot_refused_total": {(): self.refused_snapshots},
            "flowatlas_pipeline_snapshot_misfit_rows_total": _keyed(self.misfits),
        }
        if self._snapshot is not None:
            names = ("timestamp_seconds", "write_seconds", "bytes")
            told = zip(names, self._snapshot, strict=True)
            values |= {f"flowatlas_pipeline_snapshot_{name}": {(): value} for name, value in told}
        if self._share is not None:
            values["flowatlas_pipeline_shares"] = {(str(self._share.ordinal),): self._share.of}
        if self.watermark is not None:
            values["flowatlas_pipeline_watermark_timestamp_seconds"] = {(): self.watermark / 1e9}
        long_ago_ns = time.time_ns() - int(GONE_SECONDS * 1e9)
        forgotten = {node for node in gone if self._newest_ns[node] < long_ago_ns}
        samples = [samples_of(BY_NAME[name], _without(forgotten, name, counts)) for name, counts in values.items()]
        return [*samples, self._lags.samples()]

    def _newest(self, gone: Collection[str]) -> Mapping[tuple[str, ...], float]:
        """By node; not of those that are gone, whose silence is as it should be."""
        return {(node,): ns / 1e9 for node, ns in self._newest_ns.items() if ns and node not in gone}

    def _state_age(self) -> Mapping[tuple[str, ...], float]:
        """Nothing for manifests, whose age nobody knows, and before anything is known."""
        is_told = 0 < self.known_until < END
        return {(): time.time() - self.known_until / 1e9} if is_told else {}


def _without(nodes: Collection[str], name: str, counts: _Counts) -> _Counts:
    """The series of a metric, but for those of some nodes."""
    if not nodes or BY_NAME[name].labels[-1:] != ("node",):
        return counts
    return {labels: value for labels, value in counts.items() if labels[-1] not in nodes}


def _keyed(counts: Mapping[str, int]) -> Mapping[tuple[str, ...], int]:
    """Counts by the value of their one label, as `samples_of` wants them."""
    return {(label,): count for label, count in counts.items()}
