"""The quarantine of a folder of segments, read again. It is a part of `pipeline.bus.aside`.

A message goes back as a segment of its own, in an epoch that no reader has seen, so that it lies behind all others of
its node; what its headers name it is not changed by that.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from collector.schema import NODE_NAME, make_folder, pack_record

from .. import durable
from ..errors import TransientError
from . import Message
from .aside import Aside
from .quarantine import FOLDER, Note


class FileAside:
    """What lies in `.quarantine` of a bus's folder. Nobody else is asked, so it works beside a running pipeline."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._folder = root / FOLDER

    def read(self) -> Iterator[Aside]:
        """What lies there, oldest first. A message that goes meanwhile is passed over."""
        notes = []
        for path in self._folder.glob("*.json"):
            try:
                note = msgspec.json.decode(path.read_bytes(), type=Note)
                at_ns = note.at_ns or path.stat().st_mtime_ns
            except (OSError, msgspec.MsgspecError):
                continue
            notes.append((at_ns, path.stem, note))
        for at_ns, name, note in sorted(notes, key=lambda one: one[:2]):
            try:
                value = (self._folder / f"{name}.value").read_bytes()
            except OSError:
                continue
            headers = {key: text.encode() for key, text in note.headers.items()}
            message = Message(note.topic, note.partition, note.offset, note.key.encode(), headers, value)
            yield Aside(name, message, note.reason, at_ns, note.is_whole)

    def send_back(self, asides: Sequence[Aside]) -> None:
        """A segment of each, durable before what was set aside goes. Raises TransientError where the disk refuses."""
        epoch = time.time_ns()
        try:
            for seq, one in enumerate(asides):
                node = one.message.partition
                if not NODE_NAME.match(node):
                    continue
                folder = self._root / one.message.topic / node
                make_folder(folder)
                durable.write(
                    folder / f"{epoch:020d}-{seq:012d}.seg", pack_record(one.message.headers, one.message.value)
                )
                (self._folder / f"{one.name}.json").unlink(missing_ok=True)
                (self._folder / f"{one.name}.value").unlink(missing_ok=True)
        except OSError as error:
            raise TransientError(f"bus: not sent back: {error}") from error

    def close(self) -> None:
        """Nothing is open between two calls."""
