"""Where the pipeline has the cluster's state from: manifests, which never change, or the bus, where a watcher tells.

Both are called for the state as it is now. The invariant: what the bus says is read from its beginning
at every start, so nothing of the cluster's state is kept anywhere else.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast

from collector.schema import STATE, BatchError

from .bus import Reader, open_reader
from .config import PipelineConfig
from .decode import decode
from .errors import TransientError
from .inventory import manifests, outside_file, snapshot
from .inventory.feed import MAX_REFUSALS_LOGGED, Feed
from .inventory.history import History
from .inventory.models import Resource
from .inventory.outside import BUILTIN, NamedRange
from .inventory.policy_history import KINDS, PolicyEpoch
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
    """The state of manifests, read at the first call."""

    def __init__(self, path: Path, outside: Sequence[NamedRange] = BUILTIN) -> None:
        self._path = path
        self._outside = outside
        self._state: ClusterState | None = None

    def __call__(self, meters: Meters) -> ClusterState:
        """The state. Raises ConfigError where the path holds none."""
        if self._state is None:
            self._state = load_state(self._path, self._outside)
        return self._state

    def stop(self) -> None:
        """Nothing is open."""


class BusState:
    """The state that a watcher tells on the bus. `reader` reads STATE's topic without a group."""

    def __init__(self, reader: Reader, history: History | None = None) -> None:
        self._reader = reader
        self._history = history or History()
        self._feed = Feed(self._history)
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
        is_synced = self._has_caught_up and self._history.is_synced
        if not is_synced:
            self._warn("state: no watcher has told the cluster's state on the bus yet")
        return ClusterState(
            self._history.snapshot(),
            self._feed.refused,
            self._history.known_until,
            is_synced,
            self._history.policy_epochs(),
            self._feed.missing,
        )

    def objects(self) -> list[Resource]:
        """All objects that there are now."""
        return self._history.objects()

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
                        meters.applied(STATE.name, name.node, name.rows, newest_ns)
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


def load_state(path: Path, outside: Sequence[NamedRange] = BUILTIN) -> ClusterState:
    """The cluster's state from manifests; what is refused is logged and counted.

    Raises ConfigError where the path holds none.
    """
    objects, refusals = manifests.load(path)
    for refusal in refusals[:MAX_REFUSALS_LOGGED]:
        log.warning("state: %s", refusal)
    if len(refusals) > MAX_REFUSALS_LOGGED:
        log.warning("state: and %d more", len(refusals) - MAX_REFUSALS_LOGGED)
    state = ClusterState(
        snapshot.build(objects, outside=outside),
        Counter(refusal.kind for refusal in refusals),
        epochs=(PolicyEpoch(BEGINNING, tuple(item for item in objects if isinstance(item, KINDS))),),
    )
    log.info("state: %d objects of %d kinds", sum(state.snapshot.objects.values()), len(state.snapshot.objects))
    return state
