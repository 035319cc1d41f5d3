"""What an answer rests on: the objects, each at the version at which it became what is read of it, and since when.

Of a watched cluster the versions are those of the changes that the watcher sent; a dump has the newest alone. The
invariant: an object that is not there is not named.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

import polars as pl

from ..inventory.identities import identity_of
from ..inventory.models import Namespace, Other, Resource, version_of
from ..inventory.policy_history import PolicyEpoch
from ..inventory.spans import BEGINNING

Used = Mapping[str, str]
"""One object: kind, namespace, name, uid, version and created; "" where it does not say."""

_MS: Final = 1_000_000


def used(resource: Resource) -> Used:
    """An object as something that an answer rests on."""
    kind, namespace, name = identity_of(resource)
    metadata = None if isinstance(resource, Other) else resource.metadata
    return {
        "kind": kind,
        "namespace": namespace,
        "name": name,
        "uid": (metadata and metadata.uid) or "",
        "version": version_of(resource),
        "created": (metadata and metadata.creation_timestamp) or "",
    }


class Evidence:
    """The objects that there are, by kind and name; `epochs` tell since when policies are as they are."""

    def __init__(self, objects: Iterable[Resource], epochs: Sequence[PolicyEpoch] = ()) -> None:
        self.objects = tuple(objects)
        self._epochs = epochs
        self._by_name: defaultdict[tuple[str, str, str], list[Resource]] = defaultdict(list)
        for item in self.objects:
            self._by_name[identity_of(item)].append(item)

    def find(self, kind: str, namespace: str | None, name: str) -> list[Used]:
        """The objects of that name; more than one where two API groups have the kind."""
        return [used(item) for item in self._by_name.get((kind, namespace or "", name), ())]

    def namespace_labels(self, name: str) -> Mapping[str, str] | None:
        """What the namespace's object says; None where there is none."""
        found = self._by_name.get(("Namespace", "", name), ())
        return next((item.metadata.labels or {} for item in found if isinstance(item, Namespace)), None)

    def in_force_since(self, kind: str, namespace: str | None, name: str) -> str:
        """Since when a policy is as it is now; "" where that is longer than is known."""
        found = self._by_name.get((kind, namespace or "", name), ())
        since = BEGINNING
        for epoch in reversed(self._epochs):
            if not any(item is one for item in epoch.objects for one in found):
                break
            since = epoch.since_ns
        return instant_text(since)


def latest(spans: pl.DataFrame) -> str:
    """Since when all of these facts (with `since`) hold together; "" where that is longer than is known."""
    since = spans["since"].max()
    return instant_text(since if isinstance(since, int) else BEGINNING)


def instant_text(instant: int) -> str:
    """An instant in ns as RFC 3339 in milliseconds; "" for the beginning."""
    if instant == BEGINNING:
        return ""
    seconds, rest = divmod(instant // _MS, 1000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:03}Z"
