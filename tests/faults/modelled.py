"""What stands in for clocks, Kafka and disks around the lives of a world."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline import engine as engines
from pipeline import settling
from pipeline.bus import kafka, kafka_group
from pipeline.outputs.meters import Meters
from tests.faults.kafka_model import Consumer
from tests.faults.lives import GROUP, afterwards
from tests.faults.stand_ins import Tally
from tests.faults.worlds import CALLS, Life, here


@contextmanager
def modelled() -> Iterator[None]:
    """Readers find the model, calls that change the disk are points, and nobody waits by the clock."""

    def connected(reader: kafka.KafkaReader) -> Consumer:
        life: Life = here.life
        consumer = Consumer(life.world.cluster, GROUP, life.member.name, reader._resets.append, life.rest)
        life.consumers.append(consumer)
        return consumer

    def around(call: Callable[..., Any]) -> Callable[..., Any]:
        def guarded(*arguments: Any, **more: Any) -> Any:
            life: Life | None = getattr(here, "life", None)
            if life is None:
                return call(*arguments, **more)
            life.point()
            result = call(*arguments, **more)
            afterwards(call, result, life.point)
            return result

        return guarded

    clock = SimpleNamespace(monotonic=Clock().now, sleep=lambda _: None)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(kafka.KafkaReader, "_connected", connected)
        patched.setattr(kafka, "join_patiently", lambda *_: None)
        for module in (kafka, kafka_group):
            patched.setattr(module, "time", clock)
        patched.setattr(engines, "Stages", Tally)
        patched.setattr(Meters, "samples", lambda *_: [])  # which takes longer than all else
        patched.setattr(engines, "BACK_OFF_SECONDS", (0.0, 0.0))
        patched.setattr(engines, "DRAIN_SECONDS", 1e9)
        for name in ("LEAST_POLL_SECONDS", "POLL_SECONDS", "HELD_POLL_SECONDS"):
            patched.setattr(engines, name, 0.0)
        patched.setattr(settling, "HINT_SECONDS", 0.0)
        patched.setattr(os, "fsync", lambda _: None)
        for owner, name in CALLS:
            patched.setattr(owner, name, around(getattr(owner, name)))
        yield


class Clock:
    """A second passes at each look."""

    def __init__(self) -> None:
        self._now = 0.0

    def now(self) -> float:
        self._now += 1.0
        return self._now
