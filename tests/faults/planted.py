"""Mistakes that somebody could make: each is planted into the code for one trial, which must then tell of it.

A mistake is named by what it does wrong, and has the name of the trial of tests/faults/trials.py that it is for.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, Final

import pytest

from collector.sinks.segments import SegmentFolder
from collector.sinks.spool import SpoolSink
from pipeline.batches import BatchLedger
from pipeline.bus.files import FileReader
from pipeline.errors import OustedError, TransientError
from pipeline.handover import HandOver, Note
from pipeline.intake import Intake
from pipeline.kept import frames_of, restored
from pipeline.outputs.lake import Lake
from pipeline.outputs.meters import Meters
from pipeline.settling import Settling
from pipeline.snapshots import taking
from pipeline.snapshots.folder import SnapshotFolder
from pipeline.snapshots.taking import Snapshots
from pipeline.stages import Stages

Plant = Callable[[pytest.MonkeyPatch], None]


def puts(owner: Any, name: str, changed: Callable[..., Any]) -> Plant:
    """`changed` in place of a method; it is given the method before its arguments."""
    was = getattr(owner, name)

    def plant(patched: pytest.MonkeyPatch) -> None:
        patched.setattr(owner, name, lambda *arguments, **more: changed(was, *arguments, **more))

    return plant


def accepts_all(accept: Any, ledger: BatchLedger, name: Any) -> bool:
    accept(ledger, name)
    return True


def forgets_epochs(accept: Any, ledger: BatchLedger, name: Any) -> bool:
    seen = ledger.__dict__.setdefault("_of_any_epoch", set())
    accept(ledger, name)
    is_new = (name.node, name.seq) not in seen
    seen.add((name.node, name.seq))
    return is_new


def refuses_late_ones(accept: Any, ledger: BatchLedger, name: Any) -> bool:
    epoch = ledger._tracks.get((name.node, name.table), {}).get(name.epoch)
    is_late = epoch is not None and bool(epoch.ends) and name.seq < epoch.ends[-1]
    return bool(accept(ledger, name)) and not is_late


def takes_before_applying(apply: Any, stages: Stages, chunk: Any) -> None:
    waiting = stages.__dict__.setdefault("_put_off", [])
    waiting.append(chunk)
    if len(waiting) > 1:
        apply(stages, waiting.pop(0))


def writes_whole_snapshots(take: Any, self: Snapshots, places: Any, write_history: Any = None) -> None:
    """The rows that are written to the history right now are in the snapshot too."""
    held = {f"lake:{name}": rows for name, rows in self._stages.kept()["lake"].state().items()}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(taking, "frames_of", lambda parts: {**frames_of(parts), **held})
        take(self, places, write_history)


def every_other(take: Any, self: Snapshots, places: Any, write_history: Any = None) -> None:
    number = self.__dict__["_number"] = self.__dict__.get("_number", 0) + 1
    if number % 2 or write_history is not None:
        take(self, places, write_history)


def history_first(take: Any, self: Snapshots, places: Any, write_history: Any = None) -> None:
    """The history is committed under the number of a snapshot that is prepared only then."""
    if write_history is None:
        take(self, places)
        return
    write_history(int(self._folder._current) + 1)
    take(self, places, lambda _: None)


def places_behind(take: Any, self: Snapshots, places: Any, write_history: Any = None) -> None:
    last = self.__dict__.get("_behind", {})
    self.__dict__["_behind"] = places
    take(self, last, write_history)


def without_numbers(write: Any, lake: Lake, table: Any, name: str, numbers: Any, told: Any) -> None:
    write(lake, table, name, {}, told)


def swallows(commit: Any, lake: Lake, version: int, offsets: Any = None) -> None:
    try:
        commit(lake, version, offsets)
    except TransientError:
        lake._held = {name: [] for name in lake._held}
        lake._renew()


def drops_what_was_refused(commit: Any, lake: Lake, version: int, offsets: Any = None) -> None:
    try:
        commit(lake, version, offsets)
    except TransientError:
        lake._held = {name: [] for name in lake._held}
        lake._renew()
        raise


def without_fences(patched: pytest.MonkeyPatch) -> None:
    patched.setattr(Lake, "_refuse_if_other", lambda *_: None)
    patched.setattr(SnapshotFolder, "_stand", lambda _: None)
    puts(Lake, "_write", without_numbers)(patched)


def does_not_sync(prepare: Any, folder: SnapshotFolder, content: Any, **more: bool) -> int:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "fsync", lambda _: None)
        return int(prepare(folder, content, **more))


def restores_twice(patched: pytest.MonkeyPatch) -> None:
    def twice(parts: Any, frames: Any) -> dict[str, int]:
        restored({"lake": parts["lake"]}, {k: v for k, v in frames.items() if k.startswith("lake:")})
        return restored(parts, frames)

    patched.setattr(taking, "restored", twice)


def skips_the_last(take: Any, intake: Intake, messages: Any) -> Any:
    return take(intake, messages[:-1] if len(messages) > 3 else messages)


def counts_losses_twice(count: Any, sink: SpoolSink, content: bytes, reason: str) -> None:
    count(sink, content, reason)
    count(sink, content, reason)


def believes_in_delivery(settled: Any, sink: SpoolSink, batch: Any, is_delivered: bool) -> None:
    settled(sink, batch, True)


def notes_what_it_could_not_write(write: Any, folder: SegmentFolder, name: str, content: bytes) -> None:
    try:
        write(folder, name, content)
    except OSError:
        folder._note(name, len(content))


def history_is_not_asked(load: Any, folder: SnapshotFolder, in_history: int | None = None) -> Any:
    return load(folder, None)


def takes_up_what_was_prepared(load: Any, folder: SnapshotFolder, in_history: int | None = None) -> Any:
    for path in folder._path.glob("*.prepared"):
        path.rename(path.with_suffix(".snapshot"))
    return load(folder, in_history)


def goes_on(snapshot: Any, settling: Settling, snapshots: Snapshots, group: Any) -> None:
    try:
        snapshot(settling, snapshots, group)
    except OustedError:
        snapshots.take(settling._reader.places())


def writes_before_all_agree(snapshot: Any, settling: Settling, snapshots: Snapshots, group: Any) -> None:
    write_history = settling._due_history()
    if write_history is not None:
        snapshots.take(settling._reader.places(), write_history)
    snapshot(settling, snapshots, group)


def agrees_first(take: Any, self: Snapshots, places: Any, write_history: Any = None, agree: Any = None) -> None:
    if agree is not None:
        agree(int(self._folder._current) + 1)
    take(self, places, write_history)


MISTAKES: Final[Mapping[str, tuple[str, Plant]]] = {
    "every batch is new": ("two lives", puts(BatchLedger, "accept", accepts_all)),
    "numbers are compared over epochs": ("two lives", puts(BatchLedger, "accept", forgets_epochs)),
    "what is late is dropped": ("disorder", puts(BatchLedger, "accept", refuses_late_ones)),
    "a new process knows no batch": ("disorder", puts(BatchLedger, "from_dict", lambda was, values: BatchLedger())),
    "a snapshot is taken before its batches are applied": (
        "dies after a snapshot",
        puts(Stages, "apply", takes_before_applying),
    ),
    "a snapshot has rows that the history has": (
        "dies after the history",
        puts(Snapshots, "take", writes_whole_snapshots),
    ),
    "what is shown is not in a snapshot": ("dies before a snapshot", puts(Snapshots, "take", every_other)),
    "the history comes before the snapshot": ("dies after the history", puts(Snapshots, "take", history_first)),
    "a snapshot names places of the one before": ("dies after a snapshot", puts(Snapshots, "take", places_behind)),
    "held rows are not in a snapshot": ("dies after a snapshot", puts(Lake, "state", lambda was, lake: {})),
    "held rows are taken up twice": ("dies after a snapshot", restores_twice),
    "the pipeline's own counts begin at zero": ("two lives", puts(Meters, "restore", lambda was, *_: None)),
    "the history has no numbers": ("dies after the history", puts(Lake, "_write", without_numbers)),
    "the history is not asked what it has": (
        "dies after the history",
        puts(SnapshotFolder, "load", history_is_not_asked),
    ),
    "what is prepared counts": ("dies before the history", puts(SnapshotFolder, "load", takes_up_what_was_prepared)),
    "nobody is shut out": ("wakes", without_fences),
    "a refused commit is taken for one": ("refused", puts(Lake, "commit", swallows)),
    "what the disk refused is dropped": ("refused", puts(Lake, "commit", drops_what_was_refused)),
    "what was taken without an answer is written again": (
        "answer lost",
        puts(Lake, "_is_through", lambda was, *_: False),
    ),
    "a snapshot is not synced": ("power cut", puts(SnapshotFolder, "prepare", does_not_sync)),
    "the last message of a poll is skipped": ("disorder", puts(Intake, "take", skips_the_last)),
    "a spool forgets what was refused": ("spooled", puts(SpoolSink, "_settled", believes_in_delivery)),
    "a spool does not look what is there": (
        "spooled",
        lambda patched: patched.setattr(SegmentFolder, "names", property(lambda _: [])),
    ),
    "what a spool drops is not counted": ("spool full", puts(SpoolSink, "_count_lost", lambda was, *_: None)),
    "what a spool drops is counted twice": ("spool full", puts(SpoolSink, "_count_lost", counts_losses_twice)),
    "a spool has what the disk refused": (
        "spool refused",
        puts(SegmentFolder, "write", notes_what_it_could_not_write),
    ),
    "a note says nothing of batches": (
        "handed over",
        puts(HandOver, "note", lambda was, of, partition, version, until: Note({of._member: version}).text()),
    ),
    "who takes over goes by its own memory": (
        "handed over",
        puts(HandOver, "take_over", lambda was, of, notes, ours: was(of, notes, notes.keys())),
    ),
    "who is ousted goes on": ("ousted", puts(Settling, "_snapshot_in_group", goes_on)),
    "the history is written before the group agrees": (
        "ousted",
        puts(Settling, "_snapshot_in_group", writes_before_all_agree),
    ),
    "the group agrees to a snapshot that is not there": (
        "dies before the group agrees",
        puts(Snapshots, "take", agrees_first),
    ),
    "who was killed does not ask what was agreed": (
        "dies when the group has agreed",
        puts(HandOver, "settled_in", lambda was, *_: None),
    ),
    "who has lost a snapshot does not look what it had settled": (
        "last snapshot gone",
        puts(HandOver, "unkept", lambda was, *_: {}),
    ),
    "a reader begins where it was told not to": (
        "dies after a snapshot",
        puts(FileReader, "places", lambda was, reader: {}),
    ),
}
