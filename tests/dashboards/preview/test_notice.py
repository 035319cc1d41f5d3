"""What the page says of a Prometheus that has no pipeline, or not all the time."""

from __future__ import annotations

from typing import Any

import pytest

from dashboards.preview.notice import notice
from dashboards.prometheus import Prometheus, PrometheusError


class Told(Prometheus):
    """One that tells of a pipeline at these times; at None it refuses to."""

    def __init__(self, times: list[int] | None) -> None:
        super().__init__("http://127.0.0.1:1")
        self._times = times

    def range(self, expression: str, start_s: float, end_s: float, step_s: float) -> list[Any]:
        if self._times is None:
            raise PrometheusError("too <many> samples")
        return [{"metric": {}, "values": [[at, "1"] for at in self._times]}] if self._times else []


@pytest.mark.parametrize(
    ("times", "said"),
    [
        (list(range(0, 901, 15)), ""),
        ([], "nothing of a pipeline in this time"),
        (list(range(0, 301, 15)), "nothing of a pipeline since 00:05:00 UTC"),
        ([*range(0, 301, 15), *range(600, 901, 15)], "nothing of a pipeline for 4.75 min of this time"),
        (list(range(300, 901, 15)), "knows of a pipeline from 00:05:00 UTC on"),
        ([*range(60, 301, 15), *range(600, 901, 15)], "nothing of a pipeline for 4.75 min of this time"),
        (None, "too &lt;many&gt; samples"),
    ],
    ids=[
        "all the time",
        "never",
        "no more",
        "with a gap",
        "not from the start",
        "not from the start and with a gap",
        "refused",
    ],
)
def test_it_says_what_is_lacking_and_else_nothing(times: list[int] | None, said: str) -> None:
    told = notice(Told(times), 0.0, 900.0, 15.0)
    assert said in told
    assert bool(told) == bool(said)
    assert ("alarm" in told) == (bool(said) and "from" not in said)
