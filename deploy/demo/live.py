"""The demo as root: everything (`running`) for a while, then what was counted, handed to `outcome` to be judged."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import polars as pl

from deploy.lab.cluster import Lab
from pipeline.query import scan_flows

from .exposed import settled, total
from .health import HOOKS, working_hooks
from .outcome import PREVIEW, SEEN, Outcome, judge
from .processes import CHECKOUT, Process, fetch
from .running import Addresses, Options, running
from .table import Progress

__all__ = ["Options", "run"]

PRICES = CHECKOUT / "deploy" / "examples" / "prices.yaml"
RATES_NEED_S = 8.0
"""Traffic for less time gives Prometheus too few scrapes of a new series: `increase` misses a series' first value."""
WINDOW_S = 5.0
"""Over which it is told how busy the lab was."""
SETTLE_S = 4.0
"""After the last packet: a first packet without an answer counts as unanswered after three seconds."""


def run(options: Options) -> Outcome:
    """Run the whole path once and judge it. Raises DemoError where a part of it does not come up."""
    progress = Progress()
    began_ns = time.time_ns()
    with running(options, progress, prices=PRICES.read_text(encoding="utf-8")) as up:
        lab, lake, listen, pipeline = up.lab, up.lake, up.listen, up.pipeline
        progress.step(f"traffic for {options.duration_s:.0f} s, policies {_enforced(options.enforce)}")

        def look(seconds: float, connections: int) -> None:
            progress.update(f"{seconds:.0f} s, {connections} connections")
            up.check()

        lab.traffic(options.duration_s, look)
        ended_s = time.time()
        progress.step("traffic has ended; waiting for the last observations")
        time.sleep(SETTLE_S)
        up.check()
        hooks = set(HOOKS).intersection(
            *(working_hooks(fetch(f"http://{at}/metrics") or "") for at in listen.collectors)
        )
        panels = _panels(listen.prometheus) if up.server and options.duration_s >= RATES_NEED_S else None
        if up.server:
            _draw(listen.prometheus, ended_s, options.duration_s, options.output / PREVIEW)
        if not options.keep:
            for collector in up.collectors:
                collector.stop()
        metrics = settled(pipeline, listen.pipeline)
        (options.output / "metrics.prom").write_text(metrics)
        if options.keep:
            _wait_for_lake(lake, metrics)
        else:
            pipeline.stop()
        sees_all = options.source in {"ebpf", "packets"}
        truth = lab.truth()
        seen: dict[str, Any] = {"sees_all": sees_all, "hooks": sorted(hooks), "has_dns": True}
        (options.output / "lab" / SEEN).write_text(json.dumps(seen) + "\n", encoding="utf-8")
        outcome = judge(truth, lab.cluster, lake, metrics, began_ns=began_ns, panels=panels, **seen)
        if options.keep:
            outcome.print(options.output)
            _serve(lab, listen, up.server)
    return outcome


def _panels(address: str) -> list[str]:
    """What the dashboards' check against this Prometheus finds, one line a finding; empty when every panel has data."""
    from dashboards.check import check

    return [str(finding) for finding in check(None, f"http://{address}")]


def _draw(address: str, ended_s: float, duration_s: float, path: Path) -> None:
    """The dashboards as one page, as they were when the traffic was last busy."""
    from dashboards.build import documents
    from dashboards.preview import Preview
    from dashboards.prometheus import Prometheus

    server = Prometheus(f"http://{address}")
    opened = f"sum(rate(flowatlas_connections_total[{WINDOW_S:.0f}s]))"
    told = server.range(opened, ended_s - duration_s, ended_s, 1.0)
    at_s = last_busy([(float(at), float(value)) for one in told for at, value in one["values"]], ended_s)
    path.write_text(Preview(documents(), server, duration_s + SETTLE_S).render(at_s), encoding="utf-8")


def last_busy(points: Sequence[tuple[float, float]], otherwise: float) -> float:
    """The last instant of a rate at which it was half its mean at least: it grows thin before the traffic ends."""
    usual = fmean(value for _, value in points) if points else 0.0
    return max((at for at, value in points if value > 0 and value >= usual / 2), default=otherwise)


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
        print(f"Dashboards as they are now: flowatlas dashboards preview --prometheus http://{listen.prometheus}")
    print("Ctrl-C ends it.", flush=True)
    try:
        while True:
            lab.traffic(30.0, None)
    except KeyboardInterrupt:
        print("\nstopping")
