"""How long a real Prometheus takes to answer every query of every dashboard, with All chosen in each drop-down.

`python -m tests.bench.bench_dashboards [ROWS]`: the pipeline's own metrics of so many generated flows, scraped 60 times
while they grow, as 15 minutes of a scrape each 15 s would be; then each query, as Grafana asks it. One that takes
longer than it may is asked twice more and its best time counts: what else the machine does then is not the query's.
"""

from __future__ import annotations

import json
import logging
import re
import shutil
import sys
import tempfile
import threading
import time
import urllib.request
from dataclasses import dataclass, replace
from itertools import cycle
from pathlib import Path
from statistics import median
from typing import Any

import polars as pl

from dashboards.asking import Asking, asking
from dashboards.lint import panels_of
from dashboards.prometheus import Prometheus, PrometheusError
from pipeline.config import PipelineConfig
from pipeline.engine import Engine
from pipeline.inventory import snapshot
from pipeline.outputs.prometheus import PrometheusServer
from pipeline.outputs.publication import Publication
from pipeline.state import ClusterState
from tests.bench import history
from tests.bench.bench_pipeline import MemoryReader
from tests.bench.figures import show
from tests.prometheus_server import prometheus

GENERATED = Path(__file__).parents[2] / "dashboards" / "generated"
SCRAPES, EVERY_S = 60, 2
EVERY = f", scrape_interval: {EVERY_S}s, scrape_timeout: {EVERY_S}s"
ROWS = 500_000
LIMIT_S, TRIES = 1.0, 3


def main() -> None:
    """Grow, scrape, ask."""
    if shutil.which("prometheus") is None:
        print("bench_dashboards needs prometheus; skipped", file=sys.stderr)
        return
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else ROWS
    pl.Config.set_engine_affinity("in-memory")
    logging.disable(logging.WARNING)
    state = ClusterState(snapshot.build(history.cluster()), {})
    reader, publication, done = MemoryReader(), Publication(), threading.Event()
    engine = Engine(PipelineConfig(bus="file:///unused", state=Path("unused")), reader, lambda _: state, publication)
    batches = list(history.batches(rows))
    reader.fill(batches)
    engine.step(0)
    engine.publish()

    def grow() -> None:
        for number, batch in enumerate(cycle(batches)):
            if done.wait(EVERY_S):
                return
            reader.fill([replace(batch, epoch=2 + number)])  # as another collector of the node's would name it
            engine.step(0)
            engine.publish()

    growing = threading.Thread(target=grow)
    growing.start()
    try:
        with (
            tempfile.TemporaryDirectory() as folder,
            PrometheusServer(("127.0.0.1", 0), publication, lambda: True) as server,
            prometheus(Path(folder), f"127.0.0.1:{server.address[1]}", EVERY) as url,
        ):
            time.sleep(SCRAPES * EVERY_S)
            now_s = time.time()
            done.set()
            growing.join()
            server.stop()  # Prometheus has nothing else to do then than to answer
            ask(url, now_s)
    finally:
        done.set()
        growing.join()


@dataclass(frozen=True, slots=True, order=True)
class Cost:
    """What an answer took: of the clock, and of the server's cores, which tells more on a busy machine."""

    wall_s: float
    cpu_s: float


def cpu_seconds(url: str) -> float:
    """Of the server until now, as it says itself."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=15) as answer:  # noqa: S310 - our own
        match = re.search(r"^process_cpu_seconds_total (.+)$", answer.read().decode(), re.MULTILINE)
    return float(match[1]) if match else 0.0


def timed(how: Asking, target: dict[str, Any], url: str, name: str) -> Cost:
    """What the answer costs; an error is told."""
    before, began = cpu_seconds(url), time.perf_counter()
    try:
        how.answer(target)
    except PrometheusError as error:
        print(f"{name}: {error}", file=sys.stderr)
    wall_s = time.perf_counter() - began
    return Cost(wall_s, cpu_seconds(url) - before)


def ask(url: str, now_s: float) -> None:
    """Time every query of every panel."""
    server = Prometheus(url)
    series = server.instant("scrape_samples_scraped", now_s)[0]["value"][1]
    took: dict[str, Cost] = {}
    for path in sorted(GENERATED.glob("*.json")):
        document = json.loads(path.read_text())
        for panel in panels_of(document):
            points = panel.get("maxDataPoints") or 240
            how = asking(document, server, EVERY_S, now_s, shown_s=float(SCRAPES * EVERY_S), points=points)
            for target in panel.get("targets", ()):
                name = f"{path.stem}: {panel['title']} {target['refId']}"
                tries = [timed(how, target, url, name)]
                while min(tries).wall_s > LIMIT_S and len(tries) < TRIES:
                    tries.append(timed(how, target, url, name))
                took[name] = min(tries)
    slow = {name: round(cost.wall_s, 2) for name, cost in took.items() if cost.wall_s > LIMIT_S}
    against: dict[str, object] = {"queries": len(took), "series": int(series), "slow": slow}
    show("dashboard_queries_over_1_s", len(slow), "queries", against)
    for unit, costs in (
        ("seconds", [c.wall_s for c in took.values()]),
        ("cpu_seconds", [c.cpu_s for c in took.values()]),
    ):
        show(f"dashboard_query_{unit}", median(costs), "s", {"most": round(max(costs), 2)})
    dear = sorted(took, key=lambda name: -took[name].cpu_s)[:8]
    show("dashboard_queries_over_1_cpu_s", sum(c.cpu_s > LIMIT_S for c in took.values()), "queries", {"dearest": dear})


if __name__ == "__main__":
    main()
