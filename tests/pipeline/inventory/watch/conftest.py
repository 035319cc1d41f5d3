"""An API server of one's own for each test of the watcher."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.pipeline.inventory.watch.fake_api import FakeApi


@pytest.fixture
def fake() -> Iterator[FakeApi]:
    with FakeApi() as made:
        yield made
