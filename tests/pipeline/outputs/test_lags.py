"""How long it takes until something can be seen."""

from __future__ import annotations

from pipeline.outputs.lags import Lags

SECOND = 10**9
METRIC = "flowatlas_capture_to_metric_seconds"


def counts(lags: Lags) -> dict[str, float]:
    return lags.samples().values.struct.unnest().row(0, named=True)


def test_what_waits_is_counted_once_at_the_end_under_every_bound_that_it_does_not_exceed() -> None:
    lags = Lags(METRIC)
    lags.wait([0, 9 * SECOND])
    lags.wait([10 * SECOND, 11 * SECOND])
    assert counts(lags)["+Inf"] == 0
    lags.end(10 * SECOND)
    lags.end(20 * SECOND)
    told = counts(lags)
    assert (told["0.1"], told["0.75"], told["1.0"], told["10.0"], told["+Inf"]) == (2, 2, 3, 4, 4)
    assert told["sum"] == 11.0


def test_what_is_ahead_of_the_clock_counts_as_now_and_what_is_far_behind_adds_up() -> None:
    lags = Lags(METRIC)
    now = 1_800_000_000 * SECOND
    lags.wait([now + 7, now, 0, 0, 0, 0, 0, 0])
    lags.end(now)
    told = counts(lags)
    assert (told["0.1"], told["3600.0"], told["+Inf"], told["sum"]) == (2, 2, 8, 6 * 1.8e9)


def test_counts_go_on_in_the_next_process_unless_the_buckets_are_others() -> None:
    before, after = Lags(METRIC), Lags(METRIC)
    before.wait([0])
    before.end(SECOND)
    after.restore(before.state())
    assert counts(after) == counts(before)
    other = Lags(METRIC)
    other.restore({**before.state(), "le": ["1.0", "+Inf"]})
    assert counts(other)["+Inf"] == 0
