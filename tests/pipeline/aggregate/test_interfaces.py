"""Interface counters: the newest value of each interface, until it is gone."""

from __future__ import annotations

import polars as pl

from pipeline.aggregate.interfaces import NODE_VALUES, VALUES, InterfaceMetrics
from pipeline.catalog import BY_NAME

SECOND = 1_000_000_000


def counters(*rows: tuple[str, int, int]) -> pl.DataFrame:
    """Observations of (pod, time, receive_bytes); the other counters follow from receive_bytes."""
    frame = pl.DataFrame(rows, schema={"pod": pl.String, "time": pl.Int64, "receive_bytes": pl.UInt64}, orient="row")
    others = [(pl.col("receive_bytes") + i).alias(name) for i, name in enumerate(VALUES.values())]
    return frame.with_columns(namespace=pl.lit("shop"), interface=pl.lit("eth0"), node=pl.lit("node-a")).with_columns(
        *others
    )


def received(metrics: InterfaceMetrics) -> dict[str, int]:
    samples = {s.metric.name: s for s in metrics.samples()}["container_network_receive_bytes_total"]
    return dict(zip(samples.labels["pod"], samples.values, strict=True))


def test_every_interface_metric_of_the_catalogue_is_there() -> None:
    for prefix, values in (("container_network_", VALUES), ("flowatlas_node_network_", NODE_VALUES)):
        assert set(values) == {name for name in BY_NAME if name.startswith((f"{prefix}receive", f"{prefix}transmit"))}


def test_each_metric_holds_its_own_counter() -> None:
    metrics = InterfaceMetrics()
    metrics.add(counters(("a", 1, 100)), 1)
    values = {s.metric.name: s.values.to_list() for s in metrics.samples()}
    assert values == {name: [100 + i] for i, name in enumerate(VALUES)}


def test_the_newest_observation_stands_whatever_the_order() -> None:
    metrics = InterfaceMetrics()
    metrics.add(counters(("a", 5, 50), ("b", 1, 10), ("a", 4, 40)), 1)
    metrics.add(counters(("a", 3, 30), ("b", 2, 20)), 2)
    assert received(metrics) == {"a": 50, "b": 20}


def test_a_counter_that_starts_anew_is_shown_as_it_is() -> None:
    """Prometheus reads the fall as a reset."""
    metrics = InterfaceMetrics()
    metrics.add(counters(("a", 1, 1000)), 1)
    metrics.add(counters(("a", 2, 7)), 2)
    assert received(metrics) == {"a": 7}


def test_an_interface_that_is_no_longer_reported_goes_away() -> None:
    metrics = InterfaceMetrics(expire_s=60)
    metrics.add(counters(("a", 1, 1), ("b", 1, 1)), 0)
    metrics.add(counters(("a", 2, 2)), 50 * SECOND)
    metrics.expire(61 * SECOND)
    assert received(metrics) == {"a": 2}
    assert len(metrics) == len(VALUES)


def test_labels_stay_the_same_object_while_the_interfaces_are_the_same() -> None:
    metrics = InterfaceMetrics()
    metrics.add(counters(("a", 1, 1)), 1)
    before = metrics.samples()[0].labels
    metrics.add(counters(("a", 2, 2)), 2)
    metrics.expire(3)
    assert metrics.samples()[0].labels is before
