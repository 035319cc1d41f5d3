"""A fixed share of a topic's partitions, when others have had some of them meanwhile.

Shares may be cut anew while all pipelines stand: three become two, and three again. What a share that comes back had
was read on by others, and what they committed tells so, for every share writes beside its offsets which one it is. The
invariant: a partition is read on behind the last place that is known of it: the one of our snapshot or, where others
have committed since, theirs.

Where the group has members, they divide all partitions, ours too: Kafka takes commits of theirs alone then, by which we
know. A share does not begin beside them, and one that runs ends.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from kafka.errors import CommitFailedError

from ..errors import PermanentError, TransientError
from . import Partition, Places
from .kafka import ANSWER_SECONDS, KafkaReader, sorted_errors
from .kafka_group import committed_of
from .kafka_places import later_of, told_by
from .share import Share

log = logging.getLogger(__name__)


class KafkaShare(KafkaReader):
    """Reads a share, for a group that keeps its commits and divides nothing."""

    def __init__(
        self, url: str, group: str, topics: Sequence[str], options: Mapping[str, Any] | None, share: Share
    ) -> None:
        super().__init__(url, group, topics, options, share)
        self._note = str(share)
        self.gone: frozenset[Partition] = frozenset()

    def start(self, places: Places | None = None) -> None:
        """Connect, and see who has gone on with our partitions. Raises as KafkaReader does, and TransientError where
        the group has members."""
        super().start(places)
        try:
            with sorted_errors():
                committed = committed_of(self._consumer, list(self._told)) if self._told else {}
                if committed:
                    self._consumer.commit(dict(committed), timeout_ms=int(ANSWER_SECONDS * 1000))
        except TransientError as error:
            self._consumer.close(autocommit=False)
            self._consumer = None
            if isinstance(error.__cause__, CommitFailedError):
                raise TransientError(f"bus: {self._divided}") from error
            raise
        for partition, told in committed.items():
            ours = self._told_of(partition)
            if told.metadata not in ("", self._note) and later_of(ours, told) is not ours:
                where = f"{partition.topic}/{partition.partition}"
                log.info("bus: others have read %s up to %d since: it is read on from there", where, told.offset)
                self._told[partition] = self._behind[partition] = told.offset
                self._epochs[partition] = told
        before = told_by(places or {}).offsets
        self.gone = frozenset((p.topic, str(p.partition)) for p, at in before.items() if self._told.get(p) != at)

    def _rewind(self, topic: str) -> None:
        """Go back to the beginning of a topic that was made anew, or go on behind those who have read it since."""
        mine = [partition for partition in self._consumer.assignment() if partition.topic == topic]
        committed = committed_of(self._consumer, mine) if mine else {}
        super()._rewind(topic)
        for partition, told in committed.items():
            if told.metadata not in ("", self._note):
                self._told.pop(partition, None)
                self._behind[partition] = told.offset
                self._epochs[partition] = told
                self._seek(partition, told.offset)

    def commit(self, mark: object = None) -> None:
        """Commit the mark or, that it is told whose they are, the offsets behind everything polled. Raises as
        KafkaReader does, and PermanentError where the group has members."""
        try:
            super().commit(self._behind if mark is None else mark)
        except TransientError as error:
            if isinstance(error.__cause__, CommitFailedError):
                raise PermanentError(f"bus: {self._divided}") from error
            raise

    @property
    def _divided(self) -> str:
        return f"group {self._group} has members, which count the partitions of the fixed share {self._note} too"
