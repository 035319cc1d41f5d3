"""Which batches have come: duplicates are told, gaps are counted.

A node numbers its batches by one sequence per (epoch, table), and an epoch begins when its collector starts. What came
is kept as intervals of sequence numbers, so an orderly node costs one interval however long it runs. It knows no clock
and no bus. The invariant: a name is accepted at most once while its epoch is remembered.

The first batch seen of an epoch sets where counting begins: what the node sent before that is not known to be missing.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, OrderedDict
from collections.abc import Collection, Mapping
from typing import Any, Final

from collector.schema import BatchName

MAX_EPOCHS: Final = 8
"""Epochs remembered for one table of one node: a restart does not forget what may still be delivered again."""
MAX_INTERVALS: Final = 1024
"""Gaps remembered in one epoch, plus one. Beyond that the oldest gap is given up: it stays missing for good."""


class _Epoch:
    """The sequence numbers that came in one epoch, as sorted, disjoint, non-adjacent intervals [start, end)."""

    __slots__ = ("ends", "given_up", "starts", "told")

    def __init__(self, intervals: list[list[int]], given_up: int = 0) -> None:
        self.starts = [start for start, _ in intervals]
        self.ends = [end for _, end in intervals]
        self.given_up = given_up
        self.told: list[Any] | None = None
        """As plain values, where nothing came since they were told: most epochs are over."""

    def intervals(self) -> list[list[int]]:
        """The intervals as plain values."""
        return [list(pair) for pair in zip(self.starts, self.ends, strict=True)]

    def add(self, seq: int) -> bool:
        """Note a number; False where it came before or lies in a gap that was given up."""
        starts, ends, self.told = self.starts, self.ends, None
        if ends and ends[-1] == seq:  # the common case: the next in order
            ends[-1] = seq + 1
            return True
        at = bisect_right(starts, seq)
        if at and seq < ends[at - 1]:
            return False
        joins_left = at > 0 and ends[at - 1] == seq
        joins_right = at < len(starts) and starts[at] == seq + 1
        if joins_left and joins_right:
            ends[at - 1] = ends.pop(at)
            del starts[at]
        elif joins_left:
            ends[at - 1] = seq + 1
        elif joins_right:
            starts[at] = seq
        else:
            starts.insert(at, seq)
            ends.insert(at, seq + 1)
            if len(starts) > MAX_INTERVALS:
                self.given_up += starts[1] - ends[0]
                ends[0] = ends.pop(1)
                del starts[1]
        return True

    def join(self, other: _Epoch) -> None:
        """Note all that another has noted of the same epoch."""
        starts, ends, self.told = self.starts, self.ends, None
        self.starts, self.ends, self.given_up = [], [], max(self.given_up, other.given_up)
        for start, end in sorted(zip(starts + other.starts, ends + other.ends, strict=True)):
            if self.ends and start <= self.ends[-1]:
                self.ends[-1] = max(self.ends[-1], end)
            else:
                self.starts.append(start)
                self.ends.append(end)

    def missing(self) -> int:
        """Numbers inside the range seen that have not come."""
        return self.given_up + sum(self.starts[1:]) - sum(self.ends[:-1])


class BatchLedger:
    """Accepts each batch's name once."""

    def __init__(self) -> None:
        self._tracks: dict[tuple[str, str], OrderedDict[int, _Epoch]] = {}
        self._settled: Counter[str] = Counter()
        self.late: Counter[str] = Counter()
        """Names accepted after ones with a higher number in their epoch, by node."""
        self.duplicates: Counter[str] = Counter()
        """Names refused since they had been accepted before, by node."""

    def accept(self, name: BatchName) -> bool:
        """Whether this batch is new; the answer is given once, so apply it when it is True."""
        track = name.node, name.table
        epochs = self._tracks.get(track)
        if epochs is None:
            epochs = self._tracks[track] = OrderedDict()
        epoch = epochs.get(name.epoch)
        if epoch is None:
            epoch = epochs[name.epoch] = _Epoch([])
            if len(epochs) > MAX_EPOCHS:
                _, forgotten = epochs.popitem(last=False)
                self._settled[name.node] += forgotten.missing()
        elif len(epochs) > 1:
            epochs.move_to_end(name.epoch)
        is_late = bool(epoch.ends) and name.seq < epoch.ends[-1]
        if epoch.add(name.seq):
            self.late[name.node] += is_late
            return True
        self.duplicates[name.node] += 1
        return False

    def missing(self) -> dict[str, int]:
        """Batches that each node numbered and that have not come while later ones have. Late arrivals lower it."""
        counts = dict.fromkeys((node for node, _ in self._tracks), 0)
        for (node, _), epochs in self._tracks.items():
            counts[node] += sum(epoch.missing() for epoch in epochs.values() if len(epoch.starts) > 1 or epoch.given_up)
        for node, settled in self._settled.items():
            counts[node] += settled
        return counts

    def track(self, node: str, table: str) -> list[list[Any]]:
        """What has come of one table of one node: of each epoch its number, how many were given up, and intervals."""
        return [
            [number, epoch.given_up, epoch.intervals()] for number, epoch in self._tracks.get((node, table), {}).items()
        ]

    def put(self, node: str, table: str, number: int, given_up: int, intervals: list[list[int]]) -> None:
        """Take up an epoch that another ledger's `track` told of, with what is known of it already."""
        epochs, told = self._tracks.setdefault((node, table), OrderedDict()), _Epoch(intervals, given_up)
        if number in epochs:
            told.join(epochs.pop(number))
        epochs[number] = told

    def end(self, node: str, table: str, number: int) -> int:
        """The number behind the last that came in an epoch; 0 where none did."""
        epochs = self._tracks.get((node, table))
        epoch = epochs.get(number) if epochs is not None else None
        return epoch.ends[-1] if epoch is not None and epoch.ends else 0

    def last(self, node: str, table: str) -> int | None:
        """The epoch of a table of a node that was heard of last."""
        return next(reversed(self._tracks.get((node, table), {})), None)

    def drop(self, node: str, table: str, number: int) -> None:
        """Forget an epoch of a table of a node: another ledger has it."""
        epochs = self._tracks.get((node, table), OrderedDict())
        epochs.pop(number, None)
        if not epochs:
            self._tracks.pop((node, table), None)

    def nodes(self) -> set[str]:
        """The nodes of which anything is known."""
        return {node for node, _ in self._tracks}

    def forget(self, nodes: Collection[str]) -> None:
        """Know nothing of these nodes any more."""
        for track in [track for track in self._tracks if track[0] in nodes]:
            del self._tracks[track]
        for counts in (self._settled, self.late, self.duplicates):
            for node in counts.keys() & set(nodes):
                del counts[node]

    def to_dict(self) -> dict[str, Any]:
        """Everything that is known, as plain values fit for JSON, which are not to be changed."""
        told = []
        for (node, table), epochs in self._tracks.items():
            for number, epoch in epochs.items():
                if epoch.told is None:
                    epoch.told = [node, table, number, epoch.given_up, epoch.intervals()]
                told.append(epoch.told)
        return {
            "epochs": told,
            "settled": dict(self._settled),
            "duplicates": dict(self.duplicates),
            "late": dict(self.late),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> BatchLedger:
        """The ledger that `to_dict` described."""
        ledger = cls()
        for node, table, number, given_up, intervals in values["epochs"]:
            epochs = ledger._tracks.setdefault((node, table), OrderedDict())
            epochs[number] = _Epoch(intervals, given_up)
        ledger._settled.update(values["settled"])
        ledger.duplicates.update(values["duplicates"])
        ledger.late.update(values.get("late", {}))
        return ledger
