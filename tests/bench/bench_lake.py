"""The history: what a flow costs to write and to keep, how long questions take, and nfdump with the same flows.

`python -m tests.bench.bench_lake [FLOWS]`, ten million by default. A million flows of the generated cluster are
attributed and written again and again under later times and other ids, in commits of half a million; then the tables
are cared for once, by a process of its own as a pipeline does it. Prints one JSON line a figure. Ids, ports, times and
sizes are random, which no real cluster's are, so bytes a flow are the most that one would see; what those columns take
is shown besides, and what the flows of the demo's recording take, which programs made. Questions are asked with
everything in memory, and their seconds of processor stand beside those of the clock; the first of a process reads the
table's log besides, and has a line of its own. nfdump (Debian) is given the same addresses, ports, times and sizes as
NetFlow version 5, which has no names, policies or round trips; without it its lines are left out.
"""

from __future__ import annotations

import os
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import count as numbers
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import polars as pl

from pipeline.config import PipelineConfig
from pipeline.engine import Engine
from pipeline.inventory import snapshot
from pipeline.lake.store import Store
from pipeline.lake.summary import summary_of
from pipeline.lake.tables import TABLES
from pipeline.lake.upkeep import FRUGAL, Upkeep
from pipeline.outputs.coding import coded_schema
from pipeline.outputs.history import HISTORY
from pipeline.outputs.lake import Lake
from pipeline.outputs.publication import Publication
from pipeline.query import scan_flows, scan_rollup
from pipeline.state import ClusterState
from tests.bench import history
from tests.bench.bench_pipeline import MemoryReader
from tests.bench.figures import show
from tests.bench.lake_sizes import DRAWN, bytes_by_column, of_recording

PART = 1_000_000
SPAN = timedelta(seconds=PART // 20_000)
"""The time that a part is of."""
COMMIT = 500_000
RUNS = 9
LONG_S = 5.0
"""A question is asked so long at most, but three times at least."""
PORT = 29_955
TARGETS = {"bytes": 12, "talkers": 0.15, "pod": 0.010, "maintain_mb": 600}
ASKED_OF_NFDUMP = (
    *("time", "start", "flow_id", "src_ip", "src_port", "nat_src_port", "backend_ip", "backend_port"),
    *("protocol", "packets", "bytes"),
)


class Catcher(Lake):
    """Keeps the rows that it is given."""

    def taken(self) -> pl.DataFrame:
        """All rows, as HISTORY."""
        return pl.concat(self._held["flows"]).cast(HISTORY)


def attributed() -> pl.DataFrame:
    """A million rows of the history."""
    state = ClusterState(snapshot.build(history.cluster()), {})
    catcher, reader = Catcher(Path("unused")), MemoryReader()
    config = PipelineConfig(bus="file:///unused", state=Path("unused"), lake_flush_rows=50_000_000)
    engine = Engine(config, reader, lambda _: state, Publication(), catcher)
    batches = history.batches(PART)
    while some := list(islice(batches, 10)):
        reader.fill(some)
        for chunk in engine._intake.take(reader.poll(0)):
            engine._stages.apply(chunk)
    return catcher.taken()


def copy(rows: pl.DataFrame, number: int) -> pl.DataFrame:
    """The rows under later times and other ids and ports."""
    random = np.random.default_rng(number)
    ports = pl.Series(random.integers(32768, 60999, rows.height, dtype=np.uint16))
    is_same = pl.col("nat_src_port") == pl.col("src_port")
    return rows.with_columns(
        pl.col("time", "start") + number * SPAN,
        pl.col("flow_id") + number * 1_000_003,
        src_port=ports,
        nat_src_port=pl.when(is_same).then(ports).otherwise("nat_src_port"),
    ).cast({name: HISTORY[name] for name in rows.columns})


def timed(question: Callable[[], Any]) -> tuple[float, float]:
    """Seconds by the clock and of processor, medians; of processor with those of children that are waited for."""
    seconds: list[float] = []
    spent: list[float] = []
    question()  # what is met for the first time is not what is asked for
    while len(seconds) < RUNS and (len(seconds) < 3 or sum(seconds) < LONG_S):
        began, cpu = time.perf_counter(), _spent()
        question()
        seconds.append(time.perf_counter() - began)
        spent.append(_spent() - cpu)
    return median(seconds), median(spent)


def _spent() -> float:
    whose = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(usage.ru_utime + usage.ru_stime for usage in map(resource.getrusage, whose))


def ask(bench: str, question: Callable[[], Any], against: dict[str, Any]) -> None:
    """Show how long a question takes."""
    seconds, cpu = timed(question)
    show(bench, seconds, "s", {**against, "processor_s": float(f"{cpu:.3g}")})


def main() -> None:
    count = max(1, (int(sys.argv[1]) if len(sys.argv) > 1 else 10_000_000) // PART)
    rows = attributed()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "lake"
        _write(root, rows, count)
        window = _window(rows, count)
        _ask(root, "as_written", window)
        _maintain(root, count)
        size = _bytes_per_flow(root)
        show("lake_bytes_per_flow", size, "bytes", {"target": TARGETS["bytes"], "random": "ids, ports, times, sizes"})
        _show_sizes(root, Path(folder) / "recorded")
        _ask(root, "cared_for", window)
        if shutil.which("nfcapd") and shutil.which("nfdump"):
            _nfdump(Path(folder), rows, count, window)


def _write(root: Path, rows: pl.DataFrame, count: int) -> None:
    lake = Lake(root, app="bench/0")
    lake.start()
    seconds, version = 0.0, 0
    for number in range(count):
        part = copy(rows, number)
        for at in range(0, PART, COMMIT):
            lake.add(part.slice(at, COMMIT).cast(coded_schema(HISTORY, lake.codes)).rechunk())
            version += 1
            began = time.process_time()
            lake.commit(version)
            seconds += time.process_time() - began
    per_flow = seconds / (count * PART) * 1e6
    show("lake_write_us_per_flow", per_flow, "us of processor", "to a Delta table on disk, commit and all")
    show("lake_bytes_per_flow_as_written", _bytes_per_flow(root), "bytes", "before it is cared for")


def _show_sizes(root: Path, folder: Path) -> None:
    """What of a flow's bytes is what the generator drew, and what flows take that programs made."""
    _, columns = bytes_by_column(root)
    drawn = {name: float(f"{columns[name]:.3g}") for name in DRAWN}
    others = sum(columns.values()) - sum(drawn.values())
    show(
        "lake_bytes_per_flow_drawn",
        sum(drawn.values()),
        "bytes",
        {"by_column": drawn, "all_other_columns": float(f"{others:.3g}")},
    )
    recorded = of_recording(folder)
    show("lake_bytes_per_flow_recorded", recorded["packed"], "bytes", recorded | {"of": "the demo's recording"})


def _maintain(root: Path, count: int) -> None:
    """What a pipeline starts now and then, and what it took."""
    command = Upkeep.command_of(str(root), [], [f"{table}=10000" for table in TABLES], 24)
    began, cpu, peak_kb = time.perf_counter(), _spent(), 0
    with subprocess.Popen(command, env={**os.environ, **FRUGAL}) as process:
        while process.poll() is None:
            peak_kb = max(peak_kb, _peak_kb(process.pid))
            time.sleep(0.02)
    assert process.returncode == 0
    per_flow = (_spent() - cpu) / (count * PART) * 1e6
    show("lake_maintain_us_per_flow", per_flow, "us of processor", "fold, sort, pack: a process of its own, one thread")
    show("lake_maintain_seconds", time.perf_counter() - began, "s", f"{count * PART:,} flows")
    show("lake_maintain_peak_mb", peak_kb / 1024, "MB", {"target": TARGETS["maintain_mb"]})


def _peak_kb(process: int) -> int:
    """The most memory that a process has held: what `getrusage` says has that of who started it in it."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), 0)  # one that is over has none


def _bytes_per_flow(root: Path) -> float:
    return float(summary_of(Store(str(root))).filter(table="flows")["bytes_per_row"].item())


def _ask(root: Path, when: str, window: Window) -> None:
    pair = ("source_namespace", "source_workload", "destination_namespace", "destination_workload")
    canonical = scan_flows(root).filter(pl.col("role") == "canonical")

    def talkers(rows: pl.LazyFrame) -> pl.DataFrame:
        return rows.group_by(pair).agg(pl.col("bytes").sum()).sort("bytes", *pair, descending=True).head(10).collect()

    ask(
        f"lake_top_talkers_seconds_{when}",
        lambda: talkers(scan_flows(root).filter(pl.col("role") == "canonical")),
        {"target": TARGETS["talkers"], "of": "every flow, by pair"},
    )
    ask(
        f"lake_top_addresses_seconds_{when}",
        lambda: scan_flows(root).group_by("src_ip").agg(pl.col("bytes").sum()).top_k(10, by="bytes").collect(),
        {"of": "every flow, by source address"},
    )
    if scan_rollup(root).head(1).collect().height:
        assert talkers(scan_rollup(root)).equals(talkers(canonical))
        for every in ("1m", "1h"):
            ask(
                f"lake_top_talkers_rollup_{every}_seconds_{when}",
                lambda every=every: talkers(scan_rollup(root, every)),  # type: ignore[misc]
                {"target": TARGETS["talkers"], "of": "roll-up"},
            )
    names = ("time", "source_name", "destination_name", "service", "dst_port", "bytes", "outcome")

    def one_pod(root: Path = root) -> pl.DataFrame:
        found = scan_flows(root, window.since, window.until, namespace=window.namespace, pod=window.pod)
        return found.select(names).collect()

    found = one_pod().height
    assert found > 0
    ask(f"lake_one_pod_seconds_{when}", one_pod, {"target": TARGETS["pod"], "window": "2 %", "rows": found})
    places = (root.with_name(f"{when}-{number}") for number in numbers())

    def first_of_a_process() -> pl.DataFrame:
        place = next(places)  # nothing is remembered of it
        place.symlink_to(root)
        return one_pod(place)

    ask(f"lake_one_pod_first_seconds_{when}", first_of_a_process, {"window": "2 %", "with": "the log, read anew"})


@dataclass(frozen=True, slots=True)
class Window:
    """Two hundredths of the time, in the midst, and a pod that is seen then."""

    since: datetime
    until: datetime
    namespace: str
    pod: str
    address: str


def _window(rows: pl.DataFrame, count: int) -> Window:
    first: Any = rows["time"].min()
    since = first + count * SPAN / 2
    until = since + count * SPAN / 50
    middle = copy(rows, count // 2).filter(pl.col("source_kind") == "Pod", pl.col("time").is_between(since, until))
    row = middle.row(0, named=True)
    return Window(since, until, row["source_namespace"], row["source_name"], row["src_ip"])


def _nfdump(folder: Path, rows: pl.DataFrame, count: int, window: Window) -> None:
    """The same flows as NetFlow v5 over loopback, and the same questions."""
    files = folder / "nfdump"
    files.mkdir()
    command = ["nfcapd", "-l", str(files), "-b", "127.0.0.1", "-p", str(PORT), "-t", "3600", "-z", "-B", "50000000"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as collector:
        time.sleep(1)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.connect(("127.0.0.1", PORT))
            sent, asked = 0, rows.select(ASKED_OF_NFDUMP)
            for number in range(count):
                for packet in _netflow(copy(asked, number), sent * 30):
                    sender.send(packet)
                    sent += 1
                    if sent % 40 == 0:
                        time.sleep(0.002)  # else the socket overflows
        time.sleep(2)
        collector.terminate()
    stored = sum(file.stat().st_size for file in files.iterdir())
    kept = _told(files, ["-I"])
    flows = next((int(line.split()[1]) for line in kept.splitlines() if line.startswith("Flows:")), 0)
    show("nfdump_flows", flows, "flows", f"{count * PART:,} were sent")
    show("nfdump_bytes_per_flow", stored / max(flows, 1), "bytes", "LZO; no names, policies, round trips or ids")
    talkers = ["-s", "srcip/bytes", "-n", "10", "-q"]
    ask("nfdump_top_addresses_seconds", lambda: _told(files, talkers), {"of": "every flow, by source address"})
    between = f"{window.since:%Y/%m/%d.%H:%M:%S}-{window.until:%Y/%m/%d.%H:%M:%S}"
    one = ["-t", between, "-q", f"ip {window.address}"]
    ask("nfdump_one_address_seconds", lambda: _told(files, one), {"window": "2 %"})


def _told(files: Path, flags: list[str]) -> str:
    done = subprocess.run(["nfdump", "-R", str(files), *flags], capture_output=True, text=True, check=True)
    return done.stdout


def _netflow(rows: pl.DataFrame, first: int) -> list[bytes]:
    """Packets of 30 records each (RFC 3954 tells of version 5's successor; the layout is Cisco's)."""
    record = np.dtype(
        [
            *(("src", ">u4"), ("dst", ">u4"), ("hop", ">u4"), ("in", ">u2"), ("out", ">u2"), ("packets", ">u4")),
            *(("bytes", ">u4"), ("first", ">u4"), ("last", ">u4"), ("sport", ">u2"), ("dport", ">u2"), ("pad", "u1")),
            *(("flags", "u1"), ("protocol", "u1"), ("tos", "u1"), ("more", ">u4", 2)),
        ]
    )
    table = np.zeros(rows.height, record)
    texts = rows.select("src_ip", "backend_ip").unpivot()["value"].unique()
    numbers = {text: int.from_bytes(socket.inet_aton(text), "big") for text in texts if ":" not in text}
    for name, column in (("src", "src_ip"), ("dst", "backend_ip")):
        table[name] = rows[column].replace_strict(numbers, default=0, return_dtype=pl.UInt32).to_numpy()
    for name, column in (("sport", "src_port"), ("dport", "backend_port"), ("protocol", "protocol")):
        table[name] = rows[column].to_numpy()
    table["packets"], table["bytes"] = rows["packets"].to_numpy(), rows["bytes"].to_numpy()
    up_ms = 3_600_000
    newest = rows["time"].max()
    assert newest is not None
    for name, column in (("first", "start"), ("last", "time")):
        ago = rows.select((pl.lit(newest) - pl.col(column)).dt.total_milliseconds()).to_series().to_numpy()
        table[name] = up_ms - np.clip(ago, 0, up_ms)
    seconds = int(newest.timestamp())  # type: ignore[union-attr]
    packets = []
    for number, at in enumerate(range(0, rows.height, 30)):
        some = table[at : at + 30]
        head = (
            np.array([5, len(some)], ">u2").tobytes()
            + np.array([up_ms, seconds, 0, first + number * 30], ">u4").tobytes()
        )
        packets.append(head + b"\0\0\0\0" + some.tobytes())
    return packets


if __name__ == "__main__":
    main()
