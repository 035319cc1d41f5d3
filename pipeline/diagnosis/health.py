"""How well Flowatlas itself goes: what its metrics say of the pipeline, of each node and of collectors that are asked.

The invariant: what was lost before is a warning, what is being lost between the two looks is an error, so that a mended
pipeline is well again without a restart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from .capture import COVERED, NODE_COVERAGE, ROWS
from .finding import Finding, in_order
from .scrape import Scrape

_PIPELINE: Final = "flowatlas_pipeline_"
_COLLECTOR: Final = "flowatlas_collector_"
_QUARANTINED: Final = f"{_PIPELINE}quarantined_batches_total"
_MISSING: Final = f"{_PIPELINE}absent_batches"
_DUPLICATES: Final = f"{_PIPELINE}duplicate_batches_total"
_NEWEST: Final = f"{_PIPELINE}last_observation_timestamp_seconds"
_SERIES: Final = f"{_PIPELINE}series"
_OBJECTS: Final = "flowatlas_state_objects"
_REFUSED: Final = "flowatlas_state_refused_objects"
_LOGS: Final = "kubectl -n flowatlas logs --prefix -l app.kubernetes.io/name=flowatlas-pipeline"
_STATE_AGE: Final = "flowatlas_state_age_seconds"
_HELD: Final = "flowatlas_state_held_rows"
_LATE: Final = "flowatlas_state_late_rows_total"
_LAG: Final = "flowatlas_bus_lag_messages"
_GONE: Final = "flowatlas_bus_lost_messages_total"
_STANDS_STILL: Final = f"{_PIPELINE}snapshot_failing"
_RESTARTS: Final = f"{_PIPELINE}worker_restarts_total"
PIPELINE_NAMES: Final = frozenset(
    (ROWS, NODE_COVERAGE, _QUARANTINED, _MISSING, _DUPLICATES, _NEWEST, _SERIES, _OBJECTS, _REFUSED, _STATE_AGE)
) | {_HELD, _LATE, _LAG, _GONE, _STANDS_STILL, _RESTARTS}
_BUILD: Final = f"{_COLLECTOR}build_info"
_SOURCE: Final = f"{_COLLECTOR}source_info"
_HOOK: Final = f"{_COLLECTOR}hook_info"
_TRACKED: Final = f"{_COLLECTOR}tracked_flows"
_SPOOL: Final = f"{_COLLECTOR}spool_bytes"
_DEGRADED: Final = f"{_COLLECTOR}spool_is_degraded"
_LOST: Final = f"{_COLLECTOR}lost_rows_total"
_MISSED: Final = f"{_COLLECTOR}missed_packets_total"
_OVERRUNS: Final = f"{_COLLECTOR}netlink_overruns_total"
_UNREAD: Final = f"{_COLLECTOR}failed_reads_total"
COLLECTOR_NAMES: Final = frozenset(
    (_BUILD, _SOURCE, _HOOK, _TRACKED, _SPOOL, _DEGRADED, _LOST, _MISSED, _OVERRUNS, _UNREAD)
)

SILENT_S: Final = 120.0
STALE_S: Final = 60.0
BEHIND: Final = 1000
"""As the alerts FlowatlasCollectorSilent, FlowatlasStateStale and FlowatlasBusLag have them."""


@dataclass(frozen=True, slots=True)
class Look:
    """Two looks at a server's metrics, some seconds apart."""

    before: Scrape
    after: Scrape

    def grown(self, name: str, *keys: str) -> Iterator[tuple[tuple[str, ...], float, float]]:
        """Labels, value and growth of what is above 0."""
        old = self.before.by(name, *keys)
        for labels, value in self.after.by(name, *keys).items():
            if value:
                yield labels, value, value - old.get(labels, 0.0)


@dataclass(frozen=True, slots=True)
class NodeHealth:
    """What the pipeline has of one node. None where its metrics do not tell."""

    node: str
    age_s: float | None
    rows: int
    missing_batches: int
    duplicate_batches: int
    coverage: float | None


@dataclass(frozen=True, slots=True)
class CollectorHealth:
    """What one collector tells; `why` is why it has no better source."""

    server: str
    source: str
    why: str
    tracked_flows: int
    spool_bytes: int
    lost_rows: Mapping[str, int]
    hooks: Mapping[str, str]
    """Of each hook "" where it is in the kernel, else why not."""


@dataclass(frozen=True, slots=True)
class Health:
    """All of it. `rows_per_s` is of flows; `state_age_s` is None where the state is manifests."""

    server: str
    is_ready: bool
    rows_per_s: float
    series: int
    state_age_s: float | None
    held_rows: int
    late_rows: int
    objects: Mapping[str, int]
    waiting: Mapping[str, int]
    """Messages that wait on the bus for the pipeline, by topic."""
    quarantined: Mapping[str, int]
    nodes: Sequence[NodeHealth]
    collectors: Sequence[CollectorHealth]
    findings: Sequence[Finding]


def health(
    server: str, is_ready: bool, look: Look, seconds: float, now_s: float, collectors: Mapping[str, Look | None]
) -> Health:
    """What the looks say, `seconds` apart, the later one at `now_s`; a collector that did not answer is None."""
    after = look.after
    flows = sum(grown for (table,), _, grown in look.grown(ROWS, "table") if table == "flows")
    nodes = list(_nodes(after, now_s))
    found = [
        *_of_pipeline(server, is_ready, look),
        *_of_silence(server, look, nodes),
        *(finding for node in nodes for finding in _of_coverage(node, server)),
        *(finding for url, told in collectors.items() for finding in _of_collector(url, told)),
    ]
    return Health(
        server,
        is_ready,
        flows / seconds,
        int(after.value(_SERIES) or 0),
        after.value(_STATE_AGE),
        int(after.value(_HELD) or 0),
        int(after.value(_LATE) or 0),
        {kind: int(count) for (kind,), count in after.by(_OBJECTS, "kind").items()},
        {topic: int(count) for (topic,), count in after.by(_LAG, "topic").items()},
        {reason: int(count) for (reason,), count, _ in look.grown(_QUARANTINED, "reason")},
        nodes,
        [_collector(url, told.after) for url, told in collectors.items() if told and _is_collector(told)],
        in_order(found),
    )


def _nodes(after: Scrape, now_s: float) -> Iterator[NodeHealth]:
    """The nodes that sent anything but the cluster's state, which watchers send under names of their own."""
    rows: dict[str, int] = {}
    for (table, node), count in after.by(ROWS, "table", "node").items():
        if table != "state":
            rows[node] = rows.get(node, 0) + (int(count) if table == "flows" else 0)
    newest, coverage = after.by(_NEWEST, "node"), after.by(NODE_COVERAGE, "node")
    missing, twice = after.by(_MISSING, "node"), after.by(_DUPLICATES, "node")
    for node in sorted(rows):
        seen = newest.get((node,))
        yield NodeHealth(
            node,
            None if seen is None else max(0.0, now_s - seen),
            rows[node],
            int(missing.get((node,), 0)),
            int(twice.get((node,), 0)),
            coverage.get((node,)),
        )


def _is_collector(look: Look) -> bool:
    return look.after.value(_BUILD) is not None


def _collector(server: str, after: Scrape) -> CollectorHealth:
    sources = [labels for labels, value in after.of(_SOURCE) if value == 1]
    return CollectorHealth(
        server,
        ", ".join(labels.get("source", "") for labels in sources) or "none",
        ", ".join(filter(None, (labels.get("reason", "") for labels in sources))),
        int(after.value(_TRACKED) or 0),
        int(after.value(_SPOOL) or 0),
        {reason: int(count) for (reason,), count in after.by(_LOST, "reason").items() if count},
        {labels["hook"]: "" if value else labels.get("reason", "") for labels, value in after.of(_HOOK)},
    )


def _of_pipeline(server: str, is_ready: bool, look: Look) -> Iterator[Finding]:
    where = f"pipeline {server}"
    after = look.after
    if not is_ready:
        why = ("it knows no state of the cluster yet",) if not after.value(_OBJECTS) else ()
        log = f"{_LOGS} --tail=50"
        yield Finding("ready", "error", where, "/readyz says that it is not ready", why, log)
    if after.value(_STANDS_STILL):
        said = "it cannot keep what it counts: what it shows stands still"
        yield Finding("snapshot", "error", where, said, (), f"{_LOGS} --tail=200 | grep 'trying again'")
    age = after.value(_STATE_AGE)
    if age is not None and abs(age) > STALE_S:
        held = f"{after.value(_HELD) or 0:g} rows wait for it"
        log = "kubectl -n flowatlas logs deployment/flowatlas-watcher --tail=50"
        said = f"{age:.0f} s old" if age > 0 else f"told by a clock that is {-age:.0f} s ahead"
        yield Finding("state", "error", where, f"the cluster's state is {said}", (held,), log)
    for (kind,), count in after.by(_REFUSED, "kind").items():
        if count:
            log = f"{_LOGS} --tail=-1 | grep 'state: {kind}'"
            yield Finding("state", "warning", where, f"{count:g} objects of kind {kind} are not understood", (), log)
    earlier = look.before.by(_LAG, "topic")
    for (topic,), count in after.by(_LAG, "topic").items():
        was = earlier.get((topic,), 0.0)
        if min(count, was) > BEHIND:
            said = f"{count:g} messages of topic {topic} wait: metrics and history are late"
            next_step = f"flowatlas status --server {server} --over 30"
            yield Finding("lag", "error" if count >= was else "warning", where, said, (f"{was:g} before",), next_step)
    told = _grown(look, _LATE, "rows were judged before the cluster's state was known")
    yield from told(where, "flowatlas doctor --state bus --bus BUS", ())
    told = _grown(look, _QUARANTINED, "batches were set aside unread")
    yield from told(where, "flowatlas quarantine list --bus BUS", ("reason",))
    told = _grown(look, _MISSING, "batches are missing between those that came")
    yield from told(where, "flowatlas status --collector http://NODE:9465", ("node",))
    told = _grown(look, _GONE, "messages were deleted by Kafka before they were read")
    yield from told(where, f"{_LOGS} --tail=-1 | grep 'are gone'", ("topic",))
    told = _grown(look, _RESTARTS, "times a worker was started again")
    yield from told(where, f"{_LOGS} --tail=500 | grep -i worker", ("worker", "reason"))


def _grown(look: Look, name: str, problem: str) -> Callable[[str, str, tuple[str, ...]], Iterator[Finding]]:
    """Findings of a counter: an error while it grows, else a warning."""

    def findings(where: str, following: str, keys: tuple[str, ...]) -> Iterator[Finding]:
        for labels, value, growth in look.grown(name, *keys):
            by = ", ".join(f"{key} {label}" for key, label in zip(keys, labels, strict=True))
            since = f"{growth:g} of them since the first look" if growth > 0 else "none of them since the first look"
            said = f"{value:g} {problem}" + (f": {by}" if by else "")
            yield Finding("losses", "error" if growth > 0 else "warning", where, said, (since,), following)

    return findings


def _of_silence(server: str, look: Look, nodes: Sequence[NodeHealth]) -> Iterator[Finding]:
    """Where all nodes are silent, that is one finding, and no node's. Of a pipeline that stands still no node is: what
    is newer of it is not shown."""
    ages = {node.node: node.age_s for node in nodes if node.age_s is not None and node.age_s > SILENT_S}
    if look.after.value(_STANDS_STILL):
        return
    if len(nodes) == len(ages) > 1:
        said = f"nothing newer than {min(ages.values()):.0f} s came from any of its {len(nodes)} nodes"
        log = f"{_LOGS} --tail=100 | grep -E ' (WARNING|ERROR) '"
        yield Finding("node", "error", f"pipeline {server}", said, (), log)
        return
    for node, age in ages.items():
        pods = f"kubectl -n flowatlas get pods -o wide --field-selector spec.nodeName={node}"
        moved = ("unless another pipeline of its group hears it now",)
        yield Finding("node", "error", f"node {node}", f"nothing newer than {age:.0f} s came from it", moved, pods)


def _of_coverage(node: NodeHealth, server: str) -> Iterator[Finding]:
    if node.coverage is not None and node.coverage < COVERED:
        said = f"only {node.coverage:.1%} of its pods' bytes are in flows"
        yield Finding("node", "warning", f"node {node.node}", said, (), f"flowatlas doctor --server {server}")


def _of_collector(server: str, look: Look | None) -> Iterator[Finding]:
    where = f"collector {server}"
    if look is None:
        yield Finding("collector", "error", where, "it does not answer", (), f"curl -sS {server}/metrics | head")
        return
    if not _is_collector(look):
        yield Finding(
            "collector", "error", where, "what answers is no collector", (), f"curl -sS {server}/metrics | head"
        )
        return
    log = "kubectl -n flowatlas logs -l app.kubernetes.io/name=flowatlas-collector --tail=50"
    for name, problem, keys in (
        (_LOST, "rows did not reach the bus", ("table", "reason")),
        (_MISSED, "packets are in no flow", ("reason",)),
        (_OVERRUNS, "times the kernel dropped conntrack events", ()),
        (_UNREAD, "readings of the node failed", ("table",)),
    ):
        yield from _grown(look, name, problem)(where, log, keys)
    if look.after.value(_DEGRADED):
        said = "the disk refuses its spool: batches are sent from memory"
        yield Finding("collector", "error", where, said, (), log)
    told = _collector(server, look.after)
    if told.source == "none":
        yield Finding("collector", "error", where, "it has no source of flows", (), log)
    for hook, why in told.hooks.items():
        if why:
            yield Finding("collector", "note", where, f"the kernel refuses the hook {hook}", (why,), log)
