"""Tables and buffers of a real kernel that are too small: what is told and counted is what was sent."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import pytest

from collector.flowtable import GRACE_DUMPS
from collector.metrics import Metrics
from collector.sources import Columns, conntrack
from collector.sources.conntrack import ConntrackSource
from tests.collector.generator import FIRST_PORT, Generator
from tests.collector.network import Network, quiet_counts, routed_network
from tests.faults.counts import often, tell

pytestmark = pytest.mark.root

QUIET = "table inet quiet { chain input { type filter hook input priority 0; meta l4proto udp drop; }; }"
ROUNDS = often(3, 20)
TINY_BYTES = 4096


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    with routed_network() as made:
        made.run("server", "nft", "-f", "-", stdin=QUIET)
        yield made


def of_generator(columns: Columns) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Which rows are of the generator, and none of the kernel's own chatter."""
    ours: np.ndarray[tuple[int], np.dtype[np.bool_]] = np.asarray(columns["src_port"]) >= FIRST_PORT
    return ours


def test_endings_that_did_not_fit_are_told_by_the_next_dump(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    """The buffer for events is tiny and all connections end at once: the overrun is counted, and no byte is missing."""
    monkeypatch.setattr(conntrack, "_EVENT_BUFFER_BYTES", TINY_BYTES)
    network.run("node", "conntrack", "-F")
    metrics = Metrics()
    source = ConntrackSource(metrics, network.netns("node"))
    source.start()
    flows = np.arange(1_000)
    sent = told = ended = 0
    try:
        with Generator(network) as generator:
            for _ in range(ROUNDS):
                overruns = metrics.value("netlink_overruns_total")
                generator.send(flows)
                sent += len(flows)
                quiet_counts(network, "client")
                for number in range(GRACE_DUMPS + 2):  # an ending may be told a moment after the last dump
                    if number == 1:
                        network.run("node", "conntrack", "-F")
                    columns = source.read(time.time_ns())
                    ours = of_generator(columns)
                    told += int(np.asarray(columns["packets"])[ours].sum())
                    ended += int(np.asarray(columns["closed"])[ours].sum())
                assert metrics.value("netlink_overruns_total") > overruns, "the buffer was too small"
    finally:
        source.stop()
    tell(f"{ROUNDS} overruns: sent {sent}, told {told}, unexplained {sent - told}; ended {ended}")
    assert told == sent
    assert ended == sent
