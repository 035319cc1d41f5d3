"""Lives of a pipeline, one after the other, in one process: a folder bus, snapshots and Delta tables on a real disk.

A life is the engine as `flowatlas pipeline` runs it, without the web server. It ends in order, or dies at a call that
changes the disk, or is suspended there while another life goes on. The invariant: what outlives a life is on the disk.
"""

from __future__ import annotations

import os
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

from collector.schema import FLOWS, Batch, pack_record
from collector.sinks.segments import segment_name
from pipeline.aggregate.samples import Samples
from pipeline.bus import Reader
from pipeline.bus.files import FileReader
from pipeline.config import PipelineConfig
from pipeline.engine import Engine
from pipeline.lake.store import Store
from pipeline.outputs.lake import Lake
from pipeline.outputs.publication import Publication
from pipeline.snapshots.folder import SnapshotFolder
from pipeline.state import ClusterState, StateNow
from tests.faults.ledger import NOTHING, Account, Ledger, Lost, reconcile
from tests.pipeline.shipments import NOW
from tests.pipeline.small_cluster import small_cluster

GROUP: Final = "faults"
CLUSTER: Final = ClusterState(small_cluster(), {})
CALLS: Final[tuple[tuple[Any, str], ...]] = (
    *((Path, name) for name in ("rename", "unlink")),
    *((os, name) for name in ("open", "fsync")),
    *((Store, name) for name in ("write", "commit", "discard")),
)
"""What changes the disk; a commit of a Delta table is one call, for its library makes it whole or not at all."""


_OPEN: Final = os.open


def afterwards(call: Callable[..., Any], result: Any, what: Callable[[], None]) -> None:
    """Do something once a call has taken effect; where that ends a life, close what was opened, for nobody else can."""
    try:
        what()
    except BaseException:
        if call is _OPEN:
            os.close(result)
        raise


COUNTED: Final = ("flowatlas_flow_bytes_total", "flowatlas_connections_total", "flowatlas_pipeline_rows_total")


class Death(BaseException):
    """The life ends here: nothing of ours catches it."""


class Unhurried(PipelineConfig):
    """Settings that no check has seen."""

    def __post_init__(self) -> None:
        """Nothing is refused."""


class Seen(Publication):
    """Notes which counters of flows were ever less than somebody may have seen, over all lives."""

    def __init__(self, most: Counter[str], fallen: set[str]) -> None:
        super().__init__()
        self._most = most
        self._fallen = fallen

    def publish(self, metrics: Sequence[Samples]) -> None:
        for samples in metrics:
            name = samples.metric.name
            if name in COUNTED:
                total = int(samples.values.sum())
                if total < self._most[name]:
                    self._fallen.add(name)
                self._most[name] = max(total, self._most[name])
        super().publish(metrics)


@dataclass
class Disk:
    """What outlives a life, and what is shipped to it."""

    root: Path
    ledger: Ledger
    left: int
    """Batches that are still to be shipped."""
    name: str = "0"
    """Who works on it: the member, where there are several."""
    flush_rows: int = 60
    """The history is written when so many rows are held."""
    again: float = 0.2
    """The share of batches that come twice."""
    time_ns: Callable[[], int] = lambda: NOW
    chance: random.Random = field(default_factory=lambda: random.Random(5))
    publication: Publication = field(default_factory=Publication)
    """What the last life has shown."""
    most: Counter[str] = field(default_factory=Counter)
    fallen: set[str] = field(default_factory=set)
    """Counters that were less than they had been."""

    @property
    def lake(self) -> Path:
        """The history."""
        return self.root / "lake"

    def ship(self) -> None:
        """Put the next batch on the bus, or nothing where all were."""
        if self.left:
            self.left -= 1
            shipped = self.ledger.batch(self.time_ns())
            is_again = self.chance.random() < self.again
            self.ledger.again += is_again
            self.put(shipped, 1 + is_again)

    def put(self, shipped: Batch, times: int) -> None:
        """Put a batch on the bus so many times, as a collector's sink does, but by no call of CALLS."""
        folder = self.root / "bus" / shipped.topic / shipped.node
        folder.mkdir(parents=True, exist_ok=True)
        name = folder / segment_name(shipped.epoch, shipped.seq)
        name.with_suffix(".part").write_bytes(times * pack_record(shipped.headers(), shipped.value))
        os.replace(name.with_suffix(".part"), name)  # noqa: PTH105 - see above

    def forget_locks(self) -> None:
        """Let a life begin beside another, as file systems do whose locks end with a lease. Each has its own page."""
        self.most = Counter()
        for lock in (self.root / "snapshot" / GROUP / "0" / "lock", *self.root.glob("bus/**/*.lock")):
            lock.unlink(missing_ok=True)

    def account(self, lost: Lost = NOTHING, *, is_ordered: bool = True) -> Account:
        """What the last life has shown, and the history, against the ledger."""
        page = self.publication.text().decode()
        return reconcile(self.ledger, page, self.lake, lost, is_ordered=is_ordered, fallen=len(self.fallen))


def live(
    disk: Disk,
    until: int = 0,
    on_turn: Callable[[], None] = lambda: None,
    reader: Reader | None = None,
    state: StateNow = lambda _: CLUSTER,
    window_s: float = 0.0,
) -> int:
    """One life: take up what is there, ship a batch at every turn, end when `until` are left. The engine's result.

    It reads the disk's bus, or `reader`; the cluster is as `state` says. A window of nothing publishes at every step.
    """
    stop = threading.Event()

    def turn() -> None:
        on_turn()
        if disk.left > until:
            disk.ship()
        elif engine.ready.is_set():
            stop.set()

    config = Unhurried(
        bus=f"file://{disk.root / 'bus'}",
        state=Path("unused"),
        group=GROUP,
        snapshot=disk.root / "snapshot",
        window_s=window_s,
        state_wait_s=0.5,
        lake_flush_s=3600.0,
        lake_flush_rows=disk.flush_rows,
    )
    disk.publication = Seen(disk.most, disk.fallen)
    reader = reader or FileReader(config.bus, GROUP, [FLOWS.topic])
    lake = Lake(disk.lake, app=f"{GROUP}/{disk.name}")
    folder = SnapshotFolder(disk.root / "snapshot", GROUP)
    engine = Engine(config, reader, state, disk.publication, lake, folder=folder, turn=turn, member=disk.name)
    try:
        return engine.run(stop)
    finally:
        folder.close()
        reader.stop()


class Disturbed:
    """Counts the calls that change the disk, and does something before or after one of them."""

    def __init__(self, at: int, *, is_done: bool, disturb: Callable[[], None]) -> None:
        """`disturb` is called once, at call number `at`: after it took effect where `is_done`, else before."""
        self.calls = 0
        self._at = at
        self._is_done = is_done
        self._disturb = disturb
        self._is_aside = False

    def around(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def guarded(*arguments: Any, **more: Any) -> Any:
            if self._is_aside:
                return call(*arguments, **more)
            number = self.calls
            self.calls += 1
            if number == self._at and not self._is_done:
                self._aside()
            result = call(*arguments, **more)
            if number == self._at and self._is_done:
                afterwards(call, result, self._aside)
            return result

        return guarded

    def _aside(self) -> None:
        self._is_aside = True
        try:
            self._disturb()
        finally:
            self._is_aside = False


class Dying(Disturbed):
    """The life ends at that call, and what it would still do on its way out has no effect."""

    def __init__(self, at: int, *, is_done: bool) -> None:
        super().__init__(at, is_done=is_done, disturb=self._die)
        self.is_dead = False

    def around(self, call: Callable[..., Any]) -> Callable[..., Any]:
        guarded = super().around(call)

        def dead_or_guarded(*arguments: Any, **more: Any) -> Any:
            if self.is_dead:
                raise Death
            return guarded(*arguments, **more)

        return dead_or_guarded

    def _die(self) -> None:
        self.is_dead = True
        raise Death


@contextmanager
def disturbed(by: Disturbed, calls: Sequence[tuple[Any, str]] = CALLS) -> Iterator[None]:
    """These calls go through it."""
    with pytest.MonkeyPatch.context() as patched:
        for owner, name in calls:
            patched.setattr(owner, name, by.around(getattr(owner, name)))
        yield
