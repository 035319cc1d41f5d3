"""What the integration tests share: runs of the demo."""

from __future__ import annotations

from functools import cache

import pytest

from tests.integration.demo_runs import DemoRun, DemoRuns, Enforce, Source, run


@pytest.fixture(scope="session")
def demo_runs(tmp_path_factory: pytest.TempPathFactory) -> DemoRuns:
    """The run of a way to enforce and to watch: the first who asks waits for it."""

    @cache
    def ran(enforce: Enforce, source: Source) -> DemoRun:
        return run(tmp_path_factory.mktemp(f"demo-{enforce}-{source}"), enforce, source)

    return ran
