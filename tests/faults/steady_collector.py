"""A collector's spool and sink for nodes that ship at a steady rate, as a process of its own: a part of `make soak`.

`python -m tests.faults.steady_collector HOST:PORT FOLDER RATE SECONDS SEED`. Each of the nodes of the generated cluster
ships a batch every PERIOD seconds. Beside it one in ten batches comes again, some much later, and now and then bytes
that are none: what came to the bus is told at the end, as one JSON line. What is remembered are sums and the last few
batches, however long it goes on.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any, Final

from kafka import KafkaProducer

from collector.metrics import Metrics
from collector.schema import Batch
from collector.sinks.kafka import KafkaSink
from collector.sinks.spool import SpoolSink
from tests.bench import history
from tests.bench.live_sender import Template, templates

PERIOD: Final = 10
"""Seconds between the batches of a node."""
SPOOL_BYTES: Final = 1 << 28
IN_FLIGHT_BYTES: Final = 1 << 25
FLUSH_SECONDS: Final = 120.0
LATE: Final = 400
"""Batches that may lie between one and its repetition."""


class Repeater:
    """Puts on the bus what nobody should count: batches again, and poison."""

    def __init__(self, servers: str, chance: random.Random) -> None:
        self.again = self.poison = 0
        self._chance = chance
        self._last: deque[Batch] = deque(maxlen=LATE)
        self._producer: Any = KafkaProducer(bootstrap_servers=[servers], metrics_enabled=False)

    def after(self, batch: Batch) -> None:
        """A batch was shipped."""
        self._last.append(batch)
        if self._chance.random() < 0.1:
            self._put(self._chance.choice(self._last), "again")
        if self._chance.random() < 0.02:
            cut = Batch(**{**_fields(batch), "value": batch.value[: self._chance.randrange(len(batch.value))]})
            self._put(cut, "poison")

    def _put(self, batch: Batch, kind: str) -> None:
        sent = self._producer.send(batch.topic, key=batch.key, value=batch.value, headers=list(batch.headers().items()))
        sent.add_callback(lambda _: setattr(self, kind, getattr(self, kind) + 1))

    def stop(self) -> None:
        """Wait until all is there."""
        self._producer.flush(FLUSH_SECONDS)
        self._producer.close()


def _fields(batch: Batch) -> dict[str, Any]:
    return {name: getattr(batch, name) for name in ("table", "node", "epoch", "seq", "rows", "byte_sum")}


def main() -> int:
    servers, folder, rate, seconds, seed = sys.argv[1], Path(sys.argv[2]), *map(int, sys.argv[3:6])
    metrics = Metrics()
    sink = SpoolSink(folder, metrics, SPOOL_BYTES, lambda told: KafkaSink(servers, metrics, IN_FLIGHT_BYTES, told))
    repeater = Repeater(servers, random.Random(seed))
    sink.start()
    told = ship(sink, repeater, templates(max(1, rate * PERIOD // history.NODES)), seconds)
    is_flushed = sink.flush(FLUSH_SECONDS)
    sink.stop()
    repeater.stop()
    told |= {"again": repeater.again, "poison": repeater.poison}
    reasons = ("bus_full", "bus_error", "spool_full", "spool_error", "spool_corrupt")
    told["lost"] = sum(int(metrics.value("lost_rows_total", table="flows", reason=reason)) for reason in reasons)
    print(json.dumps(told), flush=True)
    return 0 if is_flushed else 1


def ship(sink: SpoolSink, repeater: Repeater, of_nodes: list[Template], seconds: int) -> dict[str, int]:
    """Ship until the time is over: what was made. Each node has an epoch of its own, as one sink is for all."""
    began, epoch = time.monotonic(), time.time_ns()
    sums = {"batches": 0, "rows": 0, "bytes": 0}
    for turn in range(seconds * history.NODES // PERIOD):
        time.sleep(max(0.0, began + turn * PERIOD / history.NODES - time.monotonic()))
        seq, node = divmod(turn, history.NODES)
        batch = of_nodes[node].at(f"node{node}", epoch + node, seq, time.time_ns())
        sink.send(batch)
        repeater.after(batch)
        sums["batches"] += 1
        sums["rows"] += batch.rows
        sums["bytes"] += batch.byte_sum
    return sums


if __name__ == "__main__":
    sys.exit(main())
