"""The demo as root: lab, collectors, pipeline and Prometheus for a while, then what they counted.

Nothing is decided here: processes are started in order, stopped in order, and the outcome is handed to `outcome`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import polars as pl

from deploy.lab.cluster import Lab, LabNode
from pipeline.query import scan_flows

from .exposed import settled, total
from .health import HOOKS, working_hooks
from .outcome import Outcome, judge
from .processes import Process, fetch, flowatlas, free_port, prometheus, wait_for, wait_for_scrapes
from .table import Progress

RATES_NEED_S = 8.0
"""Traffic for less time gives Prometheus too few scrapes of a new series: `increase` misses a series' first value."""
SETTLE_S = 4.0
"""After the last packet: a first packet without an answer counts as unanswered after three seconds."""


@dataclass(frozen=True, slots=True)
class Options:
    """What a run of the demo is asked for. `bus` None is the embedded default: segments in the output folder."""

    output: Path
    duration_s: float = 30.0
    bus: str | None = None
    enforce: Literal["nftables", "none"] = "nftables"
    source: Literal["auto", "ebpf", "conntrack", "packets"] = "conntrack"
    keep: bool = False


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the run's servers listen, as host:port on loopback."""

    pipeline: str
    collectors: tuple[str, ...]
    prometheus: str


def run(options: Options) -> Outcome:
    """Run the whole path once and judge it. Raises DemoError where a part of it does not come up."""
    progress = Progress()
    began_ns = time.time_ns()
    bus = options.bus or f"file://{options.output / 'bus'}"
    lake = options.output / "lake"
    with ExitStack() as stack:
        progress.step("lab: two nodes, a VXLAN overlay, kube-proxy's NAT, pods and their programs")
        lab = stack.enter_context(Lab(options.output / "lab", enforce=options.enforce))
        nodes = tuple(lab.nodes)
        listen = Addresses(
            pipeline=f"127.0.0.1:{free_port()}",
            collectors=tuple(f"127.0.0.1:{free_port()}" for _ in nodes),
            prometheus=f"127.0.0.1:{free_port()}",
        )
        progress.step(f"pipeline on {bus}, {len(nodes)} collectors")
        pipeline = stack.enter_context(_pipeline(options, bus, lab.manifests, lake, listen.pipeline))
        collectors = [
            stack.enter_context(_collector(options, bus, node, address))
            for node, address in zip(nodes, listen.collectors, strict=True)
        ]
        wait_for(f"http://{listen.pipeline}/readyz", pipeline)
        for collector, address in zip(collectors, listen.collectors, strict=True):
            wait_for(f"http://{address}/metrics", collector)
        running = (pipeline, *collectors)
        server = _start_prometheus(stack, options, listen, running)
        progress.step("Prometheus scrapes them" if server else "Prometheus is not installed: no scrape, no panel check")

        progress.step(f"traffic for {options.duration_s:.0f} s, policies {_enforced(options.enforce)}")

        def look(seconds: float, connections: int) -> None:
            progress.update(f"{seconds:.0f} s, {connections} connections")
            _check(running)

        lab.traffic(options.duration_s, look)
        progress.step("traffic has ended; waiting for the last observations")
        time.sleep(SETTLE_S)
        _check(running)
        hooks = set(HOOKS).intersection(
            *(working_hooks(fetch(f"http://{at}/metrics") or "") for at in listen.collectors)
        )
        panels = _panels(listen.prometheus) if server and options.duration_s >= RATES_NEED_S else None
        if not options.keep:
            for collector in collectors:
                collector.stop()
        metrics = settled(pipeline, listen.pipeline)
        (options.output / "metrics.prom").write_text(metrics)
        if options.keep:
            _wait_for_lake(lake, metrics)
        else:
            pipeline.stop()
        sees_all = options.source in {"ebpf", "packets"}
        truth = lab.truth()
        seen: dict[str, Any] = {"sees_all": sees_all, "hooks": hooks, "has_dns": True}
        outcome = judge(truth, lab.cluster, lake, metrics, began_ns=began_ns, panels=panels, **seen)
        if options.keep:
            outcome.print(options.output)
            _serve(lab, listen, server)
    return outcome


def _pipeline(options: Options, bus: str, state: Path, lake: Path, listen: str) -> Process:
    group = "flowatlas" if options.bus is None else f"flowatlas-demo-{time.time_ns()}"
    return flowatlas(
        "pipeline",
        options.output / "logs" / "pipeline.log",
        *("pipeline", "--bus", bus, "--state", str(state), "--listen", listen),
        *("--lake", str(lake), "--group", group),
    )


def _collector(options: Options, bus: str, node: LabNode, listen: str) -> Process:
    return flowatlas(
        f"collector of {node.name}",
        options.output / "logs" / f"collector-{node.name}.log",
        *("collect", "--node", node.name, "--bus", bus, "--netns", str(node.netns), "--proc", str(node.proc)),
        *("--metrics", listen, "--sources", f"{options.source},counters,drops,dns"),
    )


def _check(processes: Sequence[Process]) -> None:
    """Raise DemoError of the first that has ended by itself."""
    for process in processes:
        process.check()


def _start_prometheus(
    stack: ExitStack, options: Options, listen: Addresses, scraped: Sequence[Process]
) -> Process | None:
    port = int(listen.prometheus.rpartition(":")[2])
    targets = {"flowatlas-pipeline": listen.pipeline}
    targets |= {f"flowatlas-collector-{i}": address for i, address in enumerate(listen.collectors, start=1)}
    server = prometheus(options.output / "prometheus", port, targets)
    if server is not None:
        stack.enter_context(server)
        wait_for(f"http://{listen.prometheus}/-/ready", server)
        wait_for_scrapes(f"http://{listen.prometheus}", server, scraped)
    return server


def _panels(address: str) -> list[str]:
    """What the dashboards' check against this Prometheus finds, one line a finding; empty when every panel has data."""
    from dashboards.check import check

    return [str(finding) for finding in check(None, f"http://{address}")]


def _wait_for_lake(lake: Path, metrics: str) -> None:
    """Wait until the history holds as many connections as the metrics count, at most half a minute."""
    want = total(metrics, "flowatlas_connections_total")
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        is_counted = pl.col("role") == "canonical"
        held = scan_flows(lake).filter(is_counted).select(pl.col("opened").cast(pl.Int64).sum()).collect().item()
        if held >= want:
            return
        time.sleep(0.5)


def _enforced(enforce: str) -> str:
    return "enforced by hand-written nftables rules" if enforce == "nftables" else "not enforced, as on Flannel"


def _serve(lab: Lab, listen: Addresses, server: Process | None) -> None:
    """Keep everything up, with traffic, until the user ends it."""
    print(f"\nStaying up. Metrics: http://{listen.pipeline}/metrics")
    if server:
        print(f"Prometheus: http://{listen.prometheus}")
    print("Ctrl-C ends it.", flush=True)
    try:
        while True:
            lab.traffic(30.0, None)
    except KeyboardInterrupt:
        print("\nstopping")
