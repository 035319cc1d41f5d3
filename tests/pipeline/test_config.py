"""Settings of the pipeline: each wrong one is refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.config import PipelineConfig
from pipeline.errors import ConfigError


def config(**values: Any) -> PipelineConfig:
    return PipelineConfig(**{"bus": "file:///bus", "state": Path("state"), **values})


@pytest.mark.parametrize(
    ("listen", "address"),
    [("127.0.0.1:9464", ("127.0.0.1", 9464)), ("[::1]:0", ("::1", 0)), (":9464", ("", 9464)), ("host:1", ("host", 1))],
)
def test_addresses(listen: str, address: tuple[str, int]) -> None:
    assert config(listen=listen).listen_address == address


def test_flows_settle_where_a_snapshot_keeps_what_waits() -> None:
    """Without one a commit would wait for them, so that they do only where somebody says so."""
    snapshot = Path("snapshots")
    assert config().settle_s == 0.0
    assert config(snapshot=snapshot).settle_s == 2.0
    assert config(snapshot=snapshot, state_wait_s=0.5).settle_s == 0.5
    assert config(snapshot=snapshot, state_settle_s=0.0).settle_s == 0.0
    assert config(state_settle_s=1.5).settle_s == 1.5


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("bus", "ftp://host"),
        ("bus", "file://"),
        ("bus", "/a/path"),
        ("bus", "kafka:///"),
        ("group", ""),
        ("group", "../x"),
        ("listen", "9464"),
        ("listen", "host:"),
        ("listen", "host:70000"),
        ("listen", "::1:9464"),
        ("listen", "user@host:1"),
        ("listen", "host:1/path"),
        ("cluster_domain", ""),
        ("cluster_domain", "Cluster.local"),
        ("cluster_domain", "cluster.local."),
        ("window_s", 0.0),
        ("window_s", float("nan")),
        ("lake_flush_s", -1.0),
        ("lake_flush_rows", 0),
    ],
)
def test_a_value_that_cannot_work_is_refused_by_its_key(key: str, value: object) -> None:
    with pytest.raises(ConfigError, match=rf"pipeline\.{key}: "):
        config(**{key: value})
