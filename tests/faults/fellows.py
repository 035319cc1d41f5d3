"""Members of a consumer group, one living after the other, on a bus in memory that hands partitions over as the real
one does: behind what was settled last, with the note beside it.

A node's batches are a partition. The invariant: a member that had more than it settled, when others went on, is told.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pipeline.bus import Holder, Message, Partition, Places
from pipeline.errors import OustedError
from tests.faults.lives import Disk, live
from tests.faults.stream import Log, LogReader

AT_ONCE: Final = 3
"""Messages of a partition that a poll brings."""


@dataclass
class Group:
    """What is agreed: who has which partitions, and what was settled of each."""

    log: Log
    settled: dict[Partition, tuple[int, str]] = field(default_factory=dict)
    """Where to go on, and the note."""
    wanted: dict[str, frozenset[Partition]] = field(default_factory=dict)
    is_kept: bool = True
    """Whether the bus still has what was read."""
    ousted: set[str] = field(default_factory=set)
    """Members without whom the group went on, though they had not settled."""


class FellowReader(LogReader):
    """The reader of one member's life."""

    is_shared = True

    def __init__(self, group: Group, name: str) -> None:
        super().__init__(group.log)
        self.is_leaving = False
        self.held: frozenset[Partition] | None = None
        self.recalled = 0
        """Messages that were read again."""
        self._group = group
        self._name = name
        self._told: dict[Partition, int] = {}
        self._behind: dict[Partition, int] = {}
        self._spans: dict[Partition, tuple[int, int]] = {}

    def attend(self, holder: Holder) -> None:
        self._holder = holder

    def start(self, places: Places | None = None) -> None:
        self._behind = {}
        self._told = {(topic, node): at for topic, nodes in (places or {}).items() for node, at in nodes.items()}
        self._group.ousted.discard(self._name)

    def notes(self) -> Mapping[Partition, str]:
        return {partition: note for partition, (_, note) in self._group.settled.items()}

    def settle(self, version: int) -> None:
        if self._name in self._group.ousted:
            raise OustedError("the group went on")
        for partition in self._unsettled():
            at = self._behind[partition]
            self._group.settled[partition] = at, self._holder.note(partition, version, at)

    def recall(self, spans: Mapping[Partition, tuple[int, int]]) -> None:
        for partition, (since, until) in spans.items():
            if (at := max(since, self._told.get(partition, 0))) < until and self._group.is_kept:
                self._spans[partition] = at, until

    @property
    def is_recalling(self) -> bool:
        return bool(self._spans)

    def places(self) -> Places:
        found: Places = {}
        for (topic, node), at in self._behind.items():
            found.setdefault(topic, {})[node] = at
        return found

    def poll(self, timeout_s: float) -> list[Message]:
        if self._name in self._group.ousted and self._unsettled():
            raise OustedError("partitions went before they were settled")
        if self._spans:
            return self._recalled()
        wanted = self._group.wanted.get(self._name, frozenset())
        if wanted != self.held:
            self.is_leaving = bool(self._unsettled())
            if self.is_leaving:
                return []
            self._change(wanted)
        given: list[Message] = []
        for partition, at in self._behind.items():
            messages = self._group.log.kept[partition][at : at + AT_ONCE]
            given += messages
            self._behind[partition] = at + len(messages)
        return given

    def _recalled(self) -> list[Message]:
        """The next message of what is to be read again; nothing behind the last of a partition."""
        partition, (at, until) = next(iter(self._spans.items()))
        if at == until:
            self._told[partition] = until
            del self._spans[partition]
            return []
        self._spans[partition] = at + 1, until
        self.recalled += 1
        return self._group.log.kept[partition][at : at + 1]

    def caught_up(self) -> bool:
        is_at_end = all(at == len(self._group.log.kept[partition]) for partition, at in self._behind.items())
        return is_at_end and not self._spans

    def _unsettled(self) -> list[Partition]:
        settled = self._group.settled
        return [partition for partition, at in self._behind.items() if at != settled.get(partition, (0, ""))[0]]

    def _change(self, wanted: Collection[Partition]) -> None:
        self._told |= self._behind
        settled = self._group.settled
        starts = {p: max(settled.get(p, (0, ""))[0], self._told.get(p, 0)) for p in wanted}
        kept = wanted if self.held is None else self.held & set(wanted)
        ours = {p for p in kept if p in self._told and self._told[p] == starts[p]}
        self._holder.take_over({p: (starts[p], settled.get(p, (0, ""))[1]) for p in wanted}, ours)
        self._told |= starts
        self._behind, self.held = starts, frozenset(wanted)


@dataclass
class Fellow(Disk):
    """A member's own disk; the history is everybody's."""

    everybody: Path = Path()
    script: Iterator[None] = field(default_factory=lambda: iter(()))

    @property
    def lake(self) -> Path:
        return self.everybody / "lake"

    def ship(self) -> None:
        """Go on with the script, and end with it."""
        self.left = 1 if next(self.script, self) is not self else 0

    def live(self, group: Group, script: Callable[[FellowReader], Iterator[None]]) -> int:
        """One life of the member, until the script ends."""
        reader = FellowReader(group, self.name)
        self.left, self.script = 1, script(reader)
        return live(self, reader=reader)
