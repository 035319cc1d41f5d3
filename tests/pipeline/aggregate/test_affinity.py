"""Session affinity: where a client went next, whatever the order in which batches come."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.aggregate.affinity import Affinity
from pipeline.aggregate.event_time import Newest
from pipeline.aggregate.service_ports import ServicePorts
from pipeline.inventory.snapshot import Snapshot
from tests.pipeline.aggregate.connections import (
    CLIENTS,
    NOW,
    SECOND,
    WEB,
    Call,
    attributed,
    exposed,
    services_cluster,
    with_span,
)
from tests.pipeline.small_cluster import pod

SNAPSHOT = services_cluster()
METRIC = "flowatlas_service_affinity_connections_total"
TIMEOUT_S = 60


def sticky(at: float, backend: str = WEB[0], src: str = CLIENTS[0], node: str = "node-a") -> Call:
    return Call(backend, "sticky", at=at, src=src, node=node)


class Watched:
    """Affinity as `ServiceSignals` keeps it."""

    def __init__(self, snapshot: Snapshot = SNAPSHOT, max_clients: int = 1000) -> None:
        self.ports, self.newest = ServicePorts(), Newest()
        self.part = Affinity(self.ports, self.newest, max_clients)
        self.use(snapshot)

    def use(self, snapshot: Snapshot) -> None:
        self.ports.use(snapshot)
        self.part.use(snapshot)
        self.snapshot = snapshot

    def add(self, *calls: Call) -> None:
        rows = attributed(calls, self.snapshot)
        rows = rows.filter(pl.col("service_id").is_not_null())
        if rows.height:
            self.newest.see(rows["start"])
        rows = rows.with_columns(self.ports.number())
        self.part.add(rows.filter(pl.Series(self.part.is_sticky(rows["number"].to_numpy()), dtype=pl.Boolean)))

    def settle(self, at: float) -> None:
        self.part.settle(NOW + int(at * SECOND))

    def counts(self) -> dict[str, float]:
        return {labels[-1]: value for labels, value in exposed(self.part.samples(), METRIC).items()}


def judged(calls: list[Call], snapshot: Snapshot = SNAPSHOT) -> dict[str, float]:
    found = Watched(snapshot)
    found.add(*calls)
    found.settle(10_000)
    return found.counts()


@pytest.mark.parametrize(
    ("calls", "told"),
    [
        ([sticky(0)], {}),
        ([sticky(0), sticky(60)], {"kept": 1}),
        ([sticky(0), sticky(61)], {}),
        ([sticky(0), sticky(50), sticky(100)], {"kept": 2}),  # each connection renews the memory
        ([sticky(0), sticky(50, WEB[1])], {"broken": 1}),
        ([sticky(0), sticky(10, WEB[1]), sticky(20, WEB[1])], {"broken": 1, "kept": 1}),
        ([sticky(0), sticky(1, WEB[1], src=CLIENTS[1], node="node-b")], {}),
        ([sticky(0, src="198.51.100.1"), sticky(1, WEB[1], src="198.51.100.1", node="node-b")], {}),  # each node's own
        ([sticky(0), Call(WEB[1], "web", at=1)], {}),
        ([sticky(0), Call(WEB[1], at=1)], {}),
    ],
)
def test_by_the_clients_connection_before(calls: list[Call], told: dict[str, int]) -> None:
    assert judged(calls) == told


def test_a_client_whose_endpoint_is_gone_has_moved() -> None:
    snapshot = with_span(SNAPSHOT, WEB[0], -100, 15)
    assert judged([sticky(0), sticky(10, WEB[1]), sticky(20, WEB[0]), sticky(30, WEB[1])], snapshot) == {
        "broken": 2,
        "moved": 1,
    }


def test_judgement_waits_for_what_may_still_come() -> None:
    found = Watched()
    found.add(sticky(0), sticky(20))
    assert found.counts() == {}
    found.add(sticky(10, WEB[1]))
    found.add(sticky(51))
    assert found.counts() == {"broken": 2}  # 0 to 10 and 10 to 20
    found.add(sticky(82))
    assert found.counts() == {"broken": 2, "kept": 1}
    found.add(sticky(15, WEB[2]))  # too late to be judged
    found.settle(83)
    assert found.counts() == {"broken": 2, "kept": 2}


def test_memory_is_bounded_and_the_latest_callers_stay() -> None:
    found = Watched(max_clients=2)
    clients = [f"198.51.100.{number}" for number in range(4)]
    found.add(*(sticky(number, src=src) for number, src in enumerate(clients)))
    found.settle(10)
    found.add(*(sticky(20, src=src) for src in clients))
    found.settle(30)
    assert found.counts() == {"kept": 2}


def test_memory_outlives_a_change_of_ids() -> None:
    found = Watched()
    found.add(sticky(0))
    other = services_cluster(
        pod("aaa", "node-a", "10.0.1.99"),
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "aaa", "namespace": "shop"},
            "spec": {"clusterIP": "10.96.0.99", "ports": [{"port": 1}]},
        },
    )
    found.use(other)
    found.add(sticky(10, WEB[1]))
    found.settle(100)
    assert exposed(found.part.samples(), METRIC) == {("shop", "sticky", "80", "broken"): 1}


@settings(deadline=None, max_examples=50)
@given(st.data())
def test_batches_may_come_in_any_order(data: st.DataObject) -> None:
    """Counts equal those of one client after the other, by hand."""
    moments = data.draw(st.lists(st.integers(0, 29), min_size=1, max_size=12, unique=True))
    calls = [
        sticky(
            moment * 7,
            data.draw(st.sampled_from(WEB)),
            data.draw(st.sampled_from(CLIENTS)),
        )
        for moment in moments
    ]
    expected: Counter[str] = Counter()
    for client in CLIENTS:
        own = sorted((call for call in calls if call.src == client), key=lambda call: call.at)
        for before, after in pairwise(own):
            if after.at - before.at <= TIMEOUT_S:
                expected["kept" if before.backend == after.backend else "broken"] += 1
    found = Watched()
    # A batch may hold what began up to 30 s before anything that came already.
    late = data.draw(st.lists(st.floats(0, 29), min_size=len(calls), max_size=len(calls)))
    for _, call in sorted(
        zip((call.at + delay for call, delay in zip(calls, late, strict=True)), calls, strict=True),
        key=lambda pair: pair[0],
    ):
        found.add(call)
    found.settle(10_000)
    assert found.counts() == expected
