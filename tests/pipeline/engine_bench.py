"""An engine on a bus whose polls are given one by one, for tests: a small cluster, and what was published."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path
from typing import cast

from prometheus_client.parser import text_string_to_metric_families

from collector.schema import COUNTERS
from pipeline.bus import Message, Places
from pipeline.config import PipelineConfig
from pipeline.engine import Engine
from pipeline.geo import Geo
from pipeline.inventory.models import Resource, convert
from pipeline.outputs.lake import Lake
from pipeline.outputs.publication import Publication
from pipeline.state import ClusterState
from tests.pipeline.shipments import batch, flow, interface, message
from tests.pipeline.small_cluster import small_cluster

FRONT_A, FRONT_B, DATABASE = "10.0.1.5", "10.0.2.5", "10.0.2.7"
DATABASE_VIP, FRONT_VIP = "10.96.0.7", "10.96.0.5"


class ScriptedReader:
    """A bus whose polls are given one by one: messages, or an error to raise."""

    def __init__(self, *polls: list[Message] | Exception) -> None:
        self.polls = deque(polls)
        self.commits = 0
        self.polled: list[Message] = []
        self.committed: list[Message] = []
        self.quarantined: list[tuple[Message, str]] = []
        self.refusals: dict[str, deque[Exception]] = {"start": deque(), "commit": deque(), "quarantine": deque()}
        self.stopped = False

    def _refuse(self, what: str) -> None:
        if self.refusals[what]:
            raise self.refusals[what].popleft()

    def start(self, places: Places | None = None) -> None:
        self._refuse("start")

    def places(self) -> Places:
        return {}

    def poll(self, timeout_s: float) -> list[Message]:
        given = self.polls.popleft() if self.polls else []
        if isinstance(given, Exception):
            raise given
        self.polled += given
        return given

    def mark(self) -> object:
        return list(self.polled)

    def commit(self, mark: object = None) -> None:
        self._refuse("commit")
        self.commits += 1
        self.committed = cast("list[Message]", list(self.polled) if mark is None else mark)

    def caught_up(self) -> bool:
        return not self.polls

    def lag(self) -> dict[str, int]:
        return {"flowatlas.flows.v1": sum(len(poll) for poll in self.polls if not isinstance(poll, Exception))}

    def lost(self) -> dict[str, int]:
        return {"flowatlas.flows.v1": 0}

    def quarantine(self, message: Message, reason: str) -> None:
        self._refuse("quarantine")
        self.quarantined.append((message, reason))

    def stop(self) -> None:
        self.stopped = True


class Bench:
    """An engine on a scripted bus, and what it published."""

    def __init__(
        self,
        *polls: list[Message] | Exception,
        lake: Lake | None = None,
        flush_rows: int = 10**6,
        wait_s: float = 2.0,
        flush_s: float = 3600,
        geo: Geo | None = None,
        kind: type[ScriptedReader] = ScriptedReader,
    ) -> None:
        self.reader = kind(*polls)
        self.publication = Publication()
        self.state = ClusterState(small_cluster(), {"Pod": 2})
        config = PipelineConfig(
            bus="file:///unused",
            state=Path("unused"),
            state_wait_s=wait_s,
            window_s=0.05,
            lake_flush_s=flush_s,
            lake_flush_rows=flush_rows,
        )
        if lake is not None:
            lake.start()
        self.engine = Engine(config, self.reader, lambda _: self.state, self.publication, lake, geo=geo)

    def drain(self) -> None:
        assert self.engine.drain(timeout_s=30)

    def values(self, name: str, *labels: str) -> dict[tuple[str, ...], float]:
        """Series of a metric by the values of some labels; those that agree in them are added up."""
        found: Counter[tuple[str, ...]] = Counter()
        for family in text_string_to_metric_families(self.publication.text().decode()):
            for sample in family.samples:
                if sample.name == name:
                    found[tuple(sample.labels[label] for label in labels)] += sample.value  # type: ignore[assignment] # counts are floats here
        return dict(found)


def through_service(seq: int = 0, node: str = "node-a", **more: int) -> Message:
    return message(batch(node, seq, [flow(FRONT_A, DATABASE_VIP, 5432, backend=DATABASE, **more)]))


def counters(seq: int, *addresses: str, scope: int = 0) -> Message:
    rows = [interface(address, receive_bytes=100 + i, scope=scope) for i, address in enumerate(addresses)]
    return message(batch("node-a", seq, rows, COUNTERS))


def policies() -> tuple[Resource, ...]:
    """Nobody may come in, and there is a kind that is not judged where nobody is, so that it overrules nothing."""
    deny = {"podSelector": {}, "policyTypes": ["Ingress"]}
    kinds = (("networking.k8s.io/v1", "NetworkPolicy", "shop"), ("cilium.io/v2", "CiliumNetworkPolicy", "empty"))
    return tuple(
        convert(version, kind, {"kind": kind, "metadata": {"name": "deny", "namespace": namespace}, "spec": deny})
        for version, kind, namespace in kinds
    )


def wait_until(is_true: Callable[[], bool], timeout_s: float = 90) -> None:
    wake = threading.Event()
    for _ in range(int(timeout_s / 0.01)):
        if is_true():
            return
        wake.wait(0.01)
    raise AssertionError("it did not come about in time")
