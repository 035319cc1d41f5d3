"""What tests of dashboards share: a Prometheus in which every metric of the catalogue has values."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.dashboards.exposition import served
from tests.prometheus_server import prometheus


@pytest.fixture(scope="session")
def whole_prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Its address. Tests ask it and leave it running."""
    with served() as target, prometheus(tmp_path_factory.mktemp("prometheus"), target) as url:
        yield url
