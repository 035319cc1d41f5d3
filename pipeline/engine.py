"""The loop of the pipeline: poll, decode, attribute, aggregate, hand to the outputs, commit.

The only place that commits. The invariant: a position is committed when everything before it is counted, in the history
on disk (where there is one) and set aside (where it could not be read), so that a restart repeats work and skips none.
Metrics live in memory and begin at zero after a restart.
"""

from __future__ import annotations

import functools
import logging
import math
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

import polars as pl

from collector.schema import COUNTERS, FLOWS, SCOPES, TABLES

from .aggregate.flows import FlowMetrics
from .aggregate.ingress import IngressMetrics
from .aggregate.interfaces import InterfaceMetrics
from .attribution import attribute, attribute_counters
from .bus import Reader, open_reader
from .config import PipelineConfig
from .decode import Decoded
from .errors import PermanentError, TransientError
from .intake import Intake
from .inventory import manifests, snapshot
from .inventory.snapshot import Snapshot
from .outputs.history import history_of
from .outputs.lake import Lake
from .outputs.meters import Meters
from .outputs.prometheus import PrometheusServer
from .outputs.publication import Publication

log = logging.getLogger(__name__)

TOPICS: Final = tuple(table.topic for table in TABLES.values())
DRAIN_SECONDS: Final = 20.0
"""How long a stop may take to apply what the bus holds; Kubernetes kills after 30 s by default."""
MAX_REFUSALS_LOGGED: Final = 100
POLL_SECONDS: Final = 0.2
"""How long a poll of a drain waits for a message."""
BACK_OFF_SECONDS: Final = (0.1, 10.0)
"""First and longest wait before a failed action is tried again."""


@dataclass(frozen=True, slots=True)
class ClusterState:
    """What is known of the cluster: its snapshot, and how many objects of each kind were refused."""

    snapshot: Snapshot
    refused: Mapping[str, int]


class Engine:
    """Applies what `reader` gives under the state that `state` returns, and tells `publication` and `lake`.

    Not thread-safe: one thread calls `run`, or `step` and `drain`.
    """

    def __init__(
        self,
        config: PipelineConfig,
        reader: Reader,
        state: Callable[[], ClusterState],
        publication: Publication,
        lake: Lake | None = None,
    ) -> None:
        self.ready = threading.Event()
        """Set once the state is loaded and the bus has answered."""
        self._config = config
        self._reader = reader
        self._state = state
        self._publication = publication
        self._lake = lake
        self._meters = Meters()
        self._intake = Intake(self._meters)
        self._flows = FlowMetrics((IngressMetrics(),))
        self._interfaces = InterfaceMetrics()
        self._has_uncommitted = False
        self._settled_at = self._published_at = time.monotonic()

    def run(self, stop: threading.Event) -> int:
        """Work until `stop` is set, then apply what the bus holds. 0, or 1 where that could not be finished in time."""
        self._refresh_state()
        if self._lake is not None:
            self._lake.start()
        try:
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
        self._set_aside()
        if self._lake is not None and self._lake.held_rows >= self._config.lake_flush_rows:
            self._flush(self._lake)
        messages = self._reader.poll(timeout_s)
        self.ready.set()
        self._has_uncommitted |= bool(messages)
        for chunk in self._intake.take(messages):
            self._apply(chunk)
        if time.monotonic() - self._published_at >= self._config.window_s:
            self.publish()
        self._settle_what_is_due()

    def drain(self, timeout_s: float) -> bool:
        """Apply everything that the bus holds, flush, commit and publish; False where the time ran out first."""
        deadline = time.monotonic() + timeout_s

        def finish() -> None:
            self.step(POLL_SECONDS)
            while not self._reader.caught_up():
                if time.monotonic() > deadline:
                    raise TransientError("the bus still holds messages")
                self.step(POLL_SECONDS)
            self._settle()

        is_done = self._retry(finish, threading.Event(), deadline)
        self.publish()
        return is_done

    def publish(self) -> None:
        """Let readers of /metrics see everything that is counted by now."""
        self._interfaces.expire(time.time_ns())
        self._meters.missing(self._intake.missing())
        traffic = [*self._flows.samples(), *self._interfaces.samples()]
        series = sum(len(samples.values) for samples in traffic)
        self._publication.publish([*traffic, *self._meters.samples(series)])
        self._published_at = time.monotonic()

    def _apply(self, batches: Sequence[Decoded]) -> None:
        state = self._refresh_state()
        for batch in batches:
            newest_ns = cast("int | None", batch.frame["time"].max())
            self._meters.applied(batch.name.table, batch.name.node, batch.name.rows, newest_ns)
        flows = [batch.frame for batch in batches if batch.name.table == FLOWS.name]
        if flows:
            self._apply_flows(pl.concat(flows), state)
        counters = [batch.frame for batch in batches if batch.name.table == COUNTERS.name]
        if counters:
            self._apply_counters(pl.concat(counters), state)

    def _apply_flows(self, flows: pl.DataFrame, state: Snapshot) -> None:
        with self._meters.stage("attribute"):
            attributed = attribute(flows.lazy(), state).collect()
        with self._meters.stage("aggregate"):
            self._flows.use(state)
            self._flows.add(attributed)
        if self._lake is not None:
            with self._meters.stage("output"):
                self._lake.add(history_of(attributed, state))

    def _apply_counters(self, counters: pl.DataFrame, state: Snapshot) -> None:
        """Pods' own interfaces alone are exposed; those of pods that the state does not know cannot be named."""
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

    def _refresh_state(self) -> Snapshot:
        state = self._state()
        self._meters.objects = state.snapshot.objects
        self._meters.refused_objects = state.refused
        return state.snapshot

    def _settle_what_is_due(self) -> None:
        """Set unreadable messages aside; flush and commit where it is time to."""
        self._set_aside()
        if not self._has_uncommitted:
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
        self._reader.commit()
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


def run(config: PipelineConfig) -> int:
    """Run the pipeline until SIGTERM or SIGINT and return the exit code. Raises ConfigError where it cannot start."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    reader = open_reader(config.bus, config.group, TOPICS)
    publication = Publication()
    lake = Lake(config.lake) if config.lake is not None else None
    state = functools.cache(functools.partial(load_state, config.state))
    engine = Engine(config, reader, state, publication, lake)
    with PrometheusServer(config.listen_address, publication, engine.ready.is_set) as server:
        log.info("serving /metrics on %s:%d", *server.address)
        try:
            return engine.run(stop)
        except PermanentError as error:
            log.error("%s", error)  # noqa: TRY400 - what the bus said is enough, a traceback tells nothing more
            return 1


def load_state(path: Path) -> ClusterState:
    """The cluster's state from manifests; what is refused is logged and counted.

    Raises ConfigError where the path holds none.
    """
    objects, refusals = manifests.load(path)
    for refusal in refusals[:MAX_REFUSALS_LOGGED]:
        log.warning("state: %s", refusal)
    if len(refusals) > MAX_REFUSALS_LOGGED:
        log.warning("state: and %d more", len(refusals) - MAX_REFUSALS_LOGGED)
    state = ClusterState(snapshot.build(objects), Counter(refusal.kind for refusal in refusals))
    log.info("state: %d objects of %d kinds", sum(state.snapshot.objects.values()), len(state.snapshot.objects))
    return state
