"""Which pods carry which labels: an index that grows with the endpoints of one numbering.

It knows no selectors but equality, which is all that Services, Gateways and meshes select by. The invariant: an
endpoint is read once, for its labels never change: a pod whose labels do is another endpoint.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import lru_cache

from ..inventory.models import Pod, Resource, namespace_of
from ..inventory.snapshot import Snapshot


class LabelledPods:
    """Endpoint ids of pods by their labels."""

    def __init__(self) -> None:
        self._read = 0
        self._subjects: Sequence[Resource | None] = ()
        self._ids: dict[tuple[str, str, str], list[int]] = defaultdict(list)
        """By namespace, or "" for all, and a label."""

    def extend(self, snapshot: Snapshot) -> None:
        """Read the endpoints that are new in a later snapshot of the same numbering."""
        self._subjects = snapshot.subjects
        count = min(snapshot.endpoints.height, len(self._subjects))
        for number in range(self._read, count):
            subject = self._subjects[number]
            if isinstance(subject, Pod):
                namespace = namespace_of(subject)
                for key, value in (subject.metadata.labels or {}).items():
                    self._ids["", key, value].append(number)
                    self._ids[namespace, key, value].append(number)
        self._read = max(self._read, count)

    def chosen(self, labels: Mapping[str, str], namespace: str = "") -> list[int]:
        """The pods with all these labels, of one namespace or ("") of any; none where there are no labels to have."""
        if not labels:
            return []
        rarest = min((self._ids.get((namespace, *pair), []) for pair in labels.items()), key=len)
        return [number for number in rarest if self._has(number, labels)]

    def _has(self, number: int, labels: Mapping[str, str]) -> bool:
        pod = self._subjects[number]
        return isinstance(pod, Pod) and labels.items() <= (pod.metadata.labels or {}).items()


def labelled_pods(snapshot: Snapshot) -> LabelledPods:
    """The index of a snapshot's pods; of one numbering, the same that earlier snapshots had."""
    pods = _of_numbering(snapshot.numbering)
    pods.extend(snapshot)
    return pods


@lru_cache(maxsize=2)
def _of_numbering(numbering: object) -> LabelledPods:
    return LabelledPods()
