"""Mistakes that fit what comes back later, and columns that are read for many batches at once, as `planted` and
`shortcuts` have others: each is planted for one trial."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

import pytest
from msgspec import structs

from collector.sinks import segments
from collector.sinks.segments import SegmentFolder
from pipeline import intake
from pipeline.aggregate.series import SeriesBudget
from pipeline.bus import kafka_records
from pipeline.bus.file_aside import FileAside
from pipeline.decode import Rows
from pipeline.pacing import FAR_BEHIND
from pipeline.rows import Assembly
from pipeline.settling import Settling
from tests.faults.planted import Plant, puts


def syncs(is_wanted: Callable[[str], bool]) -> Callable[..., None]:
    """Of a segment its file or the folder that names it, and not the other."""

    def write(was: Any, folder: SegmentFolder, name: str, content: bytes) -> None:
        sync = os.fsync
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(os, "fsync", lambda it: sync(it) if is_wanted(f"/proc/self/fd/{it}") else None)
            was(folder, name, content)

    return write


def writes_in_place(_: Any, folder: SegmentFolder, name: str, content: bytes) -> None:
    """Under its name from the beginning."""
    path = folder._path / name
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    opened = os.open(folder._path, os.O_RDONLY)
    os.fsync(opened)
    os.close(opened)
    folder._note(name, len(content))


def numbers_from_the_first(cut: Any, checked: bytes, topic: str, partition: str, first: int, count: int) -> Any:
    """All records of a batch have its offset."""
    messages = cut(checked, topic, partition, first, count)
    return messages and [
        kafka_records._message(topic, partition, first, one.key, one.headers, one.value) for one in messages
    ]


def names_by_name(merged: Callable[[Any], Rows], opened: Any) -> Rows:
    """Rows are in the order of their batches, and the names in that of the names."""
    rows = merged(opened)
    return replace(rows, names=sorted(rows.names, key=lambda name: (name.node, name.epoch, name.seq)))


def copies_identities(add: Any, assembly: Assembly, columns: Any) -> Any:
    """As if a block's memory were read before it is there."""
    before = assembly._filled
    told = add(assembly, columns)
    identities = assembly._numbers["flow_id"]
    count = min(before, assembly._filled - before)
    identities[before : before + count] = identities[:count]
    return told


def removes_first(send_back: Any, aside: FileAside, asides: Any) -> None:
    for one in asides:
        for kind in ("json", "value"):
            (aside._folder / f"{one.name}.{kind}").unlink()
    send_back(aside, asides)


def sends_under_other_names(send_back: Any, aside: FileAside, asides: Any) -> None:
    for one in asides:
        headers = {**one.message.headers, "seq": str(1_000 + time.monotonic_ns()).encode()}
        send_back(aside, [structs.replace(one, message=structs.replace(one.message, headers=headers))])


def without_namespaces(state: Any, budget: SeriesBudget) -> Any:
    return {"counts": state(budget)["counts"]}


def skips_while_far_behind(snapshot: Any, settling: Settling) -> None:
    if max(settling._reader.lag().values(), default=0) < FAR_BEHIND:
        snapshot(settling)


MISTAKES: Final[Mapping[str, tuple[str, Plant]]] = {
    "a spool does not sync its segments": (
        "power cut of a spool",
        puts(SegmentFolder, "write", syncs(os.path.isdir)),
    ),
    "a spool does not sync its names": ("power cut of a spool", puts(SegmentFolder, "write", syncs(os.path.isfile))),
    "a spool does not sync the names of its folders": (
        "power cut of a spool",
        puts(segments, "make_folder", lambda was, path: path.mkdir(parents=True, exist_ok=True)),
    ),
    "a spool writes where it reads": ("power cut of a spool", puts(SegmentFolder, "write", writes_in_place)),
    "records that came together have one number": ("in records", puts(kafka_records, "_cut", numbers_from_the_first)),
    "rows of a poll have the names of others": ("in records", puts(intake, "merged", names_by_name)),
    "a block has identities of the one before": ("in small blocks", puts(Assembly, "add", copies_identities)),
    "what is sent back is set aside no more before it is sent": (
        "replayed",
        puts(FileAside, "send_back", removes_first),
    ),
    "what is sent back has another name": ("replayed", puts(FileAside, "send_back", sends_under_other_names)),
    "the last of a part is not sent back": (
        "replayed",
        puts(FileAside, "send_back", lambda was, aside, asides: was(aside, asides[:-1])),
    ),
    "no namespace is asked what it has": ("folded", puts(SeriesBudget, "_are_within_share", lambda was, budget: True)),
    "of whom was folded is not in a snapshot": ("folded", puts(SeriesBudget, "state", without_namespaces)),
    "far behind nothing is settled": ("killed far behind", puts(Settling, "snapshot", skips_while_far_behind)),
}
