"""The notebooks find what is planted in the made-up month, and nothing else."""

from __future__ import annotations

import os
import runpy
from collections.abc import Callable
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from notebooks import sample
from notebooks.build import HERE

ARROW = " \N{RIGHTWARDS ARROW} "


@cache
def run(number: str) -> dict[str, Any]:
    """The names that a notebook leaves behind."""
    (source,) = HERE.glob(f"{number}-*.py")
    here = Path.cwd()
    os.chdir(HERE)
    try:
        return runpy.run_path(str(source))
    finally:
        os.chdir(here)


@pytest.fixture(autouse=True)
def own_lake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FLOWATLAS_LAKE", raising=False)


def test_the_same_seed_gives_the_same_month() -> None:
    assert sample.rows().equals(sample.rows())


def test_the_bad_hour_stands_out_and_is_between_the_zones() -> None:
    found = run("02")
    first, second, _ = found["worst"]["again"].to_list()
    assert found["bad_hour"] == sample.BAD_HOUR
    assert first > 5 * second
    by_zones = {row["zones"]: row["again"] for row in found["by_zones"].iter_rows(named=True)}
    assert min(by_zones[f"zone-{a}{ARROW}zone-{b}"] for a, b in ("ab", "ba")) > 50
    assert max(by_zones[f"zone-{a}{ARROW}zone-{a}"] for a in "ab") < 5


def test_what_each_end_pays_adds_up_and_the_upload_is_the_largest() -> None:
    found = run("04")
    assert found["by_payer"]["cost"].sum() == pytest.approx(found["by_distance"]["cost"].sum())
    largest = found["largest"].row(0, named=True)
    assert (largest["source"], largest["dns_name"]) == ("batch/report", "backup.storage.example")
    savings = dict(found["crossing"].select("name", "saved_by").rows())
    assert savings["shop/frontend"] == "a setting"
    assert savings["shop/postgres"] == "a replica in the zone"


def test_new_edges_are_the_planted_ones() -> None:
    new = run("05")["new"]
    assert set(new.select("source", "peer").rows()) == {
        ("default/debug", "shop/api"),
        ("default/debug", "shop/postgres"),
        ("batch/report", "backup.storage.example"),
        ("shop/frontend", "198.51.100.77"),
        ("shop/frontend", "shop/postgres"),
    }


@pytest.mark.parametrize(
    ("what", "planted"),
    [
        (lambda found: found["hours"].sort("deviations", descending=True)["hour"][0], sample.UPLOAD_AT),
        (lambda found: found["beats"].filter(pl.col("variation") < 0.1)["first"].item(), sample.BEACON_FROM),
        (lambda found: found["doors"]["begin"].item(), sample.SCAN_AT),
    ],
)
def test_one_of_each_anomaly_is_found_when_it_was(what: Callable[[dict[str, Any]], Any], planted: Any) -> None:
    assert abs(what(run("05")) - planted) < timedelta(hours=1)


def test_the_policy_that_became_wider_is_named_with_who_came_in() -> None:
    found = run("06")
    lives = {row["policy"]: row["first"] for row in found["lives"].iter_rows(named=True)}
    assert abs(lives["shop/allow-namespace"] - sample.DRIFT_AT) < timedelta(hours=1)
    assert found["came_in"].select("edge", "policy").rows() == [
        (f"shop/frontend{ARROW}shop/postgres", "shop/allow-namespace")
    ]


def test_suggested_policies_cut_nothing_legitimate() -> None:
    found = run("03")
    assert found["suggested"]
    assert found["result"].cut.is_empty()
    assert found["cut"].height
