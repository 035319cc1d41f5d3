"""What goes along with a partition when a consumer group gives it to another member: a note beside its offset.

Offset and note are committed as one, so whoever goes on knows which batches came before, and a member that was killed
learns at its next start whether its last snapshot counts. The invariant: of any two members, one counts up to an offset
and the other from there on, and a batch before it that comes again is known to both.
"""

from __future__ import annotations

import base64
import logging
import zlib
from collections.abc import Collection, Mapping
from typing import Any, Final

import msgspec

from .bus import Partition
from .intake import Intake
from .outputs.meters import Meters

log = logging.getLogger(__name__)

MAX_TEXT: Final = 4_000
"""A broker takes 4,096 characters beside an offset (`offset.metadata.max.bytes`)."""
MAX_INFLATED: Final = 1024 * 1024
MAX_SETTLERS: Final = 16
"""Former holders of a partition whose last snapshots are remembered."""


class Track(msgspec.Struct, array_like=True, frozen=True):
    """The batches of one epoch of one node and table that came, as intervals of their numbers."""

    node: str
    table: str
    epoch: int
    given_up: int
    intervals: list[list[int]]


class Note(msgspec.Struct, array_like=True, frozen=True):
    """What the next holder of a partition is told."""

    settled: dict[str, int] = {}
    """By member, the number of its last snapshot in which the partition is; who settled last comes last."""
    tracks: list[Track] = []
    """Of each node and table the epoch that was heard of last comes last."""
    spans: dict[str, tuple[int, int]] = {}
    """By member, from where on it had the partition when it settled last, and up to where it had settled then."""

    def text(self) -> str:
        """The note as text of MAX_TEXT at most. Where it is longer, epochs that ended are left out first."""
        text = _packed(self)
        if len(text) <= MAX_TEXT:
            return text
        tracks = list({(track.node, track.table): track for track in self.tracks}.values())
        while len(text := _packed(Note(self.settled, tracks, self.spans))) > MAX_TEXT:
            tracks = tracks[len(tracks) // 8 + 1 :]
        log.warning(
            "group: a note of %d epochs is too long beside an offset; %d go along", len(self.tracks), len(tracks)
        )
        return text


def parse_note(text: str) -> Note:
    """The note that a text is; an empty one of other text, which other programs may have left there."""
    try:
        inflated = zlib.decompressobj().decompress(base64.b85decode(text), MAX_INFLATED)
        return msgspec.json.decode(inflated, type=Note)
    except (ValueError, zlib.error, msgspec.MsgspecError):
        return Note()


class HandOver:
    """Writes and reads the notes of one member, whose memory of batches is `intake`."""

    def __init__(self, member: str, intake: Intake, meters: Meters) -> None:
        self._member = member
        self._intake = intake
        self._meters = meters
        self._found: dict[Partition, Note] = {}
        """The notes beside the offsets of what is ours, as we found them."""
        self._since: dict[Partition, int] = {}
        """From where on it is ours."""

    def note(self, partition: Partition, version: int, until: int) -> str:
        """What the next holder is told, who goes on at `until`, where snapshot `version` of ours is the one that has
        the partition."""
        found = self._found.get(partition, Note())
        others = [who for who in found.settled if who != self._member][1 - MAX_SETTLERS :]
        settled = {**{who: found.settled[who] for who in others}, self._member: version}
        spans = {who: found.spans[who] for who in others if who in found.spans}
        spans[self._member] = self._since.get(partition, 0), until
        return Note(settled, [Track(*track) for track in self._intake.tracks(partition)], spans).text()

    def take_over(self, given: Mapping[Partition, tuple[int, str]], ours: Collection[Partition]) -> None:
        """Go on with what is given, each partition from an offset on: with `ours` from our own memory, where we have
        left them ourselves."""
        self._found = {partition: parse_note(text) for partition, (_, text) in given.items()}
        self._since = {}
        for partition, (at, _) in given.items():
            since, until = self._found[partition].spans.get(self._member, (at, at))
            self._since[partition] = since if until == at else at
        self._intake.keep(given.keys())
        for partition, note in self._found.items():
            if partition not in ours:
                self._intake.take_over(partition, [msgspec.to_builtins(track) for track in note.tracks])
        self._meters.known_missing(self._intake.missing())

    def settled_in(self, notes: Mapping[Partition, str]) -> int | None:
        """The number of our last snapshot that any note tells of."""
        told = [parse_note(text).settled.get(self._member) for text in notes.values()]
        return max((version for version in told if version is not None), default=None)

    def unkept(self, notes: Mapping[Partition, str], version: int) -> dict[Partition, tuple[int, int]]:
        """What we have settled since our snapshot `version`, the last of them that can be read: from where on at most,
        and up to where."""
        read = {partition: parse_note(text) for partition, text in notes.items()}
        return {
            partition: note.spans[self._member]
            for partition, note in read.items()
            if note.settled.get(self._member, 0) > version and self._member in note.spans
        }


def _packed(note: Note) -> str:
    plain: Any = msgspec.json.encode(note)
    return base64.b85encode(zlib.compress(plain, 6)).decode()
