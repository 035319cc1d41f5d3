"""Which partition of a topic a batch goes to: one for all of an epoch of a node, in every table.

Where topics are given more partitions, the key alone would send what comes next to another one, and what is sent again
too: whoever reads that one does not know what came to the first, counts it twice, and misses what is still waiting
there. So an epoch stays with the number of partitions that it began with, also in the next process, where a file beside
the spool tells. The invariant: batches of an epoch are in one partition, as long as their topics have it.
"""

from __future__ import annotations

import json
import logging
import os
from functools import lru_cache
from pathlib import Path
from typing import Final

from kafka.partitioner.default import murmur2

from ..schema import Batch, sync_folder

_log = logging.getLogger(__name__)

_KEPT: Final = 8
"""Epochs of which the number is known: as many as who reads tells batches of."""


class Partitions:
    """The numbers of partitions that epochs began with, kept in `file` where there is one."""

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._numbers: dict[int, int] | None = None
        """By epoch; the one that was heard of last comes last."""

    def of(self, batch: Batch, number: int) -> int:
        """The partition of a batch whose topic has so many now. With fewer than the epoch began with it is another
        topic, or one that is still to be given more."""
        numbers = self._loaded()
        if batch.epoch not in numbers:
            numbers[batch.epoch] = number
            while len(numbers) > _KEPT:
                del numbers[next(iter(numbers))]
            self._save(numbers)
        return _hash(batch.key) % min(number, numbers[batch.epoch])

    def _loaded(self) -> dict[int, int]:
        if self._numbers is None:
            self._numbers = {}
            try:
                if self._file is not None:
                    told = json.loads(self._file.read_bytes())
                    self._numbers = {int(epoch): max(1, int(number)) for epoch, number in told.items()}
            except FileNotFoundError:
                pass
            except (OSError, ValueError, TypeError, AttributeError) as error:
                _log.warning("bus: %s does not tell what partitions there were: %s", self._file, error)
        return self._numbers

    def _save(self, numbers: dict[int, int]) -> None:
        if self._file is None:
            return
        new = self._file.with_suffix(".part")
        try:
            with new.open("w") as file:
                json.dump(numbers, file)
                file.flush()
                os.fsync(file.fileno())
            new.replace(self._file)
            sync_folder(self._file.parent)
        except OSError as error:
            _log.warning("bus: %s does not keep what partitions there are: %s", self._file, error)


@lru_cache(maxsize=16)
def _hash(key: bytes) -> int:
    """As Kafka's own clients have it."""
    return int(murmur2(key)) & 0x7FFFFFFF
