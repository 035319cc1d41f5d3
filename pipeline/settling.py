"""When what was applied counts for good: unreadable messages set aside, the history on disk, then a snapshot, the
group's agreement to it, or a commit to the bus.

It polls nothing, applies nothing and shows nothing; when it is time to is asked of it, and the engine does it. The
invariant: what the bus, the group or a successor takes for done is counted, in the history on disk (where there is one)
and set aside (where it could not be read), and with snapshots in one of them, never less and never more.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from typing import Final

from collector.schema import COUNTERS

from .aggregate.samples import Samples
from .bus import GroupReader, Places, Reader, ShareReader
from .config import PipelineConfig
from .errors import ConfigError, TransientError
from .handover import HandOver
from .intake import Intake
from .outputs.lake import Lake
from .outputs.meters import Meters
from .snapshots.folder import SnapshotFolder
from .snapshots.taking import Snapshots
from .stages import Stages

log = logging.getLogger(__name__)

HINT_SECONDS: Final = 5.0
"""With snapshots the bus is told this often how far they are: what others see of us, and nothing we go by. Of a fixed
share it is told with each snapshot that has more."""
SPILL_ROWS: Final = 200_000
"""So many rows of the history are rather written than put into a snapshot, which costs nearly as much."""


class Settling:
    """Settles what `reader` gave and `stages` applied: by snapshots where there is a folder, else by commits.

    Every method that does so raises TransientError where bus or disk refuse, and PermanentError where another process
    has taken over; the next call takes up what was left undone.
    """

    def __init__(
        self,
        config: PipelineConfig,
        reader: Reader,
        stages: Stages,
        intake: Intake,
        meters: Meters,
        lake: Lake | None = None,
        folder: SnapshotFolder | None = None,
        member: str = "",
    ) -> None:
        self.has_unsettled = False
        """Whether anything was applied since; who applies says so."""
        self.is_torn = False
        """Whether some rows of the history may be in its tables of which no snapshot knows yet."""
        self._config = config
        self._reader = reader
        self._stages = stages
        self._intake = intake
        self._meters = meters
        self._lake = lake
        writer = (lake.app or "") if lake is not None else ""
        self._snapshots = Snapshots(folder, stages, intake, meters, writer) if folder is not None else None
        self._group: GroupReader | None = None
        """The reader, where partitions change hands and snapshots say how far we are."""
        if folder is not None and isinstance(reader, GroupReader) and reader.is_shared:
            self._group = reader
            self._hand_over = HandOver(member, intake, meters)
            reader.attend(self._hand_over)
        self._is_reading = False
        self._is_short = False
        self._settled_at = self._flushed_at = self._hinted_at = time.monotonic()
        self._hinted_places: Places | None = None

    @property
    def by_snapshots(self) -> bool:
        """Whether what is shown is in a snapshot first; else what is applied is committed when it is time to."""
        return self._snapshots is not None

    @property
    def is_asked_for(self) -> bool:
        """Whether partitions go to others, who go on behind what is settled by then."""
        return self._group is not None and self._group.is_leaving

    @property
    def is_history_full(self) -> bool:
        """Whether the history has to be written before more is applied."""
        return self._lake is not None and self._lake.held_rows >= self._config.lake_flush_rows

    @property
    def is_overdue(self) -> bool:
        """Whether nothing more may be applied before the rows that wait for the state are counted: a commit is for all
        that was applied. A snapshot has such rows in it, so that nothing waits for them."""
        if self.by_snapshots:
            return False
        waited_s = time.monotonic() - self._settled_at
        return self._stages.held_rows > 0 and self.has_unsettled and waited_s >= self._config.lake_flush_s

    def is_short(self) -> bool:
        """Whether less is counted than was shown once, since the last snapshot could not be read: until all is read
        again that the bus held. Raises TransientError where it does not tell."""
        if self._is_short and self._is_reading:
            self._is_short = not self._reader.caught_up() if self._group is None else self._group.is_recalling
        return self._is_short

    def open(self) -> None:
        """Wait for who takes snapshots there before us; only then may the history be taken from them."""
        if self._snapshots is not None:
            self._snapshots.open()

    def take_up(self) -> bool:
        """Go on from the last snapshot; whether there is one."""
        if self._snapshots is None:
            log.info("metrics begin at zero: there is no pipeline.snapshot, so a restart counts at least once")
            return False
        in_history = None if self._lake is None else self._lake.committed() or 0
        is_there = self._snapshots.take_up(in_history, self._agreed)
        self._is_short = self._snapshots.is_short
        return is_there

    def start_reading(self) -> None:
        """Start the reader where the last snapshot ends, else where the history does, or behind the last commit."""
        snapshots = self._snapshots
        if snapshots is not None and snapshots.places is not None:
            notes = self._group.notes() if self._group is not None else {}
            self._reader.start(snapshots.places)
            self._leave_to_others(snapshots.places)
            if self._group is not None:
                self._group.recall(self._hand_over.unkept(notes, snapshots.taken_up))
                self._is_short |= self._group.is_recalling
        else:
            self._start_where_history_ends()
        self._is_reading = True

    def put_aside(self) -> None:
        """Set unreadable messages aside."""
        while self._intake.refused:
            self._reader.quarantine(*self._intake.refused[0])
            self._intake.refused.popleft()
            self._hinted_at = -math.inf  # a commit waits until what was put aside has arrived

    def snapshot(self) -> None:
        """Put everything that is counted on disk, and let others go on from there; nothing before reading began, nor
        before a member of a group has counted again what only a snapshot had that cannot be read."""
        if self._snapshots is None or not self._is_reading:
            return
        self.put_aside()
        if self._group is not None and self._group.is_recalling:
            return
        if self._group is None:
            self._snapshots.take(self._reader.places(), self._due_history())
        else:
            self._snapshot_in_group(self._snapshots, self._group)
        self.has_unsettled = False
        if self._group is None:
            self._hint(self._snapshots.places)

    def failing(self, *, is_failing: bool) -> list[Samples]:
        """The metric that says whether the last snapshot could be taken, where there are any."""
        return [self._snapshots.failing(is_failing=is_failing)] if self._snapshots is not None else []

    def commit(self, mark: object) -> None:
        """Without snapshots: write the history and commit what was polled, up to the mark."""
        self.put_aside()
        self.flush()
        self._reader.commit(mark)
        self.has_unsettled = False
        self._settled_at = time.monotonic()

    def commit_what_is_due(self, mark: object) -> None:
        """Set unreadable messages aside; commit where it is time to, and nothing waits for the state."""
        self.put_aside()
        if not self.has_unsettled or self._stages.held_rows:
            return
        if self._lake is None or self._due_history(since=self._settled_at) is not None:
            self.commit(mark)

    def hurry(self) -> None:
        """Let all that there is be due, now."""
        self._flushed_at = self._hinted_at = -math.inf

    def flush(self) -> None:
        """Without snapshots: write the history, and commit nothing."""
        if self._lake is not None:
            self._write(self._lake)

    def close(self) -> None:
        """Let the reader and the snapshots go; safe to call twice."""
        self._reader.stop()
        if self._snapshots is not None:
            self._snapshots.close()

    def _leave_to_others(self, places: Places) -> None:
        """Forget which batches came from partitions with which others have gone on since, and what counters of their
        nodes said last: a sum over shares would have that twice."""
        if not isinstance(self._reader, ShareReader) or not self._reader.gone:
            return
        kept = {(topic, partition) for topic, of in places.items() for partition in of} - self._reader.gone
        self._intake.keep(kept)
        self._stages.keep_nodes(self._intake.nodes(COUNTERS.name, kept))
        self._meters.known_missing(self._intake.missing())

    def _start_where_history_ends(self) -> None:
        """Go on where the history ends; where it does not tell, or is of another bus, behind the last commit."""
        places = self._lake.places() if self._lake is not None and self._group is None else None
        if places is not None:
            try:
                self._reader.start(places)
            except ConfigError as error:
                log.warning("the history does not tell where to go on: %s", error)
            else:
                return
        self._reader.start()

    def _snapshot_in_group(self, snapshots: Snapshots, group: GroupReader) -> None:
        """The group agrees to a snapshot that has the rows of the history, which are then written without applying any
        more: so what the tables have never lies beyond what the group has agreed to."""
        if not self.is_torn or self._due_history() is None:  # the tables have all, and the snapshot alone did not count
            snapshots.take(self._reader.places(), agree=group.settle)
            self.is_torn = False
        write_history = self._due_history()
        if write_history is not None:
            self.is_torn = True
            snapshots.take(self._reader.places(), write_history)
            self.is_torn = False

    def _agreed(self) -> int | None:
        """The last of our snapshots from which the group goes on."""
        return self._hand_over.settled_in(self._group.notes()) if self._group is not None else None

    def _due_history(self, since: float | None = None) -> Callable[[int], None] | None:
        """What writes the history to disk, where it is time to."""
        lake = self._lake
        waited_s = time.monotonic() - (self._flushed_at if since is None else since)
        most = self._config.lake_flush_rows
        if self.by_snapshots:
            most = min(most, SPILL_ROWS)
        if lake is None or (waited_s < self._config.lake_flush_s and lake.held_rows < most):
            return None
        return lambda version: self._write(lake, version)

    def _write(self, lake: Lake, version: int | None = None) -> None:
        """Write the rows that the history holds, those of a snapshot as belonging to it."""
        self._flushed_at = -math.inf  # what was not written whole is due
        with self._meters.stage("output"):
            if version is None:
                lake.flush()
            else:
                lake.commit(version, self._reader.places())
        self._flushed_at = time.monotonic()

    def _hint(self, places: Places | None) -> None:
        """Tell the bus how far we are: of a fixed share at once, for after another cut nobody knows more."""
        is_told = not isinstance(self._reader, ShareReader) or places == self._hinted_places
        if is_told and time.monotonic() - self._hinted_at < HINT_SECONDS:
            return
        self._hinted_at, self._hinted_places = time.monotonic(), places
        try:
            self._reader.commit()
        except TransientError as error:
            log.warning("%s; the snapshot is what counts", error)
