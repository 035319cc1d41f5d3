"""Attribution on one core: encoded batches to two roll-ups on ids, over a generated history of five million flows.

Twice: under a dump, in which everything holds always, and under a watched cluster, in which every pod has taken over
its address from another a while ago and a twentieth of them in the middle of the flows.

`python tests/bench/bench_attribution.py [FLOWS]`; run with POLARS_MAX_THREADS=1 to measure one core. Prints one JSON
line a figure. The history is made between the measurements and is in none of them.
"""

from __future__ import annotations

import sys
import tarfile
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice, pairwise
from statistics import median

import polars as pl
from msgspec import structs

from collector.schema import FLOWS, MAX_ROWS, UTF8, Batch, encode, ordered, unpack_records
from deploy.demo.replay import RECORDING
from pipeline.attribution import attribute
from pipeline.bus import Message
from pipeline.decode import decode
from pipeline.inventory import snapshot
from pipeline.inventory.history import History
from pipeline.inventory.models import Pod
from pipeline.inventory.snapshot import Snapshot
from tests.bench import history
from tests.bench.figures import show

POLL_BATCHES = 10
"""Batches taken in one go, as one poll of the bus brings them."""
TARGET = 1_000_000


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 5_000_000
    started = time.perf_counter()
    dump = snapshot.build(history.cluster())
    for size in (2_000, MAX_ROWS):
        batch = next(history.batches(size))
        show("wire_bytes_per_flow", len(batch.value) / size, "bytes", f"{size} rows a batch, most with health and head")
    rows_sent, bytes_sent = recorded()
    show(
        "wire_bytes_per_lab_flow",
        bytes_sent / rows_sent,
        "bytes",
        f"{rows_sent} rows of the demo's lab, a batch a node",
    )
    show("snapshot_build_seconds", time.perf_counter() - started, "s", "5,000 pods, 800 Services, 200 nodes")
    measure(dump, rows, "")

    state = watched()
    few = decoded(next(history.batches(100)))
    again = median(attributed(few, state) for _ in range(20))
    first = median(attributed(few, replace(state)) for _ in range(20))
    show("lookups_seconds", first - again, "s", "what a changed snapshot costs; 10,000 spans of 5,000 addresses")
    measure(state, rows, "as_of_")


def recorded() -> tuple[int, int]:
    """How many flows the demo's recording has, and how many bytes they take, each node's in one batch."""
    by_node: dict[str, list[pl.DataFrame]] = defaultdict(list)
    with tarfile.open(RECORDING) as archive:
        segments = [member for member in archive if FLOWS.topic in member.name and member.isfile()]
        for member in segments:
            file = archive.extractfile(member)
            for headers, value in unpack_records(file.read() if file else b""):
                node = headers["node"].decode()
                by_node[node].append(decode(Message(FLOWS.topic, node, 0, headers["node"], headers, value)).frame)
    rows = size = 0
    for frames in by_node.values():
        flows = pl.concat(frames)
        columns = {
            name: flows[name].to_list() if kind == UTF8 else flows[name].to_numpy()
            for name, kind in FLOWS.columns.items()
        }
        rows += flows.height
        size += len(encode(FLOWS, ordered(FLOWS, columns)))
    return rows, size


def watched() -> Snapshot:
    """The cluster as a history has it: an earlier pod held each address, and some still did as the flows began."""
    told = History()
    told.begin()
    objects = history.cluster()
    for item in objects:
        if isinstance(item, Pod):
            metadata = structs.replace(item.metadata, name=f"{item.metadata.name}-old", uid=f"{item.metadata.uid}-old")
            item = structs.replace(item, metadata=metadata)
        told.put(history.EPOCH - 10**12, item)
    told.synced(history.EPOCH - 10**12)
    for number, item in enumerate(item for item in objects if isinstance(item, Pod)):
        when = history.EPOCH - (5 * 10**9 if number % 20 == 0 else 10**11)
        told.delete(when, "v1", "Pod", item.metadata.namespace or "", f"{item.metadata.name}-old")
        told.put(when, item)
    return told.snapshot()


def attributed(flows: pl.DataFrame, cluster: Snapshot) -> float:
    """How long it takes to attribute flows."""
    began = time.perf_counter()
    attribute(flows, cluster)
    return time.perf_counter() - began


def measure(cluster: Snapshot, rows: int, prefix: str) -> None:
    """Show the rates under one snapshot."""
    decode_rates, attribute_rates, rates = [], [], []
    for batches in polls(history.batches(rows)):
        times = [time.perf_counter()]
        flows = pl.concat([decoded(batch) for batch in batches])
        times.append(time.perf_counter())
        pl.collect_all(rollups(attribute(flows, cluster).lazy()))
        times.append(time.perf_counter())
        attribute(flows, cluster)
        times.append(time.perf_counter())
        decode_s, rollup_s, attribute_s = (after - before for before, after in pairwise(times))
        decode_rates.append(flows.height / decode_s)
        attribute_rates.append(flows.height / attribute_s)
        rates.append(flows.height / (decode_s + rollup_s))
    if not prefix:
        show("decode_flows_per_second", median(decode_rates), "flows/s", "every check of the live path")
    show(f"{prefix}attribute_flows_per_second", median(attribute_rates), "flows/s", "all columns kept, none pruned")
    show(f"{prefix}attribution_flows_per_second", median(rates), "flows/s", {"target": TARGET})


def polls(batches: Iterator[Batch]) -> Iterator[list[Batch]]:
    """The batches, POLL_BATCHES at a time."""
    while taken := list(islice(batches, POLL_BATCHES)):
        yield taken


def decoded(batch: Batch) -> pl.DataFrame:
    """The batch's rows, checked as those of any message."""
    message = Message(batch.topic, batch.node, batch.seq, batch.key, batch.headers(), batch.value)
    return decode(message).frame


def rollups(flows: pl.LazyFrame) -> list[pl.LazyFrame]:
    """Conversations and Service connections, as the metrics need them."""
    counts = flows.filter(pl.col("role") == "canonical")
    measures = ("bytes", "reply_bytes", "packets", "reply_packets", "opened")
    return [
        counts.group_by("src_id", "dst_id", "service_id", "protocol").agg(pl.col(*measures).sum()),
        counts.group_by("service_id", "via", "outcome").agg(pl.col("opened").sum()),
    ]


if __name__ == "__main__":
    main()
