"""The loop of the pipeline: poll, decode, attribute, aggregate, hand to the outputs, commit.

The only place that commits. The invariant: a position is committed when everything before it is counted, in the history
on disk (where there is one) and set aside (where it could not be read), so that a restart repeats work and skips none.
Metrics live in memory and begin at zero after a restart.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, cast

import polars as pl

from collector.schema import COUNTERS, DNS, DROPS, FLOWS, SCOPES, TABLES, Table

from .aggregate.coverage import Coverage
from .aggregate.dns import DnsMetrics
from .aggregate.drops import DropMetrics
from .aggregate.families import families
from .aggregate.flows import FlowMetrics
from .aggregate.interfaces import InterfaceMetrics, node_interface_metrics, of_nodes
from .aggregate.policies import PolicyMetrics
from .aggregate.sockets import SocketMetrics
from .attribution import attribute, attribute_counters
from .attribution.aliases import has_aliases, join_aliases, may_be_alias
from .attribution.dnsnames import DnsNames
from .attribution.dnsqueries import asked_of, attribute_dns
from .attribution.drops import attribute_drops
from .attribution.heads import Heads
from .attribution.policies.live import LivePolicies
from .attribution.route_lookups import route_lookups_of
from .awaiting import Awaiting
from .bus import Reader
from .config import PipelineConfig
from .decode import Decoded
from .errors import TransientError
from .geo import Geo
from .intake import Intake
from .inventory.dataplane import services_by
from .inventory.endpoints import UNKNOWN
from .inventory.snapshot import Snapshot
from .outputs.history import HISTORY, history_of
from .outputs.lake import Lake
from .outputs.live import LiveTail
from .outputs.meters import Meters
from .outputs.policy_log import PolicyLog
from .outputs.publication import Publication
from .prices import Prices
from .state import ClusterState, StateNow

log = logging.getLogger(__name__)

TOPICS: Final = tuple(table.topic for table in TABLES.values())
DRAIN_SECONDS: Final = 20.0
"""How long a stop may take to apply what the bus holds; Kubernetes kills after 30 s by default."""
POLL_SECONDS: Final = 0.2
"""How long a poll of a drain waits for a message."""
HELD_POLL_SECONDS: Final = 0.1
"""How long a poll waits while rows wait for the state."""
BACK_OFF_SECONDS: Final = (0.1, 10.0)
"""First and longest wait before a failed action is tried again."""


class Engine:
    """Applies what `reader` gives under the state that `state` returns, and tells `publication` and `lake`.

    Not thread-safe: one thread calls `run`, or `step` and `drain`.
    """

    def __init__(
        self,
        config: PipelineConfig,
        reader: Reader,
        state: StateNow,
        publication: Publication,
        lake: Lake | None = None,
        prices: Prices | None = None,
        live: LiveTail | None = None,
        geo: Geo | None = None,
    ) -> None:
        self.ready = threading.Event()
        """Set once the state is loaded and the bus has answered."""
        self._config = config
        self._reader = reader
        self._state = state
        self._publication = publication
        self._lake = lake
        self._geo = geo
        self._live = live
        self._meters = Meters()
        self._awaiting = Awaiting(config.state_wait_s, config.state_settle_s)
        self._asked = Awaiting(config.state_wait_s, config.state_settle_s)
        self._intake = Intake(self._meters)
        self._names = DnsNames()
        self._heads = Heads()
        self._policies = LivePolicies()
        self._policy_log = PolicyLog()
        self._flows = FlowMetrics((*families(prices, geo), PolicyMetrics(self._policies.timeline)))
        self._interfaces = InterfaceMetrics()
        self._node_interfaces = node_interface_metrics()
        self._sockets = SocketMetrics()
        self._coverage = Coverage()
        self._drops = DropMetrics()
        self._dns = DnsMetrics()
        self._has_uncommitted = False
        self._ahead: list[Sequence[Decoded]] = []
        """What was polled while a commit was overdue: it is applied after the commit, which ends at `_mark`."""
        self._mark: object = None
        self._missing_state: Mapping[str, int] = {}
        self._settled_at = self._published_at = time.monotonic()

    def run(self, stop: threading.Event) -> int:
        """Work until `stop` is set, then apply what the bus holds. 0, or 1 where that could not be finished in time."""
        if self._lake is not None:
            self._lake.start()
        try:
            if not self._retry(lambda: self._await_state(stop), stop) or stop.is_set():
                return 0
            if not self._retry(self._reader.start, stop):
                return 0
            while not stop.is_set():
                self._retry(lambda: self.step(self._config.window_s), stop)
            return 0 if self.drain(DRAIN_SECONDS) else 1
        finally:
            self._reader.stop()

    def step(self, timeout_s: float) -> None:
        """Take what the bus has, waiting up to `timeout_s` for it, and settle what is due.

        Raises TransientError where bus or disk refuse; the next call takes up what was left undone. It does not poll
        while the disk refuses a full history, so memory stays bounded, but does where the bus refuses a commit: a group
        that has moved on without us lets us commit again only after a poll.
        """
        began_s = time.monotonic()  # what was on the bus by now is applied before what waits for it goes on
        self._set_aside()
        if self._lake is not None and self._lake.held_rows >= self._config.lake_flush_rows:
            self._flush(self._lake)
        if self._is_settling_overdue():
            self._look_ahead(min(timeout_s, HELD_POLL_SECONDS))
        else:
            self._catch_up()
            messages = self._reader.poll(min(timeout_s, HELD_POLL_SECONDS) if self._held_rows else timeout_s)
            self.ready.set()
            self._has_uncommitted |= bool(messages)
            for chunk in self._intake.take(messages):
                self._apply(chunk)
        self._release(began_s)
        if time.monotonic() - self._published_at >= self._config.window_s:
            self.publish()
        self._settle_what_is_due()

    def drain(self, timeout_s: float) -> bool:
        """Apply everything that the bus holds, flush, commit and publish; False where the time ran out first."""
        deadline = time.monotonic() + timeout_s

        def finish() -> None:
            self.step(POLL_SECONDS)
            while not self._reader.caught_up() or self._held_rows or self._ahead:
                if time.monotonic() > deadline:
                    raise TransientError("the bus still holds messages")
                self.step(POLL_SECONDS)
            self._settle()

        is_done = self._retry(finish, threading.Event(), deadline)
        self.publish()
        self._policy_log.tell(time.monotonic(), is_last=True)
        return is_done

    def publish(self) -> None:
        """Let readers of /metrics see everything that is counted by now."""
        self._policy_log.tell(time.monotonic())
        for part in (self._interfaces, self._node_interfaces, self._sockets):
            part.expire(time.time_ns())
        self._meters.missing({**self._intake.missing(), **self._missing_state})
        self._meters.held_rows = self._held_rows
        self._meters.lag = self._reader.lag()
        traffic = [
            *self._flows.samples(),
            *self._interfaces.samples(),
            *self._node_interfaces.samples(),
            *self._sockets.samples(),
            *self._coverage.samples(),
            *self._drops.samples(),
            *self._dns.samples(),
        ]
        series = sum(samples.series for samples in traffic)
        self._publication.publish([*traffic, *self._meters.samples(series)])
        self._published_at = time.monotonic()

    def _await_state(self, stop: threading.Event) -> None:
        """Return when the cluster is known: what is on the bus waits there meanwhile."""
        while not self._refresh_state().is_synced and not stop.wait(POLL_SECONDS):
            if time.monotonic() - self._published_at >= self._config.window_s:
                self.publish()

    def _look_ahead(self, timeout_s: float) -> None:
        """Poll for the names that held rows wait for alone; all else is put off until what came before is settled."""
        if not self._ahead:
            self._mark = self._reader.mark()
        for chunk in self._intake.take(self._reader.poll(timeout_s)):
            self._ahead.append(chunk)
            if (answers := _rows(chunk, DNS)) is not None:
                self._names.add(answers)

    def _catch_up(self) -> None:
        """Apply what was put off."""
        ahead, self._ahead, self._mark = self._ahead, [], None
        self._has_uncommitted |= bool(ahead)
        for chunk in ahead:
            self._apply(chunk)

    def _apply(self, batches: Sequence[Decoded]) -> None:
        state = self._refresh_state()
        for batch in batches:
            newest_ns = cast("int | None", batch.frame["time"].max())
            self._meters.applied(batch.name.table, batch.name.node, batch.name.rows, newest_ns)
        answers, flows, counters, drops = (_rows(batches, table) for table in (DNS, FLOWS, COUNTERS, DROPS))
        if answers is not None:
            now_s = time.monotonic()
            with self._meters.stage("attribute"):
                self._names.add(answers)
            known = self._asked.take(asked_of(answers), state.known_until, now_s)
            self._apply_dns(known, state, now_s, is_final=False)
        if flows is not None:
            now_s = time.monotonic()
            if self._is_keeping_rows or not route_lookups_of(state.snapshot).is_idle:  # else nobody reads heads
                with self._meters.stage("attribute"):
                    flows = self._heads.fill(flows)
            known = self._awaiting.take(flows, state.known_until, now_s)
            self._apply_flows(known, state, now_s, is_final=False)
        if counters is not None:
            self._apply_counters(counters, state.snapshot)
        if drops is not None:
            self._apply_drops(drops, state.snapshot)

    def _release(self, now_s: float) -> None:
        """See what has become of the cluster, and apply the rows that by `now_s` wait for that no more."""
        state = self._refresh_state()
        for part in self._awaiting.release(state.known_until, now_s):
            self._meters.late_rows += part.late
            self._apply_flows(part.flows, state, part.given_s, is_final=part.is_final)
        for part in self._asked.release(state.known_until, now_s):
            self._meters.late_rows += part.late
            self._apply_dns(part.flows, state, part.given_s, is_final=part.is_final)

    def _apply_flows(self, flows: pl.DataFrame, state: ClusterState, given_s: float, *, is_final: bool) -> None:
        """Judge and count flows that came at `given_s`. Unless it is final, rows with an end that nothing holds yet
        are put back for as long as the state may still tell of it."""
        if flows.is_empty():
            return
        snapshot = state.snapshot
        with self._meters.stage("attribute"):
            by = self._config.services_by
            by = services_by(snapshot) if by == "auto" else by
            attributed = attribute(flows.lazy(), snapshot, by).collect().rechunk()
            if not is_final:
                is_unknown = (attributed["src_id"] == UNKNOWN) | (attributed["dst_id"] == UNKNOWN)
                is_told = self._awaiting.doubt(flows, is_unknown, state.known_until, given_s)
                if not is_told.all():  # a filter copies every column
                    flows, attributed = flows.filter(is_told), attributed.filter(is_told)
                if has_aliases(snapshot):
                    is_expected = may_be_alias(attributed, snapshot)
                    attributed = attributed.filter(self._awaiting.expect(flows, is_expected, given_s))
            if len(self._names) and has_aliases(snapshot):
                named = self._names.join(attributed.lazy(), snapshot)
                attributed = join_aliases(named, snapshot, self._config.cluster_domain).collect()
            if self._geo is not None:
                attributed = self._geo.join(attributed, snapshot)
                self._meters.geo_failures = self._geo.failures
        with self._meters.stage("policies"):
            judged = self._policies.judge(attributed, snapshot, state.epochs)
            self._policy_log.take(judged, snapshot, self._policies.timeline)
        with self._meters.stage("aggregate"):
            self._flows.use(snapshot)
            self._flows.add(judged)
            self._coverage.add_flows(judged, snapshot)
        if self._is_keeping_rows:
            with self._meters.stage("attribute"):
                if "dns_name" not in judged.columns:
                    judged = self._names.join(judged.lazy(), snapshot).collect()
                if self._geo is not None:
                    judged = self._geo.with_names(judged)
            with self._meters.stage("output"):
                categories = self._lake.categories if self._lake is not None else None
                rows = history_of(judged, snapshot, self._policies.timeline.book, categories)
                if self._lake is not None:
                    self._lake.add(rows)
                if self._live is not None and self._live.is_wanted:
                    self._live.add(rows.cast(HISTORY))

    def _apply_dns(self, asked: pl.DataFrame, state: ClusterState, given_s: float, *, is_final: bool) -> None:
        """Count exchanges that came at `given_s`; those of a client that nothing holds yet wait as flows do."""
        if asked.is_empty():
            return
        with self._meters.stage("attribute"):
            attributed = attribute_dns(asked, state.snapshot, self._config.cluster_domain)
            if not is_final:
                is_unknown = attributed["src_id"] == UNKNOWN
                attributed = attributed.filter(self._asked.doubt(asked, is_unknown, state.known_until, given_s))
        with self._meters.stage("aggregate"):
            self._dns.add(attributed, state.snapshot)

    def _apply_counters(self, counters: pl.DataFrame, state: Snapshot) -> None:
        """Pods' own interfaces and the nodes'; those of pods that the state does not know cannot be named."""
        is_pods_own = pl.col("scope") == SCOPES.index("pod")
        with self._meters.stage("attribute"):
            named = (
                attribute_counters(counters.lazy().filter(is_pods_own), state)
                .filter(pl.col("pod") != "")
                .with_columns(pl.col("node").cast(pl.String))
                .collect()
            )
        with self._meters.stage("aggregate"):
            self._interfaces.add(named, time.time_ns())
            self._coverage.add_counters(named)
            self._sockets.add(named, time.time_ns())
            nodes = of_nodes(counters.lazy().filter(~is_pods_own)).collect()
            self._node_interfaces.add(nodes, time.time_ns())

    def _apply_drops(self, drops: pl.DataFrame, state: Snapshot) -> None:
        with self._meters.stage("attribute"):
            attributed = attribute_drops(drops.lazy(), state).collect()
        with self._meters.stage("aggregate"):
            self._drops.add(attributed, state)

    def _refresh_state(self) -> ClusterState:
        state = self._state(self._meters)
        self._meters.objects = state.snapshot.objects
        self._meters.refused_objects = state.refused
        self._meters.known_until = state.known_until
        self._missing_state = state.missing
        return state

    @property
    def _is_keeping_rows(self) -> bool:
        """Whether anybody wants flows as rows: the history, or who watches them pass."""
        return self._lake is not None or (self._live is not None and self._live.is_wanted)

    @property
    def _held_rows(self) -> int:
        """Rows that wait for the cluster's state."""
        return self._awaiting.rows + self._asked.rows

    def _is_settling_overdue(self) -> bool:
        """Whether nothing more may be applied before the rows that wait for the state are counted: a commit is for all
        that was applied."""
        waited_s = time.monotonic() - self._settled_at
        return self._held_rows > 0 and self._has_uncommitted and waited_s >= self._config.lake_flush_s

    def _settle_what_is_due(self) -> None:
        """Set unreadable messages aside; flush and commit where it is time to, and nothing waits for the state."""
        self._set_aside()
        if not self._has_uncommitted or self._held_rows:
            return
        waited_s = time.monotonic() - self._settled_at
        if (
            self._lake is None
            or waited_s >= self._config.lake_flush_s
            or self._lake.held_rows >= self._config.lake_flush_rows
        ):
            self._settle()

    def _settle(self) -> None:
        self._set_aside()
        if self._lake is not None:
            self._flush(self._lake)
        self._reader.commit(self._mark)
        self._has_uncommitted = False
        self._settled_at = time.monotonic()

    def _flush(self, lake: Lake) -> None:
        with self._meters.stage("output"):
            lake.flush()

    def _set_aside(self) -> None:
        while self._intake.refused:
            self._reader.quarantine(*self._intake.refused[0])
            self._intake.refused.popleft()

    @staticmethod
    def _retry(action: Callable[[], None], stop: threading.Event, deadline: float = math.inf) -> bool:
        """Call `action` until it goes through, with back-off; False where `stop` or the deadline came first."""
        delay_s, longest_s = BACK_OFF_SECONDS
        while True:
            try:
                action()
            except TransientError as error:
                log.warning("%s; trying again in %.1f s", error, delay_s)
                if time.monotonic() + delay_s > deadline or stop.wait(delay_s):
                    return False
                delay_s = min(2 * delay_s, longest_s)
            else:
                return True


def _rows(batches: Sequence[Decoded], table: Table) -> pl.DataFrame | None:
    """The rows of one table; None where no batch is of it."""
    frames = [batch.frame for batch in batches if batch.name.table == table.name]
    return pl.concat(frames, rechunk=True) if frames else None  # else every step puts the pieces together anew
