"""Manifest files that are looked at again and again, and what they say by now.

No clock and no history are here: who looks decides when. The invariant: an object is there until a file that was read
whole, after it was left alone for a look, no longer says it; what cannot be read takes nothing away.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..errors import ConfigError
from .identities import key_of
from .manifests import Refusal, listing, read
from .models import Resource
from .selected import selected_slices

Key = tuple[type[Resource], tuple[str, str, str]]
Stamp = tuple[int, int, int]

_EMPTIED: Final = "empty, as while it is written; what it held is kept"


@dataclass(frozen=True, slots=True)
class _File:
    """What a file said when it was read; `stamp` is None where it is to be read again at the next look."""

    stamp: Stamp | None
    objects: Mapping[Key, Resource]
    refusals: tuple[Refusal, ...]


class ManifestFiles:
    """A file or folder of manifests. Nothing is read before the first `look`."""

    def __init__(self, path: Path) -> None:
        self.objects: Mapping[Key, Resource] = {}
        """What the files say together, and the EndpointSlices that they leave out. The last file tells of an object."""
        self.refusals: list[Refusal] = []
        """What could not be understood at the last look."""
        self._path = path
        self._files: dict[Path, _File] = {}
        self._stamps: dict[Path, Stamp] = {}
        """Of the last look."""

    def look(self) -> bool:
        """Read what changed; whether `objects` are others now.

        A file that is new, changed or gone is taken as it is once two looks in a row found the same of it: it may be
        in the middle of being written. The first look reads everything at once, and raises ConfigError where there is
        no manifest.
        """
        is_first = not self._files
        try:
            found = listing(self._path)
        except ConfigError as error:
            if is_first:
                raise
            self.refusals = [*self._refused(), Refusal(str(self._path), 0, 0, "", "", "", str(error))]
            return False
        before, self._stamps = self._stamps, dict(_stamped(found.files))
        kept: dict[Path, _File] = {}
        unlisted = []
        for file, known in self._files.items():
            lost = next((folder for folder in found.unlisted if folder in file.parents), None)
            if file in self._stamps or file in before or lost is not None:
                kept[file] = known
            if lost is not None:
                unlisted.append(Refusal(str(lost), 0, 0, "", "", "", found.unlisted[lost]))
        for file, stamp in self._stamps.items():
            known = kept.get(file, _File(None, {}, ()))
            if known.stamp != stamp and (is_first or before.get(file) == stamp):
                kept[file] = _read(file, stamp, known)
        has_changed = kept != self._files
        self._files = kept
        self.refusals = [*self._refused(), *dict.fromkeys(unlisted)]
        if has_changed:
            told = {key: item for file in sorted(kept) for key, item in kept[file].objects.items()}
            self.objects = {**told, **{key_of(item): item for item in selected_slices(told.values())}}
        return has_changed

    def _refused(self) -> list[Refusal]:
        return [refusal for file in sorted(self._files) for refusal in self._files[file].refusals]


def _stamped(files: list[Path]) -> Iterator[tuple[Path, Stamp]]:
    for file in files:
        try:
            status = file.stat()
        except OSError:  # it went between the listing and now
            continue
        yield file, (status.st_mtime_ns, status.st_size, status.st_ino)


def _read(file: Path, stamp: Stamp, known: _File) -> _File:
    """What the file says now. Where anything of it is refused, or it is empty, what it said before is kept beside."""
    objects: dict[Key, Resource] = {}
    refusals = []
    for item in read(file):
        if isinstance(item, Refusal):
            refusals.append(item)
        else:
            objects[key_of(item)] = item
    is_unread = any(refusal.document == 0 for refusal in refusals)
    if not stamp[1] and known.objects:
        refusals.append(Refusal(str(file), 0, 0, "", "", "", _EMPTIED))
    if refusals:
        objects = {**known.objects, **objects}
    return _File(None if is_unread else stamp, objects, tuple(refusals))
