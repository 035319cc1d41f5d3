"""A fixed share of a topic's partitions, when others have had some of them meanwhile.

Shares may be cut anew while all pipelines stand: three become two, and three again. What a share that comes back had
was read on by others, and what they committed tells so, for every share writes beside its offsets which one it is. The
invariant: a partition is read on behind the last place that is known of it: the one of our snapshot or, where others
have committed since, theirs.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import TransientError
from . import Partition, Places
from .kafka import KafkaReader, sorted_errors
from .kafka_group import committed_of
from .kafka_places import told_by
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
        """Connect, and see who has gone on with our partitions. Raises as KafkaReader does."""
        super().start(places)
        try:
            with sorted_errors():
                committed = committed_of(self._consumer, list(self._told)) if self._told else {}
        except TransientError:
            self._consumer.close(autocommit=False)
            self._consumer = None
            raise
        for partition, told in committed.items():
            if told.metadata not in ("", self._note) and told.offset > self._told[partition]:
                where = f"{partition.topic}/{partition.partition}"
                log.info("bus: others have read %s up to %d since: it is read on from there", where, told.offset)
                self._told[partition] = self._behind[partition] = told.offset
        before = told_by(places or {}).offsets
        self.gone = frozenset((p.topic, str(p.partition)) for p, at in before.items() if self._told.get(p) != at)

    def commit(self, mark: object = None) -> None:
        """Commit the mark or, that it is told whose they are, the offsets behind everything polled. Raises as
        KafkaReader does."""
        super().commit(self._behind if mark is None else mark)
