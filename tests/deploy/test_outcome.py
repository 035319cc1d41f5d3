"""What a run of the demo came to."""

from __future__ import annotations

from dataclasses import replace

import polars as pl
import pytest

from deploy.demo.outcome import Outcome, _coverage
from deploy.demo.verify import Report

METRICS = """# TYPE flowatlas_capture_coverage_ratio gauge
flowatlas_capture_coverage_ratio{node="n",namespace="shop",pod="a"} 0.995
flowatlas_capture_coverage_ratio{node="n",namespace="shop",pod="b"} 1.0
# TYPE flowatlas_node_capture_coverage_ratio gauge
flowatlas_node_capture_coverage_ratio{node="n"} 0.2
"""


def test_coverage_is_read_by_pod() -> None:
    assert _coverage(METRICS) == {"shop/a": 0.995, "shop/b": 1.0}


@pytest.mark.parametrize(
    ("share", "sees_all", "is_ok"), [(0.995, True, True), (0.98, True, False), (0.98, False, True)]
)
def test_interfaces_must_agree_where_the_source_sees_all(share: float, sees_all: bool, is_ok: bool) -> None:
    sound = Outcome(Report(1, 1, 0), pl.DataFrame(), coverage={"shop/b": 1.0}, sees_all=sees_all)
    assert sound.ok
    assert replace(sound, coverage={"shop/a": share}).ok == is_ok
