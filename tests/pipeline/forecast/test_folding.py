"""Label sets come in the order of time, and quotas hold among them."""

from __future__ import annotations

import polars as pl

from pipeline.aggregate.budget import LEVELS, limit_of
from pipeline.aggregate.series import SeriesBudget
from pipeline.forecast.folding import STEPS, folded
from pipeline.forecast.label_sets import FIRST, LAST, WEIGHT

LABELS = ("source_namespace", "source_workload")
FORMS = {"pairs": (LABELS, 2)}
HOUR = 3_600 * 10**9


def sets(*of: tuple[str, int, int, int], stay: int = 0) -> dict[str, pl.DataFrame]:
    """Namespace, how many workloads, at what hour they came first, and how heavy each is; how many hours all stay."""
    rows = [
        (namespace, f"app-{hour}-{number}", hour * HOUR, (hour + stay) * HOUR, weight)
        for namespace, count, hour, weight in of
        for number in range(count)
    ]
    schema = {**dict.fromkeys(LABELS, pl.String), FIRST: pl.Int64, LAST: pl.Int64, WEIGHT: pl.UInt64}
    return {"pairs": pl.DataFrame(rows, schema=schema, orient="row")}


def counts(found: dict[str, pl.DataFrame]) -> dict[str, int]:
    return dict(found["pairs"].group_by("source_namespace").len().rows())


def budget(share: float, most: int = 1_000, all_series: int = 10**6, idle_hours: float = 0) -> SeriesBudget:
    return SeriesBudget(all_series, limit_of(most, tuple(LEVELS)), 3_600 * idle_hours, share)


def test_who_comes_after_a_bomb_is_folded_without_quotas_and_not_with_them() -> None:
    came = sets(("bomb", 5_000, 0, 9), ("late", 50, STEPS, 1))
    assert counts(folded(came, FORMS, budget(1.0)))["late"] == 50
    with_quotas = counts(folded(came, FORMS, budget(0.8)))
    assert set(with_quotas) == {"bomb"}
    assert 4_200 < with_quotas["bomb"] < 4_300


def test_who_is_there_first_stays_and_of_those_that_come_together_the_heavy_do() -> None:
    came = sets(("early", 800, 0, 1), ("later", 800, STEPS, 9))
    assert counts(folded(came, FORMS, budget(1.0)))["later"] > 600
    assert "early" not in counts(folded(came, FORMS, budget(1.0)))
    together = sets(("light", 800, 0, 1), ("heavy", 800, 0, 9))
    assert set(counts(folded(together, FORMS, budget(1.0)))) == {"light"}


def test_the_limit_of_all_series_counts() -> None:
    came = sets(("a", 800, 0, 1))
    assert not folded(came, FORMS, budget(1.0))["pairs"].height
    assert folded(came, FORMS, budget(1.0, all_series=1_000))["pairs"].height > 300


SHIFTS = (("morning", 800, 0, 1), ("evening", 800, 12, 1), ("later", 1, 24, 1))


def test_who_is_idle_makes_room() -> None:
    limited = budget(1.0, idle_hours=6)
    assert not folded(sets(*SHIFTS, stay=4), FORMS, limited)["pairs"].height
    assert limited.expired == 1_600
    assert counts(folded(sets(*SHIFTS, stay=4), FORMS, budget(1.0)))["evening"] > 600


def test_who_is_there_all_the_time_is_not_idle() -> None:
    """However little it has in the end."""
    limited = budget(1.0, idle_hours=6)
    assert counts(folded(sets(*SHIFTS, stay=8), FORMS, limited))["evening"] > 600
    staying = budget(1.0, idle_hours=6)
    folded(sets(("all day", 10, 0, 1), stay=24), FORMS, staying)
    assert staying.expired == 0


def test_who_was_folded_until_there_was_room_is_told_of_as_folded() -> None:
    night, day = sets(("night", 800, 0, 1), stay=4), sets(("day", 800, 2, 1), stay=30)
    both = {"pairs": pl.concat([night["pairs"], day["pairs"]])}
    limited = budget(1.0, idle_hours=6)
    found = counts(folded(both, FORMS, limited))
    assert found.keys() == {"day"}
    assert found["day"] > 600
    assert limited.samples()[0].values.to_list() == [found["day"]]
    assert limited.expired > 800


def test_a_family_without_label_sets_has_nothing_folded() -> None:
    assert folded(sets(), FORMS, budget(0.8)) == {}
