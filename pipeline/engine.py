"""The loop of the pipeline: poll, decode, apply, settle, publish.

It says when; how something is settled is `settling`'s affair. With a snapshot folder the invariant is: what readers of
/metrics see is in a snapshot on disk, with the places on the bus up to which it counts and all that tells a batch that
came before, so that a process that takes over goes on from exactly there: nothing is lost, counted twice or taken back.

Without one a position is committed when everything before it is dealt with, so that a restart repeats work and skips
none. Metrics begin at zero then.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

from collector.schema import COUNTERS, FLOWS, TABLES

from .aggregate.samples import Samples
from .bus import GroupReader, Partition, Reader
from .bus.share import Share
from .config import PipelineConfig
from .decode import Rows
from .errors import TransientError
from .geo import Geo
from .intake import Intake
from .nodekeys import NodeKeys
from .outputs.lake import Lake
from .outputs.live import LiveTail
from .outputs.meters import Meters
from .outputs.publication import Publication
from .pacing import Pace
from .prices import Prices
from .settling import Settling
from .snapshots.folder import SnapshotFolder
from .stages import Stages
from .state import StateNow

log = logging.getLogger(__name__)

TOPICS: Final = tuple(table.topic for table in TABLES.values())
FIRST: Final[Partition] = (FLOWS.topic, "0")
"""Whichever member of a group has this partition does what one does for all."""
DRAIN_SECONDS: Final = 20.0
"""How long a stop may take to apply what the bus holds; Kubernetes kills after 30 s by default."""
POLLS_OF_A_WINDOW: Final = 4
"""A step costs much the same whether it brings ten batches or a hundred, and nobody sees more of it before the next
publication: so they are taken together, a few times a window."""
REST_SECONDS: Final = 0.25
"""The longest wait for more to come together, where windows are long."""
LEAST_POLL_SECONDS: Final = 0.05
"""How long a poll waits for a message at least, also where publishing is due."""
POLL_SECONDS: Final = 0.2
"""How long a poll of a drain waits for a message."""
HELD_POLL_SECONDS: Final = 0.1
"""How long a poll waits while rows wait for the state."""
AHEAD_ROWS: Final = 500_000
"""So many rows are put off while a commit is overdue; then the bus keeps the rest until the commit went through."""
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
        folder: SnapshotFolder | None = None,
        turn: Callable[[], None] = lambda: None,
        member: str = "",
        share: Share | None = None,
    ) -> None:
        self.ready = threading.Event()
        """Set once the state is loaded and the bus has answered."""
        self._turn = turn
        """Called at each turn of a loop, also of one that waits."""
        self._config = config
        self._reader = reader
        self._publication = publication
        self._meters = Meters(share)
        keys = NodeKeys(config.root_key) if config.root_key is not None else None
        self._intake = Intake(self._meters, config.lateness_s, keys)
        self._stages = Stages(config, state, self._meters, lake, prices, live, geo)
        self._lake = lake
        self._settling = Settling(config, reader, self._stages, self._intake, self._meters, lake, folder, member)
        self._member = reader if isinstance(reader, GroupReader) and reader.is_shared else None
        """The reader, where partitions may come and go."""
        self._held: frozenset[Partition] | None = None
        self._shown: list[Samples] = []
        """What readers of /metrics see, where a snapshot has it."""
        self._ahead: list[Sequence[Rows]] = []
        """What was polled while a commit was overdue: it is applied after the commit, which ends at `_mark`."""
        self._mark: object = None
        self._pace = Pace(config.window_s, time.monotonic())

    @property
    def is_first(self) -> bool:
        """Whether we are who does what one member of a group does for all. Any thread may ask."""
        return self._member is None or FIRST in (self._member.held or ())

    def run(self, stop: threading.Event) -> int:
        """Work until `stop` is set, then apply what the bus holds. 0, or 1 where that could not be finished in time."""
        try:
            if not self._retry(self._settling.open, stop):
                return 0
            if self._lake is not None and not self._retry(self._lake.start, stop):
                return 0
            if not self._retry(self._take_up, stop) or not self._retry(lambda: self._await_state(stop), stop):
                return 0
            if stop.is_set() or not self._retry(self._settling.start_reading, stop):
                return 0
            while not stop.is_set():
                began_s = time.monotonic()
                self._retry(lambda: self.step(self._until_due_s()), stop)
                stop.wait(self._rest_s(began_s))
            return 0 if self.drain(DRAIN_SECONDS) else 1
        finally:
            self._settling.close()

    def step(self, timeout_s: float) -> None:
        """Take what the bus has, waiting up to `timeout_s` for it, and settle what is due.

        Raises TransientError where bus or disk refuse; the next call takes up what was left undone. It does not poll
        while the disk refuses a full history, so memory stays bounded, but does where the bus refuses a commit: a group
        that has moved on without us lets us commit again only after a poll.
        """
        began_s = time.monotonic()  # what was on the bus by now is applied before what waits for it goes on
        settling = self._settling
        if settling.is_torn:
            self.publish()
        settling.put_aside()
        if settling.is_history_full:
            self._write_history()
        if settling.is_overdue:
            self._look_ahead(min(timeout_s, HELD_POLL_SECONDS))
        else:
            self._catch_up()
            self._go_on(min(timeout_s, HELD_POLL_SECONDS) if self._stages.held_rows else timeout_s)
            if settling.is_asked_for:
                self.publish()  # what we have counted is ours, and others go on behind it
        self._stages.release(began_s)
        if time.monotonic() >= self._due_at:
            self.publish()
        if not settling.by_snapshots:
            settling.commit_what_is_due(self._mark)

    def _go_on(self, timeout_s: float) -> None:
        """Poll and apply; what was polled is let go by the end, for publishing takes memory too."""
        messages = self._reader.poll(timeout_s)
        self.ready.set()
        self._leave_to_others()
        self._settling.has_unsettled |= bool(messages)
        for chunk in self._intake.take(messages):
            self._stages.apply(chunk)

    def _leave_to_others(self) -> None:
        """Forget what counters of nodes said last whose partitions have gone, for sums over members would have it
        twice."""
        held = self._member.held if self._member is not None else None
        if held is not None and held != self._held:
            self._held = held
            self._stages.keep_nodes(self._intake.nodes(COUNTERS.name, held))

    @property
    def _due_at(self) -> float:
        """When to publish next."""
        return self._pace.due_at(sum(self._reader.lag().values()))

    def _until_due_s(self) -> float:
        """How long until publishing is due, and so how long a poll may wait."""
        return max(LEAST_POLL_SECONDS, self._due_at - time.monotonic())

    def _rest_s(self, began_s: float) -> float:
        """How long to let messages come together before the step after one that began at `began_s`: not at all where
        the bus is known to hold more, and not beyond when publishing is due."""
        if any(self._reader.lag().values()):
            return 0.0
        window_s = self._config.window_s
        next_s = min(began_s + min(REST_SECONDS, window_s / POLLS_OF_A_WINDOW), self._due_at)
        return max(0.0, next_s - time.monotonic())

    def drain(self, timeout_s: float) -> bool:
        """Apply everything that the bus holds, flush, commit and publish; False where the time ran out first.

        Rows that wait for the cluster's state are waited for, unless a snapshot keeps them for the next process.
        """
        deadline = time.monotonic() + timeout_s

        def finish() -> None:
            self.step(POLL_SECONDS)
            while not self._reader.caught_up() or self._ahead or self._is_awaiting_rows():
                if time.monotonic() > deadline:
                    raise TransientError("the bus still holds messages")
                self.step(POLL_SECONDS)
            self._settle()

        is_done = self._retry(finish, threading.Event(), deadline)
        if not self._settling.by_snapshots:  # else what is settled is shown
            self.publish()
        self._stages.tell(is_last=True)
        return is_done

    def publish(self) -> None:
        """Let readers of /metrics see everything that is counted by now, once it is in a snapshot where there are any.

        Raises TransientError where the disk refuses, PermanentError where another process has taken over."""
        began_s = time.monotonic()
        self._stages.tell()
        self._meters.forget(self._intake.forget(self._meters.cluster, time.time()))
        self._meters.missing({**self._intake.missing(), **self._stages.missing})
        self._meters.held_rows = self._stages.held_rows
        self._meters.lag = self._reader.lag()
        self._meters.lost(self._reader.lost())
        self._meters.watermark = self._intake.watermark()
        traffic = self._stages.samples()
        series = sum(samples.series for samples in traffic)
        samples = [*traffic, *self._meters.samples(series)]
        try:
            self._settling.snapshot()
        except TransientError:  # what was shown stays shown, and that it fails
            self._publication.publish([*self._shown, *self._settling.failing(is_failing=True)])
            raise
        if not self._settling.is_short():
            self._shown = samples
            self._publication.publish([*samples, *self._settling.failing(is_failing=False)])
        self._pace.published(began_s, time.monotonic(), self._publication.pages_s)
        self._meters.published(time.time_ns())

    def _take_up(self) -> None:
        """Go on from the last snapshot, where there is one, and let readers see it."""
        if self._settling.take_up():
            self.publish()

    def _await_state(self, stop: threading.Event) -> None:
        """Return when the cluster is known: what is on the bus waits there meanwhile.

        All of the state is read again at every start, so with snapshots it is not counted before all of it was read.
        """
        meters = Meters() if self._settling.by_snapshots else self._meters
        while not self._stages.refresh(meters).is_synced and not stop.wait(POLL_SECONDS):
            self._turn()
            if time.monotonic() >= self._due_at:
                self.publish()

    def _look_ahead(self, timeout_s: float) -> None:
        """Poll for the names that held rows wait for alone; all else is put off until what came before is settled,
        as it is when these rows have waited long enough, whatever comes."""
        if not self._ahead:
            self._mark = self._reader.mark()
        if sum(len(rows.frame) for chunk in self._ahead for rows in chunk) >= AHEAD_ROWS:
            time.sleep(timeout_s)
            return
        for chunk in self._intake.take(self._reader.poll(timeout_s)):
            self._ahead.append(chunk)
            self._stages.learn(chunk)

    def _catch_up(self) -> None:
        """Apply what was put off."""
        ahead, self._ahead, self._mark = self._ahead, [], None
        self._settling.has_unsettled |= bool(ahead)
        for chunk in ahead:
            self._stages.apply(chunk)

    def _is_awaiting_rows(self) -> bool:
        """Whether rows wait for the state and nothing keeps them for the next process."""
        return self._stages.held_rows > 0 and not self._settling.by_snapshots

    def _settle(self) -> None:
        """Settle all there is."""
        if self._settling.by_snapshots:
            self._settling.hurry()
            self.publish()
        else:
            self._settling.commit(self._mark)

    def _write_history(self) -> None:
        """Write a full history, together with the snapshot that it belongs to."""
        if self._settling.by_snapshots:
            self.publish()
        else:
            self._settling.flush()

    def _retry(self, action: Callable[[], None], stop: threading.Event, deadline: float = math.inf) -> bool:
        """Call `action` until it goes through, with back-off; False where `stop` or the deadline came first."""
        delay_s, longest_s = BACK_OFF_SECONDS
        while True:
            self._turn()
            try:
                action()
            except TransientError as error:
                log.warning("%s; trying again in %.1f s", error, delay_s)
                if time.monotonic() + delay_s > deadline or stop.wait(delay_s):
                    return False
                delay_s = min(2 * delay_s, longest_s)
            else:
                return True
