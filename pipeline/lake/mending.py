"""What a power cut leaves of a table's log on a disk of this machine: found at a writer's start, and set aside.

A commit is told to be done once its entry is on disk, so what a power cut tears is of commits of which nobody was told,
at the log's end: who wrote them writes them again. Half an entry must not be read, for it may name files without the
settle that they are of. A checkpoint says what entries say too, so a torn one goes as long as these are there. What is
set aside keeps its name with `.torn` at the end, by which no reader of Delta tables looks.

The invariant: nothing that was whole is set aside, and where something torn cannot be, the writer does not start.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import PermanentError

log = logging.getLogger(__name__)

ACTIONS: Final = "flowatlas.actions"
"""Where an entry says of how many actions it is, beside the line that says so."""
_NEWEST: Final = 16
"""So many entries may have been on their way to the disk at once; each has its own writer."""
_ENTRY: Final = re.compile(r"(\d{20})\.json\Z")
_CHECKPOINT: Final = re.compile(r"(\d{20})\.checkpoint(?:\..+)?\.parquet\Z")
_HINT: Final = "_last_checkpoint"


def mend(folder: Path) -> list[str]:
    """Set aside what is torn in a table's log, and its names. Raises PermanentError where whole entries follow on it.

    Nothing is torn while a machine runs: an entry appears under its name when it is whole.
    """
    with _alone(folder):
        entries = _of(folder, _ENTRY)
        torn = [number for number in sorted(entries)[-_NEWEST:] if not is_whole(entries[number].read_bytes())]
        if torn and torn[-1] - torn[0] + 1 == len(torn) and torn[-1] == max(entries):
            aside = [entries.pop(number) for number in torn]
        elif torn:
            raise PermanentError(
                f"lake: {entries[torn[0]]} is torn, and later entries were made after it: put it back from a copy, or "
                "move it and all later ones away and write the history since then again"
            )
        else:
            aside = []
        aside += _torn_checkpoints(folder, entries)
        for path in aside:
            path.rename(path.with_name(f"{path.name}.torn"))
            log.warning("lake: a power cut has torn %s; it is set aside, for nobody was told that it was done", path)
        if aside:
            os.sync()
        return [path.name for path in aside]


def is_whole(entry: bytes) -> bool:
    """Whether an entry of a log has all of its actions; of one that does not say how many, whether it can be read."""
    try:
        actions = [json.loads(line) for line in entry.splitlines() if line]
    except ValueError:
        return False
    if not all(isinstance(action, dict) for action in actions) or not actions:
        return False
    told = next((action["commitInfo"].get(ACTIONS) for action in actions if "commitInfo" in action), None)
    return told is None or len(actions) - 1 >= int(told)


def _torn_checkpoints(folder: Path, entries: dict[int, Path]) -> list[Path]:
    """Of the newest checkpoints those that cannot be read, with the hint that leads to one that cannot."""
    checkpoints = _of(folder, _CHECKPOINT)
    torn = [number for number in sorted(checkpoints)[-2:] if not _is_parquet(checkpoints[number])]
    whole = [number for number in checkpoints if number not in torn]
    hint = folder / _HINT
    has_hint = hint.exists()
    leads_nowhere = has_hint and _hinted(hint) not in whole
    if not torn and not leads_nowhere:
        return []
    begin = max(whole, default=-1) + 1
    if lost := [number for number in range(begin, max(entries, default=-1) + 1) if number not in entries]:
        raise PermanentError(
            f"lake: {folder}: a checkpoint is torn, and entry {lost[0]} that would do in its place is gone"
        )
    return [*(checkpoints[number] for number in torn), *([hint] if leads_nowhere else [])]


def _hinted(hint: Path) -> int | None:
    try:
        return int(json.loads(hint.read_bytes())["version"])
    except (ValueError, KeyError, TypeError):
        return None


def _is_parquet(path: Path) -> bool:
    try:
        pq.read_metadata(path)
    except MemoryError:  # one of Arrow's exceptions too, and no reason to take a sound file for torn
        raise
    except (pa.ArrowException, OSError):
        return False
    return True


def _of(folder: Path, name: re.Pattern[str]) -> dict[int, Path]:
    """The files of such names, by their number."""
    found = ((name.match(path.name), path) for path in folder.iterdir())
    return {int(match[1]): path for match, path in found if match is not None}


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Of several that look at once each sees what the one before has left."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
