"""Policies over time: a flow is judged by those in force when it began.

Sets of policies are compiled when a flow first falls under them, and each distinct question is judged once a set.
Changes that follow each other within a second of the last one that counted count together, a second after it: a
deployment of a thousand policies is not a thousand compilations, and no dataplane is faster. The invariant: when a
change counts depends on earlier changes alone, so nothing that was judged is ever judged otherwise later.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from ...inventory.history import PolicyEpoch
from ...inventory.models import Resource
from ...inventory.snapshot import Snapshot
from ...inventory.spans import BEGINNING
from .answers import AnswerBook
from .engine import Policies
from .pairs import Pairs, pairs_of
from .profiles import Profiles
from .readers import read_one
from .sayings import Compiled, Said
from .terms import Policy

SETTLE_NS: Final = 1_000_000_000
"""Changes count at most this often."""
MOST_COMPILED: Final = 8
"""How many sets of policies are kept compiled; the least lately asked go first."""
MOST_HELD: Final = 500_000
"""Questions that are remembered of all sets together, of the one asked last aside."""
MOST_ANSWERS: Final = 500_000
"""When so many answers are known, all are forgotten."""
LEAST_READ: Final = 1_000
"""So many objects more than twice those of the last look are remembered before it is looked which of them are gone: a
quarter of an hour full of changes has a thousand sets of thousands of objects."""

Epochs = Sequence[PolicyEpoch]
_NO_POLICIES: Final = (PolicyEpoch(BEGINNING, ()),)


class PolicyTimeline:
    """The policies of one cluster over time. `use` a snapshot first, then `judge` flows attributed under it."""

    def __init__(self) -> None:
        self.book = AnswerBook()
        """What the numbers of answers mean. Another object where all are forgotten."""
        self._snapshot: Snapshot | None = None
        self._profiles = Profiles()
        self._listed: tuple[PolicyEpoch, ...] = ()
        self._sinces: list[int] = [BEGINNING]
        self._objects: list[tuple[Resource, ...]] = [()]
        self._compiled: dict[int, Compiled] = {}
        """By the identity of a tuple of `_objects`, the least lately asked first."""
        self._read: dict[int, tuple[Resource, tuple[Policy, ...]]] = {}
        """What objects mean, by their identity."""
        self._most_read = LEAST_READ
        """When it holds more, those that are in no set any more go."""

    def use(self, snapshot: Snapshot, epochs: Epochs) -> None:
        """Take ids to be those of `snapshot`, and the policies to be these, from now on. No epochs are no policies."""
        epochs = epochs or _NO_POLICIES
        if self._snapshot is None or snapshot.numbering is not self._snapshot.numbering:
            self._profiles = Profiles()
            self._compiled.clear()
        if snapshot is not self._snapshot:
            self._snapshot = snapshot
            if self._profiles.see(snapshot):
                self._compiled.clear()
        if tuple(map(id, epochs)) != tuple(map(id, self._listed)):
            self._list(epochs)
        if len(self.book) > MOST_ANSWERS:
            self.book = AnswerBook()
            self._compiled.clear()

    def say(self, flows: pl.DataFrame) -> Said:
        """What the policies of their time say of flows (columns `PAIR` and `start`)."""
        pairs = pairs_of(flows)
        said = Said.room(flows.height)
        for places, which in self._by_epoch(flows["start"].to_numpy()):
            if places is None:
                said = self._said(which, pairs)
            else:
                said.put(places, self._said(which, pairs.at(places)))
        return said

    def judge(self, flows: pl.DataFrame) -> pl.DataFrame:
        """Add the columns of what is said of flows, as `Said.columns` tells."""
        return flows.hstack(self.say(flows).columns())

    def is_settled(
        self, pairs: Pairs, starts: npt.NDArray[np.int64], verdicts: npt.NDArray[np.uint8], grace_ns: int
    ) -> npt.NDArray[np.bool_]:
        """Which connections have these verdicts (codes of VERDICT) under all policies in force within `grace_ns` of
        their start."""
        settled = np.ones(starts.size, dtype=np.bool_)
        sinces = [None, *self._sinces[1:]]
        for which, (since, end) in enumerate(zip(sinces, [*self._sinces[1:], None], strict=True)):
            near = np.ones(starts.size, dtype=np.bool_) if since is None else starts >= since - grace_ns
            if end is not None:
                near &= starts < end + grace_ns
            places = np.flatnonzero(near)
            if places.size:
                settled[places] &= self._said(which, pairs.at(places)).verdict == verdicts[places]
        return settled

    def may_be_overruled(self, pairs: Pairs, starts: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Of which connections the dataplane may know better, by a policy of their time that is not understood."""
        found = np.zeros(starts.size, dtype=np.bool_)
        for places, which in self._by_epoch(starts):
            policies = self._compile(which).policies
            if policies.not_judged:
                mine = slice(None) if places is None else places
                found[mine] = policies.may_be_overruled(pairs.at(mine))
        return found

    def current(self) -> Policies:
        """The policies of the newest time, compiled."""
        return self._compile(len(self._objects) - 1).policies

    def _list(self, epochs: Epochs) -> None:
        """Decide when each change counts. What counted already stays as it was."""
        known = {id(epoch) for epoch in self._listed}
        if not any(id(epoch) in known for epoch in epochs):
            self._sinces, self._objects = [], []
        for epoch in epochs:
            if id(epoch) not in known:
                self._count(epoch)
        kept = {id(epoch.objects) for epoch in epochs}
        first = next(place for place, objects in enumerate(self._objects) if id(objects) in kept)
        self._sinces, self._objects = self._sinces[first:], self._objects[first:]
        self._listed = tuple(epochs)
        if len(self._read) > self._most_read:
            present = {id(item) for objects in self._objects for item in objects}
            self._read = {key: read for key, read in self._read.items() if key in present}
            self._most_read = 2 * len(self._read) + LEAST_READ
        live = {id(objects) for objects in self._objects}
        self._compiled = {key: compiled for key, compiled in self._compiled.items() if key in live}

    def _count(self, epoch: PolicyEpoch) -> None:
        since = epoch.since_ns
        if self._sinces and since <= self._sinces[-1]:
            self._objects[-1] = epoch.objects
            return
        if len(self._sinces) > 1:
            since = max(since, self._sinces[-1] + SETTLE_NS)
        self._sinces.append(since)
        self._objects.append(epoch.objects)

    def _by_epoch(self, starts: npt.NDArray[np.int64]) -> Iterator[tuple[npt.NDArray[np.int64] | None, int]]:
        """Places of flows and the set that judges them; None for all places, as it mostly is."""
        if not starts.size:
            return
        sinces = np.array(self._sinces, dtype=np.int64)
        first, last = (max(int(np.searchsorted(sinces, start, side="right")) - 1, 0) for start in _ends(starts))
        if first == last:
            yield None, first
            return
        which = np.maximum(np.searchsorted(sinces, starts, side="right") - 1, 0)
        for number in range(first, last + 1):
            places = np.flatnonzero(which == number)
            if places.size:
                yield places, number

    def _said(self, which: int, pairs: Pairs) -> Said:
        """What one set of policies says of each pair."""
        said = self._compile(which).say(pairs, self.book)
        held = sum(len(compiled.table) for compiled in self._compiled.values())
        for compiled in list(self._compiled.values())[:-1]:
            if held <= MOST_HELD:
                break
            held -= len(compiled.table)
            compiled.forget()
        return said

    def _compile(self, which: int) -> Compiled:
        """A set of policies, compiled for all endpoints that are known."""
        if self._snapshot is None:
            raise RuntimeError("use(snapshot, epochs) comes first")
        objects = self._objects[which]
        compiled = self._compiled.pop(id(objects), None)
        if compiled is None:
            compiled = Compiled(Policies(objects, self._snapshot, self._profiles, self._policies_of))
        elif compiled.policies.identities.of_endpoint.size < self._snapshot.endpoints.height:
            before = compiled.policies
            compiled.policies = before.following(self._snapshot, self._profiles)
            if compiled.policies.identities.numbers is not before.identities.numbers:
                compiled.forget()
        self._compiled[id(objects)] = compiled
        while len(self._compiled) > MOST_COMPILED:
            del self._compiled[next(iter(self._compiled))]
        return compiled

    def _policies_of(self, item: Resource) -> tuple[Policy, ...]:
        known = self._read.get(id(item))
        if known is None:
            known = self._read[id(item)] = item, read_one(item)
        return known[1]


def _ends(starts: npt.NDArray[np.int64]) -> tuple[int, int]:
    return int(starts.min()), int(starts.max())
