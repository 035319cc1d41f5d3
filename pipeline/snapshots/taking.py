"""When a snapshot is taken and taken up: what goes into it, and what comes before it counts.

The order is the promise: the snapshot is prepared on disk, then the history is written (where it is due) under the
snapshot's version, then the snapshot counts. The invariant: what `take` has returned from is what a successor has.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from ..aggregate.samples import Samples, samples_of
from ..bus import Places
from ..catalog import BY_NAME
from ..intake import Intake
from ..kept import Frames, frames_of, restored
from ..outputs.meters import Meters
from ..stages import Stages
from .folder import SnapshotFolder
from .layout import Content

log = logging.getLogger(__name__)

WriteHistory = Callable[[int], None]
"""Writes the rows that the history holds, as belonging to a version."""


class Snapshots:
    """Takes what `stages`, `intake` and `meters` know to and from a folder."""

    def __init__(
        self, folder: SnapshotFolder, stages: Stages, intake: Intake, meters: Meters, writer: str = ""
    ) -> None:
        """`writer` is the name under which the history is written."""
        self.places: Places | None = None
        """Where on the bus the last snapshot ends; None where there is none."""
        self.taken_up = 0
        """The version of the snapshot that we went on from."""
        self._folder = folder
        self._stages = stages
        self._intake = intake
        self._meters = meters
        self._last: dict[str, Any] = {}
        self._writer = writer
        self._settles: dict[str, int] = {}
        """Under which version the history was written last, by the name of who did."""

    @property
    def is_short(self) -> bool:
        """Whether the snapshot that we went on from is not the last one, which could not be read."""
        return self._folder.is_short

    def open(self) -> None:
        """Be who writes to the folder. Raises TransientError while another process is, ConfigError where it cannot be
        used."""
        if not self._folder.is_open:
            self._folder.open()

    def take_up(self, in_history: int | None = None, agreed: Callable[[], int | None] = lambda: None) -> bool:
        """Open the folder and go on from its last snapshot; whether there is one. `in_history` is the last one that the
        history has, 0 where it has none, and None where there is no history. `agreed` is asked for the last one that
        others go on from, where the folder does not tell.

        Raises TransientError while another process has the folder, ConfigError where it cannot be used.
        """
        began = time.monotonic()
        self.open()
        counts = in_history
        if self._folder.has_prepared() and (last := agreed()) is not None:
            counts = max(last, in_history or 0)
        content = self._folder.load(counts)
        if content is None:
            self._meters.refused_snapshots += self._folder.refused
            tell = log.warning if in_history else log.info
            tell("metrics begin at zero: there is no snapshot%s", ", but a history of before" if in_history else "")
            return False
        values, frames = content.values, content.frames
        self.taken_up = self._folder.loaded
        self._settles = {name: settle or self.taken_up for name, settle in values.get("settles", {}).items()}
        if in_history is not None:
            frames = self._lacked(frames, in_history)
        self._intake.restore(values["batches"])
        self._meters.restore(values["meters"])
        self._meters.refused_snapshots += self._folder.refused
        for part, rows in restored(self._stages.kept(), frames).items():
            log.warning("snapshot: %d rows of %s were kept under other labels or columns than today's", rows, part)
            self._meters.misfits[part] += rows
        self.places = values["places"]
        log.info("snapshot: taken up in %.2f s", time.monotonic() - began)
        return True

    def take(
        self,
        places: Places,
        write_history: WriteHistory | None = None,
        agree: Callable[[int], None] | None = None,
    ) -> None:
        """Let everything until `places` count. Where nothing has changed since the last time, nothing is written.
        `agree` is told the version once it is on disk, and lets it count for others.

        Raises TransientError where a disk refuses, PermanentError where another process has taken over.
        """
        began = time.monotonic()
        values = {
            "places": places,
            "batches": self._intake.state(),
            "meters": self._meters.state(),
            "expired": self._stages.expired,
            "settles": self._settles if write_history is None else {**self._settles, self._writer: 0},  # 0: this one
        }
        if values == self._last and write_history is None:
            return
        held = {} if write_history is None else {"lake"}
        parts = {name: part for name, part in self._stages.kept().items() if name not in held}
        is_awaited = agree is not None or write_history is not None
        version = self._folder.prepare(Content(values, frames_of(parts)), is_awaited=is_awaited)
        if agree is not None:
            agree(version)
        if write_history is not None:
            write_history(version)
            self._settles = values["settles"] = {**self._settles, self._writer: version}
        self._folder.promote()
        self.places, self._last = places, values
        self._meters.snapshot(time.time(), time.monotonic() - began, self._folder.bytes)

    def _lacked(self, frames: Frames, in_history: int) -> Frames:
        """What of a snapshot the history does not have. Where the two are not of one moment the log says so."""
        settled = self._settles.get(self._writer, 0)
        if in_history < settled:
            log.warning(
                "snapshot: the history is an older one, or another: it ends with settle %d, and what was written up to "
                "settle %d is not written again",
                in_history,
                settled,
            )
        if in_history <= self.taken_up:
            return frames
        log.warning(
            "snapshot: it is an older one, %d, and the history goes on to settle %d: what comes again is there twice",
            self.taken_up,
            in_history,
        )
        return {name: rows for name, rows in frames.items() if not name.startswith("lake:")}

    def failing(self, *, is_failing: bool) -> Samples:
        """The metric that says whether the last one could be written."""
        return samples_of(BY_NAME["flowatlas_pipeline_snapshot_failing"], {(): int(is_failing)})

    def close(self) -> None:
        """Let the folder go; safe to call twice."""
        self._folder.close()
