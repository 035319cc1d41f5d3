"""A running system: collectors' batches at a steady rate through a real Kafka into `flowatlas pipeline`, scraped.

`python -m tests.bench.bench_live [SECONDS [RATE [SECONDS_DOWN]]]` (60, 100,000, 60). A process of its own ships what
200 nodes make each second; Services and policies are on. In this order, on one broker:

1. What guarantees cost: the same BACKLOG of flows is counted from the beginning, with --snapshot and without, in turns.
2. Readiness: kill -9, and how long until /readyz with that snapshot.
3. RATE flows a second for SECONDS, and a scrape a second as Prometheus does it: lag, scrapes, memory, processor. Lag is
   told twice: by the pipeline's own histogram, from capture until published, and as a scraper has it, from when a batch
   was made until the first page with it had come, which has the time between scrapes in it.
4. Catch-up: kill -9, flows of SECONDS_DOWN at DOWN_RATE pile up, and how long until all of them are shown.

In the end what was sent is what is shown, or the benchmark fails. Sender, broker, pipeline and scraper share the
machine: that the sender kept up, and what it took, is told. Without Kafka it says so and measures nothing.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from pipeline.bus.kafka_topics import KafkaTopics
from pipeline.bus.topics import wanted_topics
from tests.bench import history
from tests.bench.figures import show
from tests.bench.live_run import Page, Running, quantile
from tests.bench.live_sender import PILE
from tests.kafka_broker import KafkaBroker, KafkaUnavailableError

BACKLOG_SECONDS: Final = 20
"""Of RATE flows a second: what the turns with and without snapshots count."""
DOWN_RATE: Final = 30_000
TURNS: Final = ("with", "without", "without", "with")
SCRAPE_SECONDS: Final = 1.0
POLICIES: Final = 500
IDLE_SERVICES: Final = 1_500
"""Services that nobody dials, beside history.SERVICES."""
LAG: Final = "flowatlas_capture_to_metric_seconds_bucket"


@dataclass(slots=True)
class Scene:
    """The broker, the cluster, and how much was sent to the one for the other."""

    servers: str
    folder: Path
    state: Path
    sent: int = 0
    groups: itertools.count[int] = field(default_factory=itertools.count)

    def send(self, rate: int, seconds: int, log: str) -> subprocess.Popen[str]:
        """Start the sender."""
        command = [sys.executable, "-m", "tests.bench.live_sender", self.servers, str(rate), str(seconds), log]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def sent_by(self, sender: subprocess.Popen[str]) -> dict[str, Any]:
        """What it tells when it has ended."""
        told: dict[str, Any] = json.loads(sender.communicate()[0])
        self.sent += told["rows"]
        return told

    def running(self, kind: str) -> Running:
        """A pipeline that begins at the beginning, not started yet."""
        group = f"bench-{kind}-{next(self.groups)}"
        snapshot = self.folder / group if kind == "with" else None
        return Running(f"kafka://{self.servers}", self.state, self.folder, group, snapshot)


def main() -> None:
    numbers = [int(word) for word in sys.argv[1:]]
    seconds, rate, seconds_down = (*numbers, *(60, 100_000, 60)[len(numbers) :])
    try:
        with tempfile.TemporaryDirectory() as folder, KafkaBroker() as broker:
            scene = Scene(broker.bootstrap, Path(folder), Path(folder, "state.jsonl"))
            scene.state.write_text("".join(json.dumps(item) + "\n" for item in cluster()))
            with KafkaTopics(f"kafka://{broker.bootstrap}") as topics:
                topics.create(wanted_topics(partitions=12, replication=1))
            measure(scene, seconds, rate, seconds_down)
    except KafkaUnavailableError as error:
        print(json.dumps({"bench": "live", "skipped": str(error)}), flush=True)


def measure(scene: Scene, seconds: int, rate: int, seconds_down: int) -> None:
    """All of it, in order."""
    scene.sent_by(scene.send(rate, BACKLOG_SECONDS, PILE))
    running = guarantees(scene)
    try:
        running.kill()
        ready_s = running.start()
        page = running.scrape()
        series = page.total("flowatlas_pipeline_series")
        show("live_ready_seconds", ready_s, "s", {"target": 2.5, "series": series, "after": "kill -9"})
        live(scene, running, seconds, rate)
        running.kill()
        catch_up(scene, running, seconds_down)
        page = running.scrape()
        told = {name: page.total(f"flowatlas_pipeline_{name}_total") for name in ("rows", "duplicate_batches")}
        if told != {"rows": scene.sent, "duplicate_batches": 0}:
            raise AssertionError(f"{scene.sent} rows were sent, shown are {told}")
        show("live_unexplained_rows", told["rows"] - scene.sent, "flows", {"target": 0, "sent": scene.sent, "kills": 2})
    finally:
        running.kill()


def guarantees(scene: Scene) -> Running:
    """Count what waits on the bus, with snapshots and without; the last that did, with them, still runs."""
    clock: dict[str, list[float]] = {"with": [], "without": []}
    processor: dict[str, list[float]] = {"with": [], "without": []}
    running = scene.running("with")
    for turn, kind in enumerate(TURNS):
        running = scene.running(kind)
        try:
            running.start()
            before_s = running.processor_s
            clock[kind].append(running.await_rows(scene.sent))
            processor[kind].append(running.processor_s - before_s)
        except BaseException:
            running.kill()
            raise
        if turn < len(TURNS) - 1:
            running.kill()
    turns = {kind: [round(s, 2) for s in taken] for kind, taken in processor.items()}
    ratio = sum(processor["without"]) / sum(processor["with"])
    of_clock = round(sum(clock["without"]) / sum(clock["with"]), 3)
    show(
        "live_guarantees_throughput_ratio", ratio, "ratio", {"target": 0.9, "by clock": of_clock, "processor_s": turns}
    )
    for kind in ("with", "without"):
        rate = scene.sent * len(clock[kind]) / sum(processor[kind])
        per_s = round(scene.sent * len(clock[kind]) / sum(clock[kind]))
        against = {"per second of clock": per_s, "flows": scene.sent, "target": 1_000_000}
        show(f"live_{kind}_snapshot_flows_per_processor_second", rate, "flows/s", against)
    return running


def live(scene: Scene, running: Running, seconds: int, rate: int) -> None:
    """Ship at a rate, scrape each second, and say what was seen."""
    log = scene.folder / "made.npy"
    before = running.scrape()
    sender = scene.send(rate, seconds, str(log))
    pages: list[Page] = []
    seen: list[dict[str, float]] = []
    running.forget_peak()
    began, processor_s = time.monotonic(), running.processor_s
    while sender.poll() is None or not _has_all(seen, before, seconds):
        time.sleep(max(0.0, began + len(pages) * SCRAPE_SECONDS - time.monotonic()))
        page = running.scrape()
        seen.append(page.values("flowatlas_pipeline_batches_total", "node"))
        pages.append(Page(b"", page.size, page.at_ns, page.took_s))
        if time.monotonic() - began > 2 * seconds + 60:
            raise AssertionError("it does not keep up")
    took_s = time.monotonic() - began
    used_s, peak_mb = running.processor_s - processor_s, running.peak_mb
    told = scene.sent_by(sender)
    after = running.scrape()

    achieved = told["rows"] / told["seconds"]
    show("live_rate", achieved, "flows/s", {"wanted": rate, "sender": told, "seconds": seconds})
    own = before.values(LAG, "le"), after.values(LAG, "le")
    lags = np.sort(lags_seen(np.load(log), before, pages, seen))
    for name, share, target in (("p50", 0.5, 1.2), ("p99", 0.99, 2.0)):
        against = {"target": target, "as scraped each second": round(float(np.quantile(lags, share)), 3)}
        show(f"live_lag_{name}_seconds", quantile(share, *own), "s", against)
    took = np.array([page.took_s for page in pages])
    against = {"target": 0.1, "p50": round(float(np.median(took)), 4), "scrapes": len(pages)}
    show("live_scrape_p99_seconds", float(np.quantile(took, 0.99)), "s", against)
    show("live_scrape_bytes", pages[-1].size, "bytes", {"text": len(after.text), "gzip": True})
    show(
        "live_series",
        after.total("flowatlas_pipeline_series"),
        "series",
        {"pods": history.PODS, "services": history.SERVICES + IDLE_SERVICES},
    )
    show("live_rss_peak_mb", peak_mb, "MB", {"target": 350, "policies": POLICIES})
    show("live_processor_share", used_s / took_s, "cores", {"cores": os.cpu_count(), "scrapes": "included"})


def _has_all(seen: Sequence[dict[str, float]], before: Page, seconds: int) -> bool:
    base = before.total("flowatlas_pipeline_batches_total")
    return bool(seen) and sum(seen[-1].values()) - base >= seconds * history.NODES


def lags_seen(made: Any, before: Page, pages: Sequence[Page], seen: Sequence[dict[str, float]]) -> Any:
    """Seconds from when each batch was made until the first page that counts it had come."""
    base = before.values("flowatlas_pipeline_batches_total", "node")
    at_ns = np.array([page.at_ns for page in pages])
    lags = []
    for node in range(history.NODES):
        name = f"node{node}"
        counts = np.array([counts.get(name, 0.0) for counts in seen]) - base.get(name, 0.0)
        first = np.searchsorted(counts, np.arange(1, len(made) + 1))
        lags.append((at_ns[first] - made[:, node]) / 1e9)
    return np.concatenate(lags)


def catch_up(scene: Scene, running: Running, seconds_down: int) -> None:
    """While it is down flows pile up; then it starts."""
    told = scene.sent_by(scene.send(DOWN_RATE, seconds_down, PILE))
    ready_s = running.start()
    before_s = running.processor_s
    took_s = running.await_rows(scene.sent)
    used_s = running.processor_s - before_s
    against = {"flows": told["rows"], "of_seconds_down": seconds_down, "ready_s": round(ready_s, 2)}
    show("live_catch_up_seconds", took_s, "s", {**against, "target": "15 for 600 s on one core"})
    against = {"per processor second": round(told["rows"] / used_s), "target": 1_200_000}
    show("live_catch_up_flows_per_second", told["rows"] / took_s, "flows/s", against)
    show("live_catch_up_rss_peak_mb", running.peak_mb, "MB", {"target": 350})


def cluster() -> list[dict[str, Any]]:
    """The objects of the generated cluster, its pods labelled by application, idle Services and POLICIES policies."""

    def item(version: str, kind: str, body: dict[str, Any]) -> dict[str, Any]:
        if kind == "Pod":
            number = int(body["metadata"]["uid"].rpartition("-")[2])
            body["metadata"]["labels"]["app"] = f"app{number % history.SERVICES}"
        return {"apiVersion": version, "kind": kind, **body}

    idle = (service(number) for number in range(IDLE_SERVICES))
    return [*history.described(item), *idle, *(policy(number) for number in range(POLICIES))]


def service(number: int) -> dict[str, Any]:
    """A Service with an address and no endpoints."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": f"idle{number}", "namespace": f"team-{number % 40}"},
        "spec": {
            "type": "ClusterIP",
            "clusterIP": f"10.112.{number // 250}.{number % 250 + 1}",
            "ports": [{"name": "http", "port": 80, "targetPort": 8080}],
        },
    }


def policy(number: int) -> dict[str, Any]:
    """Who may dial an application: two namespaces in three anything, and everybody its port."""
    callers = [{"namespaceSelector": {"matchLabels": {"tier": f"t{number % 3}"}}}]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": f"callers-of-app{number}", "namespace": f"team-{number % 40}"},
        "spec": {
            "podSelector": {"matchLabels": {"app": f"app{number}"}},
            "policyTypes": ["Ingress"],
            "ingress": [{"from": callers}, {"ports": [{"port": 8080, "protocol": "TCP"}]}],
        },
    }


if __name__ == "__main__":
    main()
