"""The nodes of the generated cluster as one process: each ships a batch of its flows every second to a real Kafka.

`python -m tests.bench.live_sender HOST:PORT RATE SECONDS [LOG]`: RATE flows a second for SECONDS, by the clock; with
`pile` for LOG all at once, with the times that they would have had in the SECONDS before now. Flows are generated
before the first is sent, and are told again with other times: what is paid on the way is encoding and Kafka's client,
and how much of a core that was is told at the end, as one JSON line. LOG (.npy) gets when each batch was made, in ns
since the epoch: a row a second, a column a node. The invariant: a batch is made when its turn comes, or later, never
before; nodes take turns evenly over each second.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from kafka import KafkaProducer

from collector.kafka_checksums import install_checksums
from collector.schema import FLOWS, Batch, Column, encode, ordered
from tests.bench import history

PILE: Final = "pile"
CALLEES: Final = 4
"""Services that a workload calls: so many make 100,000 series."""
SECOND_NS: Final = 10**9


@dataclass(frozen=True, slots=True)
class Template:
    """A batch's rows, as they are at the time EPOCH."""

    columns: dict[str, Column]
    rows: int
    byte_sum: int

    def at(self, node: str, epoch: int, seq: int, time_ns: int) -> Batch:
        """The same flows, seen at another time."""
        moved = time_ns - history.EPOCH
        times = {name: np.asarray(self.columns[name]) + moved for name in ("start", "time")}
        flow_id = np.asarray(self.columns["flow_id"]) + np.uint64(moved)
        value = encode(FLOWS, {**self.columns, **times, "flow_id": flow_id})
        return Batch(FLOWS.name, node, epoch, seq, self.rows, self.byte_sum, value)


def templates(rows: int, seed: int = 1) -> list[Template]:
    """What each node sees every second, as of connections that last: `rows` rows."""
    where = history.addresses()
    generator = np.random.default_rng(seed)

    def template(node: int) -> Template:
        columns = ordered(FLOWS, history.flows(generator, where, node, rows, history.EPOCH, CALLEES))
        byte_sum = sum(int(np.asarray(columns[name]).sum()) for name in FLOWS.bytes_columns)
        return Template(columns, rows, byte_sum)

    return [template(node) for node in range(history.NODES)]


def ship(producer: Any, of_nodes: list[Template], seconds: int, due: Callable[[int], int]) -> Any:
    """Send `seconds` batches of each node; `due` waits for a turn and returns the time at which it has come."""
    epoch = time.time_ns()
    made = np.zeros((seconds, history.NODES), np.int64)
    for second in range(seconds):
        for node, of_node in enumerate(of_nodes):
            made[second, node] = now = due(second * history.NODES + node)
            batch = of_node.at(f"node{node}", epoch, second, now)
            producer.send(batch.topic, key=batch.key, value=batch.value, headers=list(batch.headers().items()))
    producer.flush(60)
    return made


def main() -> None:
    servers, rate, seconds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    log = sys.argv[4] if len(sys.argv) > 4 else None
    of_nodes = templates(max(1, rate // history.NODES))
    rows = of_nodes[0].rows
    install_checksums()  # as the collector does
    producer: Any = KafkaProducer(bootstrap_servers=servers, max_request_size=2_000_000, metrics_enabled=False)
    producer.partitions_for(FLOWS.topic)  # it knows the brokers before the first turn
    began_ns, turn_ns, behind_ns = time.time_ns(), SECOND_NS // history.NODES, 0
    processor_s, clock_s = time.process_time(), time.perf_counter()

    def in_turn(turn: int) -> int:
        nonlocal behind_ns
        wait_ns = began_ns + turn * turn_ns - time.time_ns()
        if wait_ns > 0:
            time.sleep(wait_ns / SECOND_NS)
        behind_ns = max(behind_ns, -wait_ns)
        return time.time_ns()

    def before_now(turn: int) -> int:
        return began_ns - seconds * SECOND_NS + turn * turn_ns

    made = ship(producer, of_nodes, seconds, before_now if log == PILE else in_turn)
    took_s = time.perf_counter() - clock_s
    if log not in (None, PILE):
        np.save(Path(str(log)), made)
    told = {
        "rows": rows * made.size,
        "seconds": round(took_s, 3),
        "core_share": round((time.process_time() - processor_s) / took_s, 3),
        "behind_s": round(behind_ns / SECOND_NS, 3),
    }
    print(json.dumps(told), flush=True)
    producer.close()


if __name__ == "__main__":
    main()
