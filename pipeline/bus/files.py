"""The embedded bus: a folder of segments, `DIR/<topic>/<node>/<epoch>-<seq>.seg`, that collectors write and delete.

A segment appears whole, is never changed, and may vanish at any time. Segments of one node are read in order of epoch
and sequence, nodes in turn. The invariant: whatever a segment holds, reading goes on behind it.
"""

from __future__ import annotations

import logging
import os
import re
import time
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, cast

import msgspec

from collector.schema import MAX_MESSAGE_BYTES, NODE_NAME, BatchError, make_folder, unpack_records

from ..errors import ConfigError
from . import Message, Places
from .positions import Position, PositionFile, Positions, positions_of
from .quarantine import FOLDER, QuarantineFolder

log = logging.getLogger(__name__)

SCHEME: Final = "file://"
SEGMENT_NAME: Final = re.compile(r"(\d{20})-(\d{12})\.seg\Z", re.ASCII)
POLL_BYTES: Final = 16 * 1024 * 1024
"""A poll ends when it has gathered this much; it exceeds it by at most one segment."""
MAX_SEGMENT_BYTES: Final = 4 * 1024 * 1024
HEAD_BYTES: Final = 64 * 1024
"""How much is read of a segment or kept of a value that is too large."""
PAUSE_SECONDS: Final = 0.1
IDLE_SHARE: Final = 20
"""An idle reader sleeps this many times as long as its look-around took, and PAUSE_SECONDS at least."""

_Segment = tuple[int, int, str]
"""Epoch, sequence number and file name."""


class FileReader:
    """Reads the segments of some topics as one group, or all of them each time. One reader a group at a time."""

    def __init__(self, url: str, group: str | None, topics: Sequence[str]) -> None:
        path = url.removeprefix(SCHEME)
        if not path:
            raise ConfigError(f"bus: {url!r} names no folder; file://DIR is wanted")
        self._root = Path(path)
        self._topics = tuple(topics)
        self._file = PositionFile(self._root, group) if group is not None else None
        self._quarantine = QuarantineFolder(self._root / FOLDER)
        self._folders: dict[tuple[str, str], _NodeFolder] = {}
        self._turns: deque[_NodeFolder] = deque()
        self._saved: Positions = {}
        self._exhausted = False

    def start(self, places: Places | None = None) -> None:
        """Open the folder, made where it is missing, at the places or the group's position.

        Raises ConfigError or TransientError.
        """
        told = positions_of(places or {})
        try:
            make_folder(self._root)
        except OSError as error:
            raise ConfigError(f"bus: cannot use {self._root} as a folder: {error}") from error
        self._saved = self._file.open() if self._file else {}
        for topic, nodes in told.items():
            self._saved.setdefault(topic, {}).update(nodes)
        self._folders.clear()
        self._turns.clear()

    def poll(self, timeout_s: float) -> list[Message]:
        """New messages, about POLL_BYTES at most; empty when none came in time."""
        deadline = time.monotonic() + timeout_s
        while True:
            began = time.monotonic()
            messages = self._gather()
            now = time.monotonic()
            if messages or now >= deadline:
                return messages
            time.sleep(min(deadline - now, max(PAUSE_SECONDS, IDLE_SHARE * (now - began))))

    def places(self) -> Places:
        """The position behind everything polled, by topic and node."""
        return cast("Places", msgspec.to_builtins(self.mark()))

    def mark(self) -> object:
        """The position behind everything polled."""
        positions: Positions = {topic: dict(nodes) for topic, nodes in self._saved.items()}
        for (topic, node), folder in self._folders.items():
            positions.setdefault(topic, {})[node] = folder.position.copy()
        return positions

    def commit(self, mark: object = None) -> None:
        """Keep the position behind everything polled, or the mark. Raises TransientError where the disk refuses."""
        if self._file is None:
            return
        positions = cast("Positions", self.mark() if mark is None else mark)
        if positions != self._saved:
            self._file.save(positions)
            self._saved = positions

    def caught_up(self) -> bool:
        """Whether the last poll left no segment unread that was there when it looked."""
        return self._exhausted

    def lag(self) -> Mapping[str, int]:
        """Segments by topic that the last look at the folders found and that were not read yet."""
        lag: Counter[str] = Counter()
        for (topic, _), folder in self._folders.items():
            lag[topic] += len(folder.waiting)
        return lag

    def lost(self) -> Mapping[str, int]:
        """Nothing: who deletes segments counts them (`retention`)."""
        return {}

    def quarantine(self, message: Message, reason: str) -> None:
        """Put a message into `DIR/.quarantine`. A full disk costs the message, never the pipeline."""
        try:
            self._quarantine.put(message, reason)
        except OSError as error:
            log.warning("bus: %s could not be put aside: %s", message.origin, error)

    def stop(self) -> None:
        """Let the group go; safe to call twice."""
        if self._file is not None:
            self._file.close()

    def _gather(self) -> list[Message]:
        messages: list[Message] = []
        size = 0
        fresh = self._look_around()
        idle = 0
        while size < POLL_BYTES and idle < len(self._turns):
            folder = self._turns[0]
            self._turns.rotate(-1)
            read = folder.read_next()
            if read is None:
                idle += 1
                continue
            idle = 0
            for message in read:
                messages.append(message)
                size += len(message.value)
        self._exhausted = fresh and not any(folder.waiting for folder in self._turns)
        return messages

    def _look_around(self) -> bool:
        """Scan the folders of which nothing waits; whether these were all."""
        for topic in self._topics:
            for node in _subfolders(self._root / topic):
                if (topic, node) not in self._folders:
                    saved = self._saved.get(topic, {}).get(node, Position())
                    folder = _NodeFolder(self._root / topic / node, topic, node, saved.copy())
                    self._folders[topic, node] = folder
                    self._turns.append(folder)
        drained = [folder for folder in self._turns if not folder.waiting]
        for folder in drained:
            folder.scan()
        return len(drained) == len(self._turns)


class _NodeFolder:
    """One node's segments of one topic, and the position behind what was read of them."""

    def __init__(self, path: Path, topic: str, node: str, position: Position) -> None:
        self._path = path
        self._topic = topic
        self._node = node
        self.position = position
        self.waiting: deque[_Segment] = deque()
        """The segments found and not read."""

    def scan(self) -> None:
        """Find the segments that are there and not read; epochs without segments are forgotten.

        A listing may lack what appears while it is made, and have what came later still (readdir(3)). So where numbers
        are left out there is another: of what the first one has, that one has all that came before it.
        """
        listed = self._listed()
        if listed is None:
            return
        found, present = listed
        if _leaves_out(found, self.position.epochs):
            latest = {epoch: seq for epoch, seq, _ in found}
            if (listed := self._listed()) is None:
                return
            found = [one for one in listed[0] if one[1] <= latest.get(one[0], -1)]
            present |= listed[1]
        for epoch in self.position.epochs.keys() - present:
            del self.position.epochs[epoch]
        self.waiting.extend(found)

    def _listed(self) -> tuple[list[_Segment], set[int]] | None:
        """The segments that are not read, in order, and the epochs of all; None where the disk does not tell."""
        read = self.position.epochs
        present: set[int] = set()
        found: list[_Segment] = []
        try:
            with os.scandir(self._path) as entries:
                for entry in entries:
                    if match := SEGMENT_NAME.match(entry.name):
                        epoch, seq = int(match[1]), int(match[2])
                        present.add(epoch)
                        if seq > read.get(epoch, -1):
                            found.append((epoch, seq, entry.name))
        except FileNotFoundError:
            pass
        except OSError as error:
            log.warning("bus: cannot look into %s: %s", self._path, error)
            return None
        return sorted(found), present

    def read_next(self) -> list[Message] | None:
        """The messages of the next segment, none of one that has vanished; None where no segment waits."""
        if not self.waiting:
            return None
        epoch, seq, name = self.waiting.popleft()
        self.position.epochs[epoch] = seq
        path = self._path / name
        try:
            with path.open("rb") as file:
                segment = file.read(MAX_SEGMENT_BYTES + 1)
        except FileNotFoundError:
            return []
        except OSError as error:
            return [self._message(f"{path}: {error}", {}, b"", "segment")]
        if len(segment) > MAX_SEGMENT_BYTES:
            return [self._message(str(path), {}, segment[:HEAD_BYTES], "oversized")]
        messages = []
        try:
            for headers, value in unpack_records(segment):
                flaw = "oversized" if len(value) > MAX_MESSAGE_BYTES else ""
                messages.append(self._message(str(path), headers, value[:HEAD_BYTES] if flaw else value, flaw))
        except BatchError as error:
            messages.append(self._message(f"{path}: {error}", {}, segment, error.reason))
        return messages

    def _message(self, origin: str, headers: dict[str, bytes], value: bytes, flaw: str) -> Message:
        offset = self.position.messages
        self.position.messages += 1
        return Message(self._topic, self._node, offset, self._node.encode(), headers, value, flaw, origin)


def _leaves_out(found: Iterable[_Segment], read: Mapping[int, int]) -> bool:
    """Whether segments, in order, have not all numbers from behind what was read on."""
    last = dict(read)
    for epoch, seq, _ in found:
        if seq != last.get(epoch, -1) + 1:
            return True
        last[epoch] = seq
    return False


def _subfolders(path: Path) -> list[str]:
    """Names of the nodes' folders in a topic's folder, sorted; links are not followed."""
    try:
        with os.scandir(path) as entries:
            return sorted(e.name for e in entries if NODE_NAME.match(e.name) and e.is_dir(follow_symlinks=False))
    except FileNotFoundError:
        return []
    except OSError as error:
        log.warning("bus: cannot look into %s: %s", path, error)
        return []
