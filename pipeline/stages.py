"""What becomes of rows: named, judged and counted, or held until the cluster's state tells of their time.

It knows no bus and commits nothing. The invariant: a row that was applied is counted once or held, and all that depends
on what was applied is in `kept`, so that a process that takes them up goes on as if it were this one.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence

import polars as pl

from collector.schema import COUNTERS, DNS, DROPS, FLOWS, SCOPES, Table

from .aggregate.budget import limit_of
from .aggregate.coverage import Coverage
from .aggregate.dns import DnsMetrics
from .aggregate.drops import DropMetrics
from .aggregate.families import families
from .aggregate.flows import FlowMetrics
from .aggregate.interfaces import InterfaceMetrics, node_interface_metrics, of_nodes
from .aggregate.policies import PolicyMetrics
from .aggregate.samples import Samples
from .aggregate.series import SeriesBudget
from .aggregate.sockets import SocketMetrics
from .attribution import attribute, attribute_counters
from .attribution.aliases import has_aliases, join_aliases, may_be_alias
from .attribution.dnsnames import DnsNames
from .attribution.dnsqueries import asked_of, attribute_dns
from .attribution.drops import attribute_drops
from .attribution.heads import Heads, with_said_names
from .attribution.policies.live import LivePolicies
from .attribution.route_lookups import route_lookups_of
from .awaiting import Awaiting
from .config import PipelineConfig
from .decode import Rows
from .geo import Geo
from .inventory.dataplane import services_by
from .inventory.endpoints import UNKNOWN
from .inventory.snapshot import Snapshot
from .kept import Kept, nested
from .outputs.history import HISTORY, history_of
from .outputs.lake import Lake
from .outputs.live import LiveTail
from .outputs.meters import Meters
from .outputs.policy_log import PolicyLog
from .outputs.side_rows import counter_rows, dns_rows
from .prices import Prices
from .state import ClusterState, StateNow
from .watermarks import SKEW_SECONDS, bounds


class Stages:
    """Applies batches under the state that `state` returns, and hands attributed rows to `lake` and `live`."""

    def __init__(
        self,
        config: PipelineConfig,
        state: StateNow,
        meters: Meters,
        lake: Lake | None = None,
        prices: Prices | None = None,
        live: LiveTail | None = None,
        geo: Geo | None = None,
    ) -> None:
        self.meters = meters
        self._config = config
        self._state = state
        self._lake = lake
        self._geo = geo
        self._live = live
        self._awaiting = Awaiting(config.state_wait_s, config.settle_s)
        self._asked = Awaiting(config.state_wait_s, config.settle_s)
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
        self._budget = SeriesBudget(
            config.series_max,
            limit_of(config.series_max_per_family, config.series_fold),
            config.series_idle_s,
            config.series_namespace_share,
        )
        self.missing: Mapping[str, int] = {}
        """Batches of the state that never came, by the watcher's name."""

    @property
    def held_rows(self) -> int:
        """Rows that wait for the cluster's state."""
        return self._awaiting.rows + self._asked.rows

    @property
    def _is_keeping_rows(self) -> bool:
        """Whether anybody wants flows as rows: the history, or who watches them pass."""
        return self._lake is not None or (self._live is not None and self._live.is_wanted)

    def kept(self) -> Mapping[str, Kept]:
        """Everything that outlives the process, `meters` aside."""
        return {
            "names": self._names,
            "heads": self._heads,
            "mismatches": self._policies.mismatches,
            **nested("flows", self._flows),
            "interfaces": self._interfaces,
            "node_interfaces": self._node_interfaces,
            "sockets": self._sockets,
            "coverage": self._coverage,
            **nested("drops", self._drops),
            **nested("dns", self._dns),
            "awaiting": self._awaiting,
            "asked": self._asked,
            "budget": self._budget,
            **({"lake": self._lake} if self._lake is not None else {}),
        }

    @property
    def expired(self) -> int:
        """Series that went for being idle: what is counted changes by them though no row has come."""
        return self._budget.expired

    def samples(self) -> list[Samples]:
        """Every metric of what was applied, with its values as they are now."""
        for part in (self._interfaces, self._node_interfaces, self._sockets):
            part.expire(time.time_ns())
        self._budget.enforce(self.kept(), time.time_ns())
        return [
            *self._flows.samples(),
            *self._interfaces.samples(),
            *self._node_interfaces.samples(),
            *self._sockets.samples(),
            *self._coverage.samples(),
            *self._drops.samples(),
            *self._dns.samples(),
            *self._budget.samples(),
        ]

    def keep_nodes(self, nodes: Collection[str]) -> None:
        """Forget what other nodes' counters said last: it is somebody else's to show from now on. Sums stay."""
        for part in (self._interfaces, self._node_interfaces, self._sockets, self._coverage):
            part.keep_nodes(nodes)

    def tell(self, *, is_last: bool = False) -> None:
        """Log what policies did, where it is time to."""
        self._policy_log.tell(time.monotonic(), is_last=is_last)

    def learn(self, batches: Sequence[Rows]) -> None:
        """Take from batches that are applied later the names that held rows wait for."""
        if (answers := _rows(batches, DNS)) is not None:
            self._names.add(answers)

    def refresh(self, meters: Meters | None = None) -> ClusterState:
        """The cluster's state as it is now; what it took to read it is told to `meters`, or to the stages' own."""
        state = self._state(meters or self.meters)
        self.meters.objects = state.snapshot.objects
        self.meters.refused_objects = state.refused
        self.meters.known_until = state.known_until
        if state.is_synced:
            self.meters.cluster = state.snapshot.nodes
        self.missing = state.missing
        return state

    def apply(self, batches: Sequence[Rows]) -> None:
        """Count what is known of by now of the rows of sound and new batches, and hold the rest."""
        state = self.refresh()
        for rows in batches:
            nodes, sizes = [name.node for name in rows.names], [name.rows for name in rows.names]
            _, newest_ns = bounds(rows.frame["time"].to_numpy(), sizes)
            self.meters.applied(rows.table, nodes, sizes, newest_ns)
        answers, flows, counters, drops = (_rows(batches, table) for table in (DNS, FLOWS, COUNTERS, DROPS))
        if answers is not None:
            now_s = time.monotonic()
            with self.meters.stage("attribute"):
                self._names.add(answers)
            known = self._asked.take(asked_of(answers), state.known_until, now_s)
            self._apply_dns(known, state, now_s, is_final=False)
        if flows is not None:
            now_s = time.monotonic()
            if self._is_keeping_rows or not route_lookups_of(state.snapshot).is_idle:  # else nobody reads heads
                with self.meters.stage("attribute"):
                    flows = self._heads.fill(flows)
            known = self._awaiting.take(flows, state.known_until, now_s)
            self._apply_flows(known, state, now_s, is_final=False)
        if counters is not None:
            self._apply_counters(counters, state.snapshot)
        if drops is not None:
            self._apply_drops(drops, state.snapshot)

    def release(self, now_s: float) -> None:
        """See what has become of the cluster, and apply the rows that by `now_s` wait for that no more."""
        state = self.refresh()
        for part in self._awaiting.release(state.known_until, now_s):
            self.meters.late_rows += part.late
            self._apply_flows(part.flows, state, part.given_s, is_final=part.is_final)
        for part in self._asked.release(state.known_until, now_s):
            self.meters.late_rows += part.late
            self._apply_dns(part.flows, state, part.given_s, is_final=part.is_final)

    def _apply_flows(self, flows: pl.DataFrame, state: ClusterState, given_s: float, *, is_final: bool) -> None:
        """Judge and count flows that came at `given_s`. Unless it is final, rows with an end that nothing holds yet
        are put back for as long as the state may still tell of it."""
        if flows.is_empty():
            return
        snapshot = state.snapshot
        with self.meters.stage("attribute"):
            by = self._config.services_by
            by = services_by(snapshot) if by == "auto" else by
            attributed = attribute(flows, snapshot, by)
            if not is_final:
                is_unknown = (attributed["src_id"] == UNKNOWN) | (attributed["dst_id"] == UNKNOWN)
                is_told = self._awaiting.doubt(flows, is_unknown, state.known_until, given_s)
                if not is_told.all():  # a filter copies every column
                    flows, attributed = flows.filter(is_told), attributed.filter(is_told)
                if has_aliases(snapshot):
                    is_expected = may_be_alias(attributed, snapshot)
                    attributed = attributed.filter(self._awaiting.expect(flows, is_expected, given_s))
            if len(self._names) and has_aliases(snapshot):
                named = self._names.join(attributed, snapshot).lazy()
                attributed = join_aliases(named, snapshot, self._config.cluster_domain).collect()
            if self._geo is not None:
                attributed = self._geo.join(attributed, snapshot)
                self.meters.geo_failures = self._geo.failures
        with self.meters.stage("policies"):
            judged = self._policies.judge(attributed, snapshot, state.epochs)
            self._policy_log.take(judged, snapshot, self._policies.timeline)
        with self.meters.stage("aggregate"):
            told = _not_ahead(judged, time.time_ns())
            self._flows.use(snapshot)
            self._flows.add(told)
            self._coverage.add_flows(told, snapshot)
        if self._is_keeping_rows:
            with self.meters.stage("attribute"):
                if "dns_name" not in judged.columns:
                    judged = self._names.join(judged, snapshot)
                judged = with_said_names(judged, snapshot)
                if self._geo is not None:
                    judged = self._geo.with_names(judged)
            with self.meters.stage("output"):
                codes = self._lake.codes if self._lake is not None else None
                rows = history_of(judged, snapshot, self._policies.timeline.book, codes)
                if self._lake is not None:
                    self._lake.add(rows)
                if self._live is not None and self._live.is_wanted:
                    self._live.add(rows.cast(HISTORY))

    def _apply_dns(self, asked: pl.DataFrame, state: ClusterState, given_s: float, *, is_final: bool) -> None:
        """Count exchanges that came at `given_s`; those of a client that nothing holds yet wait as flows do."""
        if asked.is_empty():
            return
        with self.meters.stage("attribute"):
            attributed = attribute_dns(asked, state.snapshot, self._config.cluster_domain)
            if not is_final:
                is_unknown = attributed["src_id"] == UNKNOWN
                attributed = attributed.filter(self._asked.doubt(asked, is_unknown, state.known_until, given_s))
        with self.meters.stage("aggregate"):
            self._dns.add(attributed, state.snapshot)
        if self._lake is not None:
            with self.meters.stage("output"):
                self._lake.add(dns_rows(attributed, state.snapshot), "dns")

    def _apply_counters(self, counters: pl.DataFrame, state: Snapshot) -> None:
        """Pods' own interfaces and the nodes'; those of pods that the state does not know cannot be named."""
        is_pods_own = pl.col("scope") == SCOPES.index("pod")
        of_node = counters.filter(~is_pods_own)
        with self.meters.stage("attribute"):
            named = (
                attribute_counters(counters.filter(is_pods_own), state)
                .filter(pl.col("pod") != "")
                .with_columns(pl.col("node").cast(pl.String))
            )
        with self.meters.stage("aggregate"):
            self._interfaces.add(named, time.time_ns())
            self._coverage.add_counters(_not_ahead(named, time.time_ns()))
            self._sockets.add(named, time.time_ns())
            self._node_interfaces.add(of_nodes(of_node.lazy()).collect(), time.time_ns())
        if self._lake is not None:
            with self.meters.stage("output"):
                for rows in (named, of_node.with_columns(namespace=pl.lit(""), pod=pl.lit(""))):
                    self._lake.add(counter_rows(rows), "counters")

    def _apply_drops(self, drops: pl.DataFrame, state: Snapshot) -> None:
        with self.meters.stage("attribute"):
            attributed = attribute_drops(drops, state)
        with self.meters.stage("aggregate"):
            self._drops.add(attributed, state)


def _not_ahead(rows: pl.DataFrame, now_ns: int) -> pl.DataFrame:
    """Rows as of now where they say that they are of later, by more than clocks differ: windows of event time end with
    the newest row, and what one node says of next year would end those of all."""
    latest_ns = now_ns + int(SKEW_SECONDS * 1e9)
    times = [name for name in ("start", "time") if name in rows.columns]
    ahead = [name for name in times if rows[name].to_numpy().max(initial=0) > latest_ns]
    return rows.with_columns(pl.col(ahead).clip(upper_bound=latest_ns)) if ahead else rows


def _rows(batches: Sequence[Rows], table: Table) -> pl.DataFrame | None:
    """The rows of one table; None where no batch is of it."""
    frames = [rows.frame for rows in batches if rows.table == table.name]
    return pl.concat(frames, rechunk=True) if frames else None  # else every step puts the pieces together anew
