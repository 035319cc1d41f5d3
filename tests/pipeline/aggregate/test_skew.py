"""How evenly connections spread over the endpoints of a Service."""

from __future__ import annotations

import random

import pytest

from pipeline.aggregate.event_time import Newest
from pipeline.aggregate.samples import Samples
from pipeline.aggregate.service_ports import ServicePorts
from pipeline.aggregate.skew import Skew, calls_of
from pipeline.inventory.snapshot import Snapshot
from tests.pipeline.aggregate.connections import (
    SOLO,
    WEB,
    Call,
    attributed,
    exposed,
    services_cluster,
    with_span,
)

SNAPSHOT = services_cluster()


def spread(counts: dict[str, int], at: float = 0) -> list[Call]:
    return [Call(backend, "web", at=at) for backend, number in counts.items() for _ in range(number)]


class Watched:
    """Skew as `ServiceSignals` keeps it."""

    def __init__(self, snapshot: Snapshot = SNAPSHOT) -> None:
        self.snapshot, self.ports, self.newest = snapshot, ServicePorts(), Newest()
        self.part = Skew(self.ports, self.newest)
        self.ports.use(snapshot)
        self.part.use(snapshot)

    def add(self, calls: list[Call]) -> None:
        rows = attributed(calls, self.snapshot)
        self.newest.see(rows["start"])
        self.part.add(calls_of(rows.with_columns(self.ports.number())))


def skew(*batches: list[Call], snapshot: Snapshot = SNAPSHOT) -> list[Samples]:
    found = Watched(snapshot)
    for batch in batches:
        found.add(batch)
    return found.part.samples()


def ratios(samples: list[Samples]) -> tuple[float, float] | None:
    ratio = exposed(samples, "flowatlas_service_endpoint_skew_ratio")
    gini = exposed(samples, "flowatlas_service_endpoint_gini_ratio")
    assert ratio.keys() == gini.keys() <= {("shop", "web", "80")}
    return (next(iter(ratio.values())), next(iter(gini.values()))) if ratio else None


@pytest.mark.parametrize(
    ("counts", "ratio", "gini"),
    [
        ((4, 4, 4), 1.0, 0.0),
        ((12, 0, 0), 3.0, 2 / 3),
        ((6, 6, 0), 1.5, 1 / 3),
        ((2, 4, 6), 1.5, 2 / 9),
    ],
)
def test_ratios_over_all_endpoints_those_with_nothing_among_them(
    counts: tuple[int, int, int], ratio: float, gini: float
) -> None:
    told = ratios(skew(spread(dict(zip(WEB, counts, strict=True)))))
    assert told == pytest.approx((ratio, gini))


def test_few_connections_tell_nothing() -> None:
    assert ratios(skew(spread({WEB[0]: 9}))) is None
    assert ratios(skew(spread({WEB[0]: 10}))) is not None


def test_a_service_with_one_endpoint_has_no_skew() -> None:
    assert ratios(skew([Call(SOLO, "solo", backend_port=80)] * 20)) is None


def test_an_endpoint_that_was_not_there_all_the_time_is_not_compared() -> None:
    counts = {WEB[0]: 6, WEB[1]: 6, WEB[2]: 1}
    assert ratios(skew(spread(counts), snapshot=with_span(SNAPSHOT, WEB[2], -10, 1e6))) == pytest.approx((1.0, 0.0))
    assert ratios(skew(spread(counts), snapshot=with_span(SNAPSHOT, WEB[2], -1e6, -10))) == pytest.approx((1.0, 0.0))
    assert ratios(skew(spread(counts), snapshot=with_span(SNAPSHOT, WEB[2], -1e6, 1e6))) != pytest.approx((1.0, 0.0))


def test_what_is_older_than_the_window_is_forgotten() -> None:
    assert ratios(skew(spread({WEB[0]: 12}), spread(dict.fromkeys(WEB, 4), at=290))) == pytest.approx((2.0, 1 / 3))
    assert ratios(skew(spread({WEB[0]: 12}), spread(dict.fromkeys(WEB, 4), at=330))) == pytest.approx((1.0, 0.0))


def test_the_order_of_batches_does_not_matter() -> None:
    batches = [spread({backend: number}, at=20.0 * number) for number in range(1, 8) for backend in WEB[:2]]
    told = ratios(skew(*batches))
    assert told is not None
    for seed in range(3):
        shuffled = random.Random(seed).sample(batches, len(batches))
        assert ratios(skew(*shuffled)) == pytest.approx(told)


def test_labels_stay_the_same_object_while_the_series_do() -> None:
    found = Watched()
    found.add(spread({WEB[0]: 12}))
    before = found.part.samples()
    found.add(spread({WEB[1]: 12}))
    after = found.part.samples()
    assert all(a.labels is b.labels for a, b in zip(before, after, strict=True))
    assert before[0].values.to_list() != after[0].values.to_list()
