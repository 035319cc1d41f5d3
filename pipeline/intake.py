"""Messages of the bus to batches that are sound and new; the rest is counted by reason.

What many batches cost is mostly what each costs, so the rows of a poll are checked together; where something is wrong
with them, half by half, until it is known which batch it was.

It reads no bus and applies nothing. The invariant: a batch leaves here at most once, and a message that cannot be read
stays in `refused` until somebody has put it aside.
"""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from itertools import compress, repeat
from typing import Any, Final

from collector.schema import BatchError

from .batches import BatchLedger
from .bus import Message, Partition
from .decode import Rows, merged
from .envelope import Opened, open_batch
from .nodekeys import NodeKeys
from .outputs.meters import Meters
from .room import rows_within
from .watermarks import Watermarks

log = logging.getLogger(__name__)

CHUNK_ROWS: Final = 200_000
"""Rows that go through the stages at once: enough to be fast, few enough to bound memory."""
CHUNK_BYTES: Final = 64 * 1024 * 1024
"""Bytes that batches of a chunk may stand on until their rows are put together: ten times what such rows take, but
what hostile batches take has little to do with their rows."""
LATENESS_SECONDS: Final = 60.0
"""How far behind the newest row of a partition others may be before they are late."""
FORGET_SECONDS: Final = 3 * 24 * 3600.0
"""What came of a node that the cluster does not have is remembered for so long after the last of it: for longer than a
bus keeps batches, as a rule, so that none comes twice that is not known."""
MAX_STRANGERS: Final = 2_000
"""Of so many such nodes at most: whoever may write to the bus may make up names."""
FORGET_PAUSE_SECONDS: Final = 600.0
WARNING_SECONDS: Final = 60.0
"""A reason of refusal is logged at most this often."""


class Intake:
    """Decodes messages, refuses what is unsound and passes over what came before."""

    def __init__(
        self,
        meters: Meters,
        lateness_s: float = LATENESS_SECONDS,
        keys: NodeKeys | None = None,
        chunk_rows: int = CHUNK_ROWS,
        room: Callable[[int], int] = rows_within,
    ) -> None:
        """`keys` tell whose a batch is; without, nodes are believed. `room` says of how many rows there is memory for
        so many."""
        self.refused: deque[tuple[Message, str]] = deque()
        """Messages to quarantine, each with its reason; whoever does takes them out."""
        self._meters = meters
        self._keys = keys
        self._chunk_rows = chunk_rows
        self._room = room
        self._ledger = BatchLedger()
        self._watermarks = Watermarks(lateness_s)
        self._homes: dict[tuple[str, str, int], Partition] = {}
        """The partition that an epoch of a node's table came from last."""
        self._told_homes: dict[str, list[list[Any]]] | None = None
        """The same as plain values, where nothing has changed since they were told."""
        self._heard_s: dict[str, float] = {}
        """When each node was heard of last, as Unix time."""
        self._forgot_s = 0.0
        meters.duplicates, meters.late = self._ledger.duplicates, self._ledger.late
        self._warned_at: dict[str, float] = {}

    def take(self, messages: Iterable[Message]) -> Iterator[list[Rows]]:
        """The batches that are sound and new, those of a table in order, in chunks of about `chunk_rows` rows, or of
        fewer where memory is short."""
        waiting = deque(messages)
        if self._keys is not None:
            self._keys.refresh()
        while waiting:
            with self._meters.stage("decode"):
                chunk = self._chunk(waiting)
            if chunk:
                yield chunk

    def missing(self) -> Mapping[str, int]:
        """Batches that have not come while later ones of the same node have, by node."""
        return self._ledger.missing()

    def state(self) -> dict[str, Any]:
        """Which batches have come, as plain values, which are not to be changed."""
        known = self._ledger.to_dict()
        if self._told_homes is None:
            self._told_homes = self._homes_of(known["epochs"])
        return {**known, "event_times": self._watermarks.state(), "heard": self._heard_s, **self._told_homes}

    def restore(self, values: Mapping[str, Any]) -> None:
        """Take up which batches have come."""
        self._ledger = BatchLedger.from_dict(values)
        self._watermarks.restore(values["event_times"])
        self._heard_s = dict(values.get("heard", {}))
        homes = values.get("homes_of_epochs")
        if homes is None:  # by a version that had none
            homes = (
                [node, table, number, *home]
                for node, table, *home in values.get("homes", [])
                for number, *_ in self._ledger.track(node, table)
            )
        self._homes = {(node, table, epoch): (topic, number) for node, table, epoch, topic, number in homes}
        self._told_homes = None
        self._meters.duplicates, self._meters.late = self._ledger.duplicates, self._ledger.late

    def tracks(self, partition: Partition) -> list[list[Any]]:
        """Which batches have come from a partition: node, table, and what the ledger has of each epoch."""
        here = self._at_home(partition)
        return [
            [node, table, *epoch]
            for node, table in dict.fromkeys((node, table) for node, table, _ in here)
            for epoch in self._ledger.track(node, table)
            if self._homes.get((node, table, epoch[0])) == partition
        ]

    def nodes(self, table: str, partitions: Collection[Partition]) -> set[str]:
        """Whose last batches of a table came from these partitions."""
        return {
            node
            for (node, its, number), home in self._homes.items()
            if its == table and home in partitions and number == self._ledger.last(node, table)
        }

    def keep(self, partitions: Collection[Partition]) -> None:
        """Forget what came from others: somebody else goes on with them."""
        self._forget([key for key, home in self._homes.items() if home not in partitions])

    def take_over(self, partition: Partition, tracks: list[list[Any]]) -> None:
        """Remember of a partition what another reader's `tracks` told, and nothing else. An epoch may have moved to
        another partition when topics were given more: then both tell of it, and it is at home where it came last."""
        self._forget(self._at_home(partition))
        for node, table, number, given_up, intervals in tracks:
            known = self._ledger.end(node, table, number)
            if (node, table, number) not in self._homes or not intervals or intervals[-1][1] >= known:
                self._homes[node, table, number] = partition
            self._ledger.put(node, table, number, given_up, intervals)

    def forget(self, cluster: Collection[str], now_s: float) -> set[str]:
        """Forget nodes that the cluster does not have and that were heard of too long ago, or before too many others
        that it does not have; which these are. At most every FORGET_PAUSE_SECONDS, or where they become many. Where no
        Node is known at all, all are strangers, and none goes for their number."""
        most = MAX_STRANGERS if cluster else math.inf
        are_many = len(self._heard_s) > len(cluster) + 2 * most
        if 0 <= now_s - self._forgot_s < FORGET_PAUSE_SECONDS and not are_many:
            return set()
        self._forgot_s = now_s
        heard_s = self._heard_s = {**dict.fromkeys(self._ledger.nodes(), now_s), **self._heard_s}
        strangers = sorted(heard_s.keys() - set(cluster), key=heard_s.__getitem__)
        surplus = int(max(0, len(strangers) - most))
        old = (node for node in strangers[surplus:] if heard_s[node] < now_s - FORGET_SECONDS)
        forgotten = {*strangers[:surplus], *old}
        if forgotten:
            log.info("%d nodes are forgotten: the cluster does not have them", len(forgotten))
            self._ledger.forget(forgotten)
            self._homes = {key: home for key, home in self._homes.items() if key[0] not in forgotten}
            self._told_homes = None
            self._heard_s = {node: at_s for node, at_s in heard_s.items() if node not in forgotten}
        return forgotten

    def watermark(self) -> int | None:
        """Event time up to which everything is taken to be here, in ns; None where nothing comes."""
        return self._watermarks.watermark(time.time_ns())

    def _homes_of(self, known: list[list[Any]]) -> dict[str, list[list[Any]]]:
        """Where the epochs that the ledger knows are at home; others are forgotten."""
        epochs = [(node, table, number) for node, table, number, *_ in known]
        self._homes = {epoch: self._homes[epoch] for epoch in epochs if epoch in self._homes}
        last = {(node, table): home for (node, table, _), home in self._homes.items()}
        return {
            "homes_of_epochs": [[*epoch, *home] for epoch, home in self._homes.items()],
            "homes": [[*key, *home] for key, home in last.items()],  # what versions before go by
        }

    def _at_home(self, partition: Partition) -> list[tuple[str, str, int]]:
        """Node, table and epoch of what came from a partition."""
        return [key for key, home in self._homes.items() if home == partition]

    def _forget(self, keys: Iterable[tuple[str, str, int]]) -> None:
        self._told_homes = None
        for key in keys:
            del self._homes[key]
            self._ledger.drop(*key)

    def _chunk(self, messages: deque[Message]) -> list[Rows]:
        """The new batches of the first messages, which are taken out."""
        alike: dict[tuple[str, int], list[tuple[Message, Opened]]] = {}
        rows, most, size = 0, self._room(self._chunk_rows), 0
        while messages and rows < most and size < CHUNK_BYTES:
            message = messages.popleft()
            try:
                opened = open_batch(message)
                if self._keys is not None:
                    self._keys.check(message, opened.name.node)
            except BatchError as error:
                self._refuse(message, error)
                continue
            alike.setdefault((opened.name.table, opened.name.schema), []).append((message, opened))
            rows += opened.name.rows
            size += opened.size
        return [new for group in alike.values() for sound in self._sound(group) if (new := self._new(*sound))]

    def _sound(self, group: list[tuple[Message, Opened]]) -> Iterator[tuple[list[Message], Rows]]:
        """The batches of one table and version that are sound, together; if one is not, the others of each half."""
        try:
            rows = merged([opened for _, opened in group])
        except BatchError as error:
            if len(group) == 1:
                self._refuse(group[0][0], error)
                return
            middle = len(group) // 2
            yield from self._sound(group[:middle])
            yield from self._sound(group[middle:])
        else:
            yield [message for message, _ in group], rows

    def _new(self, messages: list[Message], rows: Rows) -> Rows | None:
        """Those of the batches that have not come before."""
        is_new = [self._ledger.accept(name) for name in rows.names]
        self._heard_s.update(dict.fromkeys((name.node for name in rows.names), time.time()))
        new = rows if all(is_new) else rows.only(is_new)
        if new is None:
            return None
        partitions = [(message.topic, message.partition) for message in compress(messages, is_new)]
        nodes, sizes = [name.node for name in new.names], [name.rows for name in new.names]
        epochs = [name.epoch for name in new.names]
        homes = dict(zip(zip(nodes, repeat(new.table), epochs), partitions, strict=True))
        if not homes.items() <= self._homes.items():
            self._homes.update(homes)
            self._told_homes = None
        arrivals = self._watermarks.see(partitions, new.frame["time"].to_numpy(), sizes, time.time_ns())
        self._meters.arrived(nodes, arrivals.late_rows, arrivals.is_ahead)
        return new

    def _refuse(self, message: Message, error: BatchError) -> None:
        self.refused.append((message, error.reason))
        self._meters.quarantined(error.reason)
        now = time.monotonic()
        if now - self._warned_at.get(error.reason, -WARNING_SECONDS) >= WARNING_SECONDS:
            self._warned_at[error.reason] = now
            log.warning("quarantined %s: %s", message.origin, error)
