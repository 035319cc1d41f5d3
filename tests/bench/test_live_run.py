"""What the benchmark of a running system reads off a page is what the page says."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pipeline.decode import decode
from tests.bench import history
from tests.bench.bench_live import lags_seen
from tests.bench.bench_pipeline import message_of
from tests.bench.live_run import Page, quantile
from tests.bench.live_sender import templates

TEXT = b"""# TYPE flowatlas_rows counter
flowatlas_rows_total{table="flows",node="a"} 3
flowatlas_rows_total{table="dns",node="a"} 100
flowatlas_rows_total{table="flows",node="b"} 4
# TYPE flowatlas_rows_totals gauge
flowatlas_rows_totals 9
# TYPE flowatlas_series gauge
flowatlas_series 2.5
"""


def test_a_metric_is_read_by_its_whole_name_and_of_flows() -> None:
    page = Page(TEXT, 0, 0, 0.0)
    assert page.total("flowatlas_rows_total") == 7
    assert page.values("flowatlas_rows_total", "node") == {"a": 3, "b": 4}
    assert page.total("flowatlas_series") == 2.5
    assert page.total("flowatlas_rows") == 0


@pytest.mark.parametrize(("share", "expected"), [(0.5, 1.0), (0.75, 1.5), (1.0, 2.0)])
def test_a_quantile_is_of_what_came_between(share: float, expected: float) -> None:
    before = {"1.0": 100.0, "2.0": 100.0, "+Inf": 100.0}
    after = {"1.0": 110.0, "2.0": 120.0, "+Inf": 120.0}
    assert quantile(share, before, after) == pytest.approx(expected)


def test_nothing_came() -> None:
    assert math.isnan(quantile(0.5, {"+Inf": 1.0}, {"+Inf": 1.0}))


def test_a_batch_lags_until_the_first_page_that_counts_it() -> None:
    made = np.tile(np.array([[1], [2]], np.int64) * 10**9, (1, history.NODES))
    lines = "".join(f'flowatlas_pipeline_batches_total{{node="node{n}"}} 5\n' for n in range(history.NODES))
    before = Page(b"\n" + lines.encode(), 0, 0, 0.0)
    pages = [Page(b"", 0, second * 10**9, 0.0) for second in (2, 3, 4)]
    seen = [{f"node{n}": count for n in range(history.NODES)} for count in (6.0, 6.0, 7.0)]
    assert sorted(set(lags_seen(made, before, pages, seen))) == [1.0, 2.0]


def test_what_is_sent_is_sound_and_of_its_time() -> None:
    now = history.EPOCH + 5 * 10**9
    batch = templates(20)[7].at("node7", 1, 0, now)
    frame = decode(message_of(batch)).frame
    assert frame["time"].unique().to_list() == [now]
    assert frame.height == batch.rows == 20
    ages_s = (frame["time"] - frame["start"]).to_numpy() / 1e9
    assert ages_s.min() >= 0
    assert ages_s.max() <= 10.001
