"""How long nobody reads a partition of a consumer group, by what the group has committed: from outside, as the broker
tells it to anybody who asks."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Final

from kafka import KafkaAdminClient
from kafka.errors import KafkaError

_LOOK_SECONDS: Final = 0.1


class Gaps(threading.Thread):
    """Notes for each partition of a topic how long its offset stayed where it was, while something is put on all of
    them all the time. Where nobody reads at all (`is_anybody`), time does not count."""

    def __init__(self, bootstrap: str, group: str, topic: str, is_anybody: Callable[[], bool]) -> None:
        super().__init__(daemon=True)
        self.seconds: list[float] = []
        """Every time that an offset stayed, once it went on."""
        self._admin: Any = KafkaAdminClient(bootstrap_servers=bootstrap)
        self._group = group
        self._topic = topic
        self._is_anybody = is_anybody
        self._ended = threading.Event()

    def run(self) -> None:
        since: dict[Any, tuple[int, float]] = {}
        while not self._ended.wait(_LOOK_SECONDS):
            try:
                told = self._admin.list_group_offsets({self._group: None})[self._group]
            except KafkaError:  # its coordinator is not known yet
                continue
            now, is_anybody = time.monotonic(), self._is_anybody()
            for partition, place in told.items():
                if partition.topic != self._topic:
                    continue
                at, began = since.get(partition, (place.offset, now))
                if place.offset != at:
                    self.seconds.append(now - began)
                if place.offset != at or not is_anybody:
                    began = now
                since[partition] = place.offset, began

    def stop(self) -> list[float]:
        """Look no more; all that was found, the shortest first."""
        self._ended.set()
        self.join()
        self._admin.close()
        return sorted(self.seconds)
