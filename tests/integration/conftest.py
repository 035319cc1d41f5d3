"""What the integration tests share: runs of the demo, and a small network."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import pytest

from tests.collector.network import Network, routed_network
from tests.integration.demo_runs import DemoRun, DemoRuns, Enforce, Source, run


@pytest.fixture(scope="session")
def demo_runs(tmp_path_factory: pytest.TempPathFactory) -> DemoRuns:
    """The run of a way to enforce and to watch: the first who asks waits for it."""

    @cache
    def ran(enforce: Enforce, source: Source) -> DemoRun:
        return run(tmp_path_factory.mktemp(f"demo-{enforce}-{source}"), enforce, source)

    return ran


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    """Client, node and server, as `routed_network` makes them, for the tests of a module."""
    with routed_network() as network:
        yield network
