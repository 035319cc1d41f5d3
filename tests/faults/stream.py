"""A bus in memory whose messages come twice, in other orders, and late, as a broker's may after retries.

The invariant: every message that was put is delivered, and at the same place to every reader.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, TypeVar

from collector.schema import Batch
from pipeline.bus import Message, Places
from tests.pipeline.shipments import message

POLL_MESSAGES: Final = 500
Item = TypeVar("Item")


def disordered(items: Iterable[Item], chance: random.Random, again: float, apart: int, delayed: int) -> Iterator[Item]:
    """The items, a share `again` of them twice, each up to `apart` places late; one in a hundred up to `delayed`."""
    due: list[tuple[float, int, Item]] = []
    number = 0
    for number, item in enumerate(items):
        for _ in range(1 + (chance.random() < again)):
            late = chance.uniform(0, delayed if chance.random() < 0.01 else apart)
            due.append((number + late, number, item))
        if number % 1_000 == 0:
            due.sort(key=lambda one: one[:2])
            ready = next((at for at, (when, *_) in enumerate(due) if when > number), len(due))
            yield from (item for _, _, item in due[:ready])
            del due[:ready]
    yield from (item for *_, item in sorted(due, key=lambda one: one[:2]))


class Log:
    """What was put on the bus, by topic and node."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], list[Message]] = defaultdict(list)

    def put(self, shipped: Batch) -> None:
        """Append a batch to its node's partition."""
        partition = self.kept[shipped.topic, shipped.node]
        partition.append(message(shipped, offset=len(partition)))


class LogReader:
    """Reads a log from some place on, a bounded number of messages at once."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._next: dict[tuple[str, str], int] = {}
        self.refused: list[str] = []
        """The reasons of what was put aside."""

    def start(self, places: Places | None = None) -> None:
        self._next = {(topic, node): at for topic, nodes in (places or {}).items() for node, at in nodes.items()}

    def places(self) -> Places:
        found: Places = {}
        for (topic, node), at in self._next.items():
            found.setdefault(topic, {})[node] = at
        return found

    def poll(self, timeout_s: float) -> list[Message]:
        given: list[Message] = []
        for key, messages in list(self._log.kept.items()):  # who puts may be another thread
            at = self._next.get(key, 0)
            given += messages[at : at + POLL_MESSAGES]
            self._next[key] = min(at + POLL_MESSAGES, len(messages))
        return given

    def mark(self) -> object:
        return None

    def commit(self, mark: object = None) -> None:
        """Nobody asks for it: snapshots have the places."""

    def caught_up(self) -> bool:
        return all(self._next.get(key, 0) == len(messages) for key, messages in list(self._log.kept.items()))

    def lag(self) -> Mapping[str, int]:
        return {}

    def lost(self) -> Mapping[str, int]:
        return {}

    def quarantine(self, message: Message, reason: str) -> None:
        self.refused.append(reason)

    def stop(self) -> None:
        """Nothing is open."""
