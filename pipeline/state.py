"""Where the pipeline has the cluster's state from: manifest files, or the bus, where a watcher tells.

Both are called for the state as it is now. The invariant: what the bus says is read from its beginning
at every start, so nothing of the cluster's state is kept anywhere else.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast

from collector.schema import STATE, BatchError

from .bus import Reader, open_reader
from .config import PipelineConfig
from .decode import decode
from .errors import TransientError
from .inventory import outside_file
from .inventory.feed import MAX_REFUSALS_LOGGED, Feed
from .inventory.history import LEARNT_FIRST, History
from .inventory.manifest_files import Key, ManifestFiles
from .inventory.manifests import Refusal
from .inventory.models import Resource, is_same
from .inventory.outside import BUILTIN, NamedRange
from .inventory.policy_history import PolicyEpoch
from .inventory.snapshot import Snapshot
from .inventory.spans import BEGINNING, END
from .outputs.meters import Meters

log = logging.getLogger(__name__)

FIRST_POLL_SECONDS: Final = 0.2
"""How long a poll waits until everything was read once."""
IDLE_SHARE: Final = 10
"""The next look comes after so many times what the last one took that found nothing: a folder may hold thousands of
segments."""
WARNING_SECONDS: Final = 60.0
"""That the bus does not answer, or that there is no watcher, is logged at most this often."""
LOOK_SECONDS: Final = 2.0
"""The least time between two looks at manifest files."""
LOOK_SHARE: Final = 50
"""The next comes after so many times what one took that found nothing: there may be thousands of files."""
_RANKS: Final[Mapping[type, int]] = {kind: rank for rank, kind in enumerate(LEARNT_FIRST)}


@dataclass(frozen=True, slots=True)
class ClusterState:
    """What is known of the cluster."""

    snapshot: Snapshot
    refused: Mapping[str, int]
    """How many objects of each kind were refused."""
    known_until: int = END
    """Every change before this instant is in here."""
    is_synced: bool = True
    """Whether anything is known at all."""
    epochs: Sequence[PolicyEpoch] = ()
    """What policies were made of."""
    missing: Mapping[str, int] = field(default_factory=dict)
    """Batches of the state that never came, by the watcher's name."""


StateNow = Callable[[Meters], ClusterState]
"""Gives the state as it is now, and counts what it took. Raises TransientError where it cannot be had yet."""


class ManifestState:
    """The state of manifest files, which are looked at again while it is asked for.

    What the first look finds has always been so; what a later one finds changed has changed when it was found. No flow
    waits for that: nobody tells of a change before it is there. Files are read beside the flows, by a thread of their
    own, for a large dump of YAML takes many seconds.
    """

    def __init__(self, path: Path, outside: Sequence[NamedRange] = BUILTIN) -> None:
        self._files = ManifestFiles(path)
        self._history = History(outside=outside)
        self._objects: Mapping[Key, Resource] = {}
        """What the history was told of."""
        self._refused: Mapping[str, int] = {}
        self._logged: set[Refusal] = set()
        self._reader = ThreadPoolExecutor(1, "manifests")
        self._looking: Future[float] | None = None
        self._next_look = 0.0

    def __call__(self, meters: Meters) -> ClusterState:
        """The state as the last look that has ended found it. Raises ConfigError where the first finds none."""
        if not self._history.is_synced:
            with meters.stage("state"):
                self._looked(self._look(), 0)
        elif self._looking is not None and self._looking.done():
            with meters.stage("state"):
                self._looked(self._looking.result(), time.time_ns())
            self._looking = None
        elif self._looking is None and time.monotonic() >= self._next_look:
            self._looking = self._reader.submit(self._look)
        return ClusterState(self._history.snapshot(), self._refused, epochs=self._history.policy_epochs())

    def look(self, time_ns: int) -> None:
        """See what the files say at that instant; how they are waited for is told by `ManifestFiles.look`."""
        self._looked(self._look(), time_ns)

    def stop(self) -> None:
        """Look no more; safe to call twice."""
        self._reader.shutdown(wait=False)

    def _look(self) -> float:
        """Look, and how long to wait for the next."""
        began = time.monotonic()
        has_changed = self._files.look()
        return LOOK_SECONDS if has_changed else max(LOOK_SECONDS, LOOK_SHARE * (time.monotonic() - began))

    def _looked(self, pause_s: float, time_ns: int) -> None:
        """Tell the history what the look found."""
        self._next_look = time.monotonic() + pause_s
        self._tell_refusals(self._files.refusals)
        before, self._objects = self._objects, self._files.objects
        if not self._history.is_synced:
            self._begin()
        elif self._objects is not before:
            self._change(before, time_ns)

    def _begin(self) -> None:
        self._history.begin()
        for resource in self._objects.values():
            self._history.put(BEGINNING, resource)
        self._history.synced(BEGINNING)
        counts = self._history.snapshot().objects
        log.info("state: %d objects of %d kinds", sum(counts.values()), len(counts))

    def _change(self, before: Mapping[Key, Resource], time_ns: int) -> None:
        """What went goes first, so that an address that passed from one pod to another is the other's."""
        gone = [before[key] for key in before.keys() - self._objects.keys()]
        came = [item for key, item in self._objects.items() if not is_same(before.get(key), item)]
        for item in gone:
            self._history.drop(time_ns, item)
        for item in sorted(came, key=lambda item: _RANKS.get(type(item), len(_RANKS))):
            self._history.put(time_ns, item)
        if gone or came:
            log.info("state: %d objects came or changed, %d went", len(came), len(gone))

    def _tell_refusals(self, refusals: Sequence[Refusal]) -> None:
        """Count what is refused, and log what was not before."""
        self._refused = Counter(refusal.kind for refusal in refusals)
        new = [refusal for refusal in refusals if refusal not in self._logged]
        self._logged = set(refusals)
        for refusal in new[:MAX_REFUSALS_LOGGED]:
            log.warning("state: %s", refusal)
        if len(new) > MAX_REFUSALS_LOGGED:
            log.warning("state: and %d more", len(new) - MAX_REFUSALS_LOGGED)


class BusState:
    """The state that a watcher tells on the bus. `reader` reads STATE's topic without a group."""

    def __init__(self, reader: Reader, history: History | None = None) -> None:
        self._reader = reader
        self._feed = Feed(history or History())
        self._has_started = False
        self._has_caught_up = False
        self._next_look = 0.0
        self._warned_at = -WARNING_SECONDS

    def __call__(self, meters: Meters) -> ClusterState:
        """Read what there is to read, without waiting for more once everything was read."""
        try:
            self._read(meters)
        except TransientError as error:
            if not self._has_caught_up:
                raise
            self._warn("%s; flows are judged by what is known", error)
        history = self._feed.history
        is_synced = self._has_caught_up and history.is_synced
        if not is_synced:
            self._warn("state: no watcher has told the cluster's state on the bus yet")
        return ClusterState(
            history.snapshot(),
            self._feed.refused,
            history.known_until,
            is_synced,
            history.policy_epochs(),
            self._feed.missing,
        )

    def objects(self) -> list[Resource]:
        """All objects that there are now."""
        return self._feed.history.objects()

    def stop(self) -> None:
        """Leave the bus; safe to call twice."""
        self._reader.stop()

    def _read(self, meters: Meters) -> None:
        if not self._has_started:
            self._reader.start()
            self._has_started = True
        if time.monotonic() < self._next_look:
            return
        while True:
            began = time.monotonic()
            messages = self._reader.poll(0.0 if self._has_caught_up else FIRST_POLL_SECONDS)
            for message in messages:
                try:
                    with meters.stage("decode"):
                        batch = decode(message, {STATE.name: STATE})
                except BatchError as error:
                    log.warning("quarantined %s: %s", message.origin, error)
                    meters.quarantined(error.reason)
                    self._reader.quarantine(message, error.reason)
                    continue
                with meters.stage("state"):
                    name = batch.name
                    if self._feed.take(name.node, name.epoch, name.seq, batch.frame):
                        newest_ns = cast("int | None", batch.frame["time"].max())
                        meters.applied(STATE.name, [name.node], [name.rows], [newest_ns or 0])
            self._has_caught_up = self._has_caught_up or self._reader.caught_up()
            if not messages:
                now = time.monotonic()
                self._next_look = now + IDLE_SHARE * (now - began) if self._has_caught_up else now
                break

    def _warn(self, text: str, *arguments: object) -> None:
        now = time.monotonic()
        if now - self._warned_at >= WARNING_SECONDS:
            self._warned_at = now
            log.warning(text, *arguments)


def open_state(config: PipelineConfig, kafka_options: Mapping[str, Any] | None = None) -> ManifestState | BusState:
    """Where the settings say that the state is. Raises ConfigError for a bus or a file that cannot be one."""
    outside = outside_file.load(config.outside) if config.outside is not None else BUILTIN
    if config.is_state_on_bus:
        return BusState(open_reader(config.bus, None, [STATE.topic], kafka_options), History(outside=outside))
    return ManifestState(config.state, outside)
