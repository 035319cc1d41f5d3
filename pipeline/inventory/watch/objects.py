"""What is known of the cluster now, and what has changed since somebody asked.

The invariant: applying the changes in order to what was known before gives what is known now, and what does not alter
an object's body is no change.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from .bodies import Known, Seen
from .kinds import Kind, Served

Op = Literal["put", "delete"]


@dataclass(frozen=True, slots=True)
class Change:
    """One object as it is since `time_ns` (ns since the epoch, when the watcher knew), or gone since then."""

    time_ns: int
    op: Op
    served: Served
    known: Known


class Objects:
    """All objects, by kind, namespace and name; not safe to use from several threads."""

    def __init__(self) -> None:
        self._kinds: dict[Kind, dict[tuple[str, str], Change]] = {}
        self._changes: list[Change] = []

    def put(self, served: Served, known: Known, time_ns: int) -> None:
        """An object is, or was altered. Another uid under the same name is another object."""
        kind = self._kinds.setdefault(served.kind, {})
        before = kind.get((known.namespace, known.name))
        if before is not None:
            if before.known == known and before.served == served:
                return
            if before.known.uid != known.uid:
                self._changes.append(Change(time_ns, "delete", served, _bodiless(before.known)))
        change = Change(time_ns, "put", served, known)
        kind[known.namespace, known.name] = change
        self._changes.append(change)

    def delete(self, served: Served, seen: Seen, time_ns: int) -> None:
        """An object is gone; one that is not known, or is another by now, is left alone."""
        kind = self._kinds.get(served.kind, {})
        before = kind.get((seen.namespace, seen.name))
        if before is None or (seen.uid and before.known.uid != seen.uid):
            return
        del kind[seen.namespace, seen.name]
        self._changes.append(Change(time_ns, "delete", served, _bodiless(before.known)))

    def replace(self, served: Served, all_known: Mapping[tuple[str, str], Known], time_ns: int) -> None:
        """These are all objects of a kind: what is not among them is gone."""
        for key in [key for key in self._kinds.get(served.kind, {}) if key not in all_known]:
            before = self._kinds[served.kind].pop(key)
            self._changes.append(Change(time_ns, "delete", served, _bodiless(before.known)))
        for known in all_known.values():
            self.put(served, known, time_ns)

    def changes(self) -> list[Change]:
        """The changes since the last call, in order."""
        changes, self._changes = self._changes, []
        return changes

    def all(self) -> Iterator[Change]:
        """Every object that there is, with the time since when it is known as it is."""
        for kind in self._kinds.values():
            yield from kind.values()

    def count(self, kind: Kind | None = None) -> int:
        """How many objects there are, of one kind or of all."""
        kinds = self._kinds.values() if kind is None else [self._kinds.get(kind, {})]
        return sum(map(len, kinds))


NO_BODY: Final = b""


def _bodiless(known: Known) -> Known:
    return Known(known.namespace, known.name, known.uid, NO_BODY)
