"""TCP sockets of pods by state."""

from __future__ import annotations

import polars as pl

from collector.schema import SOCKET_COLUMNS
from pipeline.aggregate.sockets import SocketMetrics

SECOND = 1_000_000_000


def counters(pod: str, time: int, **sockets: int) -> pl.DataFrame:
    """A pod's two interfaces; its sockets are on the row of the first."""
    place = {"namespace": "shop", "pod": pod, "node": "n1", "time": time}
    rows = [{**place, **dict.fromkeys(SOCKET_COLUMNS, 0), **some} for some in (sockets, {})]
    return pl.DataFrame(rows, schema_overrides=dict.fromkeys(SOCKET_COLUMNS, pl.UInt32))


def shown(metrics: SocketMetrics) -> dict[tuple[str, str, str], int]:
    return {
        (samples.metric.name, row["pod"], row["tcp_state"]): value
        for samples in metrics.samples()
        for row, value in zip(samples.labels.iter_rows(named=True), samples.values, strict=True)
    }


TCP, TCP6 = "container_network_tcp_usage_total", "container_network_tcp6_usage_total"


def test_states_with_sockets_are_shown_as_they_were_last() -> None:
    metrics = SocketMetrics()
    metrics.add(counters("a", 1, tcp_established=3, tcp6_listen=1), 1)
    assert shown(metrics) == {(TCP, "a", "established"): 3, (TCP6, "a", "listen"): 1}
    metrics.add(counters("a", 3, tcp_timewait=2, tcp6_listen=1), 3)
    metrics.add(counters("a", 2, tcp_established=9), 3)
    assert shown(metrics) == {
        (TCP, "a", "established"): 0,
        (TCP, "a", "timewait"): 2,
        (TCP6, "a", "listen"): 1,
    }


def test_pods_that_are_gone_go() -> None:
    metrics = SocketMetrics(expire_s=60)
    metrics.add(pl.concat([counters("a", 1, tcp_listen=1), counters("b", 1, tcp_listen=1)]), 0)
    metrics.add(counters("a", 2, tcp_listen=1), 50 * SECOND)
    metrics.expire(61 * SECOND)
    assert shown(metrics) == {(TCP, "a", "listen"): 1}
