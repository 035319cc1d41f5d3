"""What runs in a live demo: lab, pipeline, a collector a node, and Prometheus, up in order and down again.

Nothing is decided here. `live` judges an ordinary run by the truth, `trouble` looks whether misdeeds are noticed.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import time_ns
from typing import Literal

from collector.nodekeys import KEY_BYTES, derived
from deploy.lab.cluster import Lab

from . import places
from .processes import Process, flowatlas, free_port, prometheus, wait_for, wait_for_scrapes
from .table import Progress


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


@dataclass(frozen=True, slots=True)
class Running:
    """All of it, up. `server` is None where no Prometheus is installed."""

    options: Options
    lab: Lab
    bus: str
    lake: Path
    listen: Addresses
    pipeline: Process
    collectors: tuple[Process, ...]
    server: Process | None

    def check(self) -> None:
        """Raise DemoError of the first process that has ended by itself."""
        for process in (self.pipeline, *self.collectors):
            process.check()


@contextmanager
def running(
    options: Options,
    progress: Progress,
    *,
    prices: str | None = None,
    rules: str | None = None,
    aside: Mapping[str, str] | None = None,
    kept: str = "",
) -> Iterator[Running]:
    """Bring everything up, and take it down at the end. Raises DemoError where a part of it does not come up.

    `prices` and `rules` are the texts of the pipeline's price table and of a file of Prometheus rules. What is
    `aside` (job to host:port) is scraped too, for the metrics whose names match `kept`; it is the caller's.
    """
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
        pipeline = stack.enter_context(_pipeline(options, bus, lab.manifests, lake, listen.pipeline, prices))
        collectors = tuple(
            stack.enter_context(
                collector(
                    options, bus, node.name, node.netns, node.proc, address, f"{options.source},counters,drops,dns"
                )
            )
            for node, address in zip(nodes, listen.collectors, strict=True)
        )
        wait_for(f"http://{listen.pipeline}/readyz", pipeline)
        for each, address in zip(collectors, listen.collectors, strict=True):
            wait_for(f"http://{address}/metrics", each)
        server = _start_prometheus(stack, options, listen, (pipeline, *collectors), rules, aside or {}, kept)
        progress.step("Prometheus scrapes them" if server else "Prometheus is not installed: no scrape, no panel check")
        yield Running(options, lab, bus, lake, listen, pipeline, collectors, server)


def collector(options: Options, bus: str, node: str, netns: Path, proc: Path, listen: str, sources: str) -> Process:
    """A collector that says it is of `node`, tells heads, and signs with the node's key."""
    settings: dict[str, object] = {"heads": True}
    if (root := _root_key(options)) is not None:
        settings["node_key"] = str(key := options.output / f"{node}.key")
        key.write_text(derived(bytes.fromhex(root.read_text()), node).hex())
    return flowatlas(
        f"collector of {node}",
        options.output / "logs" / f"collector-{node}.log",
        *("collect", "--node", node, "--bus", bus, "--netns", str(netns), "--proc", str(proc)),
        *("--metrics", listen, "--sources", sources),
        *_configured(options.output / f"collector-{node}.yaml", "collector", settings),
    )


def _pipeline(options: Options, bus: str, state: Path, lake: Path, listen: str, prices: str | None) -> Process:
    settings: dict[str, object] = {"group": "flowatlas" if options.bus is None else f"flowatlas-demo-{time_ns()}"}
    if (root := _root_key(options)) is not None:
        settings["root_key"] = str(root)
    if prices is not None:
        settings["prices"] = str(table := options.output / "prices.yaml")
        table.write_text(prices)
    return flowatlas(
        "pipeline",
        options.output / "logs" / "pipeline.log",
        *("pipeline", "--bus", bus, "--state", str(state), "--listen", listen),
        *("--lake", str(lake), *places.options(options.output)),
        *_configured(options.output / "pipeline.yaml", "pipeline", settings),
    )


def _configured(file: Path, section: str, settings: Mapping[str, object]) -> tuple[str, str]:
    """What a command is given so that it has these settings. JSON is YAML too."""
    file.write_text(json.dumps({section: settings}))
    return "--config", str(file)


def _root_key(options: Options) -> Path | None:
    """The root key of a bus of the demo's own; another's may hold what nobody has signed."""
    if options.bus is not None:
        return None
    path = options.output / "root.key"
    if not path.exists():
        path.write_text(secrets.token_hex(KEY_BYTES))
    return path


def _start_prometheus(
    stack: ExitStack,
    options: Options,
    listen: Addresses,
    scraped: Sequence[Process],
    rules: str | None,
    aside: Mapping[str, str],
    kept: str,
) -> Process | None:
    port = int(listen.prometheus.rpartition(":")[2])
    targets = {"flowatlas-pipeline": listen.pipeline}
    targets |= {f"flowatlas-collector-{i}": address for i, address in enumerate(listen.collectors, start=1)}
    server = prometheus(options.output / "prometheus", port, targets, rules, aside, kept)
    if server is not None:
        stack.enter_context(server)
        wait_for(f"http://{listen.prometheus}/-/ready", server)
        wait_for_scrapes(f"http://{listen.prometheus}", server, scraped)
    return server
