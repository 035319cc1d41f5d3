"""What goes wrong with Flowatlas itself, beside the run: pipelines and collectors with a bus and a state of their own.

Of their metrics Prometheus keeps those of their own health (`HEALTH`), so that nothing of the lab's traffic counts
twice. They end with the demo. The invariant: nothing here touches the bus that the run's own pipeline reads.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import yaml

from collector.schema import COUNTERS, FLOWS, STATE, STATE_OPS, TABLES, UTF8, Batch, encode, pack_record
from collector.sinks.segments import segment_name

from .processes import Process, flowatlas, free_port, wait_for
from .running import Running

HEALTH: Final = "flowatlas_(bus|series|state|collector)_.*|flowatlas_pipeline_(absent|missing|quarantined)_.*"
FORGETFUL: Final = "forgetful"
"""A pipeline whose watcher is gone, with room for few series, on a bus with gaps and garbage."""
BEHIND: Final = "behind"
"""A pipeline that comes to a bus on which thousands of batches wait."""
CRAMPED: Final = "cramped"
"""A collector whose disk is full and whose broker is away."""
OVERFULL: Final = "overfull"
"""A collector that reads seldom, with the smallest table."""
NEEDED: Final[Mapping[str, str]] = {
    "bad-batch": FORGETFUL,
    "lost-batch": FORGETFUL,
    "stale-state": FORGETFUL,
    "late-state": FORGETFUL,
    "refused-object": FORGETFUL,
    "many-series": FORGETFUL,
    "bus-lag": BEHIND,
    "full-disk": CRAMPED,
    "lost-rows": CRAMPED,
    "full-table": OVERFULL,
}
"""Which of them shows a misdeed."""

_WAITING: Final = 6000
_ROWS: Final = 1000
_BROKEN: Final = {"metadata": {"name": "broken", "namespace": "default"}, "spec": {"ports": "http"}}


class Aside:
    """Those that the misdeeds in `names` need. Constructing is inert; what is begun ends with `stack`."""

    def __init__(self, names: Collection[str], folder: Path) -> None:
        self._needed = {NEEDED[name] for name in names if name in NEEDED}
        self._folder = folder
        self._linked: set[Path] = set()
        self._begun: dict[str, Process] = {}
        self.addresses = {name: f"127.0.0.1:{free_port()}" for name in sorted(self._needed)}
        """Where each serves its metrics, as host:port."""

    def begin(self, stack: ExitStack, up: Running) -> None:
        """Start those that have to be there for a while, and do what has to be done twice."""
        if FORGETFUL in self._needed:
            _tell_state(self._folder / FORGETFUL, up.lab.manifests)
            self._pipeline(stack, FORGETFUL, "bus", "series_max_per_family: 10")
        if CRAMPED in self._needed:
            self._cramped(stack, up)
        if OVERFULL in self._needed:
            options = ("--bus", f"file://{self._folder / OVERFULL}", "--source", "ebpf", "--interval", "20")
            self._collector(stack, up, OVERFULL, *options, config="table_flows: 1024")
        for name, process in self._begun.items():
            wait_for(f"http://{self.addresses[name]}/metrics", process)
        self._spoil(up)

    def go_on(self, stack: ExitStack, up: Running) -> None:
        """Do the rest: a rate wants a second time."""
        self._spoil(up)
        if BEHIND in self._needed:
            _pile_up(self._folder / BEHIND)
            self._pipeline(stack, BEHIND, str(up.lab.manifests), "lake_maintain_s: 0")

    def asked(self, server: str) -> Iterator[tuple[str, ...]]:
        """What `flowatlas status` is given, a tuple a question; `server` is the run's pipeline, as host:port."""
        collectors = [
            f"--collector=http://{self.addresses[name]}" for name in (CRAMPED, OVERFULL) if name in self._needed
        ]
        yield (f"--server=http://{server}", *collectors)
        if FORGETFUL in self._needed:
            yield (f"--server=http://{self.addresses[FORGETFUL]}",)

    def _spoil(self, up: Running) -> None:
        """Put garbage on the bus of the forgetful pipeline, and what the run's nodes have sent but for a batch each."""
        if FORGETFUL not in self._needed:
            return
        _write(self._folder / FORGETFUL / FLOWS.topic / "garbled", time.time_ns(), b"no segment")
        if not up.bus.startswith("file://"):
            return
        for table in TABLES.values():
            for node in up.lab.nodes:
                self._link(Path(up.bus.removeprefix("file://")) / table.topic / node.name, table.topic, node.name)

    def _link(self, source: Path, topic: str, node: str) -> None:
        target = self._folder / FORGETFUL / topic / node
        target.mkdir(parents=True, exist_ok=True)
        new = [path for path in sorted(source.glob("*.seg")) if path not in self._linked]
        self._linked.update(new)
        for index, path in enumerate(new):
            if index != len(new) // 2:
                os.link(path, target / path.name)

    def _pipeline(self, stack: ExitStack, name: str, state: str, setting: str) -> None:
        config, address = self._folder / f"{name}.yaml", self.addresses[name]
        config.write_text(f"pipeline:\n  {setting}\n")
        options = ("--bus", f"file://{self._folder / name}", "--state", state, "--listen", address)
        log = self._folder / f"{name}.log"
        process = flowatlas(f"pipeline {name}", log, "pipeline", *options, "--config", str(config))
        self._begun[name] = stack.enter_context(process)

    def _collector(
        self, stack: ExitStack, up: Running, name: str, *options: str, config: str, before: tuple[str, ...] = ()
    ) -> None:
        node = up.lab.nodes[0]
        self._folder.mkdir(parents=True, exist_ok=True)
        settings = self._folder / f"{name}.yaml"
        settings.write_text(f"collector:\n  {config}\n")
        where = ("--netns", str(node.netns), "--proc", str(node.proc), "--metrics", self.addresses[name])
        command = flowatlas("", Path(), "collect", "--node", name, *where, *options, "--config", str(settings)).command
        process = Process(f"collector {name}", [*before, *command], self._folder / f"{name}.log")
        self._begun[name] = stack.enter_context(process)

    def _cramped(self, stack: ExitStack, up: Running) -> None:
        """In mounts of its own, of which one is the disk: its content goes with the collector."""
        spool = self._folder / "spool"
        spool.mkdir(parents=True)
        script = 'mount -t tmpfs -o size=64k none "$0" && exec "$@"'
        before = ("unshare", "--mount", "sh", "-c", script, str(spool))
        options = ("--bus", f"kafka://127.0.0.1:{free_port()}", "--spool", str(spool), "--sources", "counters")
        self._collector(stack, up, CRAMPED, *options, config="tcp_health: false", before=before)


def _tell_state(bus: Path, manifests: Path) -> None:
    """Say once on the bus what a watcher would say of the manifests and of an object that nobody understands."""
    documents: list[dict[str, Any]] = [{"apiVersion": "v1", "kind": "Service", **_BROKEN}]
    for path in sorted(manifests.glob("*.yaml")):
        documents += filter(None, yaml.safe_load_all(path.read_text(encoding="utf-8")))
    now_ns = time.time_ns()
    meta = [document["metadata"] for document in documents]
    end = [""]
    value = encode(
        STATE,
        {
            "time": np.full(len(documents) + 1, now_ns, np.int64),
            "op": np.array([*[STATE_OPS.index("put")] * len(documents), STATE_OPS.index("synced")], np.uint8),
            "api_version": [document["apiVersion"] for document in documents] + end,
            "kind": [document["kind"] for document in documents] + end,
            "namespace": [each.get("namespace", "") for each in meta] + end,
            "name": [each["name"] for each in meta] + end,
            "uid": [each.get("uid", "") for each in meta] + end,
            "body": [json.dumps(document) for document in documents] + end,
        },
    )
    batch = Batch(STATE.name, "watcher", now_ns, 0, len(documents) + 1, 0, value)
    _write(bus / batch.topic / batch.node, now_ns, pack_record(batch.headers(), value))


def _pile_up(bus: Path) -> None:
    """The same batch thousands of times, as if it had been delivered so often; one file on the disk."""
    random, now_ns = np.random.default_rng(1), time.time_ns()
    columns: dict[str, Any] = {
        name: [""] * _ROWS if kind == UTF8 else random.integers(0, 1 << 31, _ROWS).astype(kind)
        for name, kind in COUNTERS.columns.items()
    }
    columns |= {"time": np.full(_ROWS, now_ns, np.int64), "scope": np.zeros(_ROWS, np.uint8)}
    value = encode(COUNTERS, columns)
    batch = Batch(COUNTERS.name, BEHIND, now_ns, 0, _ROWS, 0, value)
    first = _write(bus / batch.topic / batch.node, now_ns, pack_record(batch.headers(), value))
    for _, seq in pairwise(range(_WAITING)):
        os.link(first, first.with_name(segment_name(now_ns, seq)))


def _write(folder: Path, epoch: int, content: bytes) -> Path:
    """A segment that appears whole."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / segment_name(epoch, 0)
    part = path.with_suffix(".part")
    part.write_bytes(content)
    return part.rename(path)
