"""Whose a label set is, and that no namespace takes what others would have found."""

from __future__ import annotations

from collections import Counter
from typing import get_args

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.aggregate.budget import LEVELS, Limit, fitted, limit_of
from pipeline.aggregate.quota import HALF, OWNERS, Detail, Grants, Quota, counted, owner_of
from pipeline.catalog import BY_NAME, NAMESPACES, PAIR, SERVICE

NAMES = ("source_namespace", "source_workload", "destination_namespace", "protocol")


def quota(share: float, most: int = 10**9) -> Quota:
    return Quota(share, most, {}, 0, 1)


def test_a_label_set_is_of_who_opened_else_of_who_answered() -> None:
    rows = pl.DataFrame(
        {
            "destination_namespace": ["b", "b", ""],
            "source_namespace": ["a", "", ""],
            "service_namespace": ["c", "c", ""],
        }
    )
    owner = owner_of(rows.columns)
    assert rows.select(owner).to_series().to_list() == ["a", "b", ""]
    assert counted(rows) == {"a": 1, "b": 1, "": 1}


def test_labels_without_a_namespace_are_of_none() -> None:
    rows = pl.DataFrame({"node": ["n", "m"]})
    assert counted(rows) == {"": 2}
    assert rows.with_columns(owner_of(rows.columns).alias("owner"))["owner"].to_list() == ["", ""]


def test_all_labels_that_end_in_namespace_are_known() -> None:
    named = {label for metric in BY_NAME.values() for label in metric.labels if label.endswith("namespace")}
    assert named <= set(OWNERS)


def test_each_has_its_share_of_what_others_leave_and_the_small_come_first() -> None:
    grants = Grants(quota(0.5), most=110, known={"old": 20}, are_of_namespaces=True)
    assert grants.grant({"bomb": 1000, "calm": 10}, "whole") == {"calm": 10, "bomb": 34}  # of 99
    assert grants.grant({"bomb": 1000}, "whole") == {"bomb": 0}
    assert grants.grant({"bomb": 1000}, "folded") == {"bomb": 3}  # of 105
    assert grants.grant({"bomb": 1000}, "other") == {"bomb": 3}  # of 110
    assert grants.grant({"late": 1000}, "whole") == {"late": 14}
    assert grants.grant({"bomb": 1000}, "other") == {"bomb": 0}  # others came, and it holds what it has


def test_one_namespace_has_all_but_the_reserve_and_who_comes_later_half_of_that() -> None:
    grants = Grants(quota(0.8), most=1000, known={}, are_of_namespaces=True)
    assert grants.grant({"first": 5000}, "whole") == {"first": 720}  # of 900
    assert grants.grant({"first": 5000}, "folded") == {"first": 40}  # of 950
    assert grants.grant({"first": 5000}, "other") == {"first": 40}  # of 1000: a fifth is left
    assert grants.grant({"second": 5000}, "other") == {"second": 100}
    assert grants.grant({"first": 5000, "second": 5000, "third": 30}, "other") == {"third": 30, "second": 0, "first": 0}
    assert grants.grant({"fourth": 5000}, "other") == {"fourth": 35}


def test_of_those_that_come_together_the_small_have_all_and_no_other_takes_the_rest() -> None:
    grants = Grants(quota(0.8), most=1000, known={}, are_of_namespaces=True)
    assert grants.grant({"c": 9000, "b": 5000, "a": 20}, "other") == {"a": 20, "b": 490, "c": 290}


def test_who_had_little_grows_on_beside_a_namespace_that_took_all_it_could() -> None:
    grants = Grants(quota(0.8), most=1000, known={"calm": 50}, are_of_namespaces=True)
    assert grants.grant({"bomb": 5000}, "other") == {"bomb": 750}
    assert grants.grant({"calm": 5000}, "other") == {"calm": 75}  # half of what others leave is 125


def test_where_no_label_names_a_namespace_the_family_is_not_shared() -> None:
    grants = Grants(Quota(0.5, 1_000, {"": 300}, 400, width=2), most=109, known={"": 90}, are_of_namespaces=False)
    assert grants.grant({"": 1000}, "whole") == {"": 9}
    grants = Grants(Quota(0.5, 1_000, {"": 380}, 400, width=2), most=10_000, known={"": 90}, are_of_namespaces=False)
    assert grants.grant({"": 1000}, "whole") == {"": 30}  # (900 - 20) / 2 series at most


def test_series_of_other_families_count() -> None:
    of_all = Quota(0.5, 1000, {"bomb": 400, "calm": 100}, 500, width=10)
    grants = Grants(of_all, most=10_000, known={}, are_of_namespaces=True)
    assert grants.grant({"bomb": 50, "calm": 50}, "whole") == {"bomb": 0, "calm": 15}  # of (900 - 400) / 2
    assert grants.grant({"bomb": 50}, "other") == {"bomb": 0}


details = st.sampled_from(get_args(Detail))
owners = st.dictionaries(st.sampled_from("abcdefg"), st.integers(0, 60), min_size=1)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(owners, details), min_size=1, max_size=8), st.floats(0.01, 1.0), st.integers(0, 80))
def test_grants_never_exceed_the_limit_nor_a_share(
    rounds: list[tuple[dict[str, int], Detail]], share: float, most: int
) -> None:
    grants, held = Grants(quota(share), most, {}, are_of_namespaces=True), Counter[str]()
    for wanted, detail in rounds:
        granted = grants.grant(wanted, detail)
        assert all(0 <= granted[owner] <= number for owner, number in wanted.items())
        for owner, number in granted.items():  # in the order in which they were served
            held[owner] += number
            if number:
                of_others = min(share, HALF) * (most - (held.total() - held[owner]))
                assert held.total() <= share * most + 1e-6 or held[owner] <= of_others + 1e-6
        assert held.total() <= most
    newcomer = Grants(quota(share), most, held, are_of_namespaces=True).grant({"new": most}, "other")["new"]
    assert newcomer >= int(min(share, HALF) * (most - held.total()))


rows_of = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 300)), min_size=1, max_size=120, unique=True)


@settings(max_examples=80, deadline=None)
@given(st.lists(rows_of, min_size=1, max_size=4), st.integers(2, 60), st.sampled_from([0.1, 0.5, 0.9, 1.0]))
def test_label_sets_stay_within_the_limit_and_are_known_where_they_were(
    rounds: list[list[tuple[int, int]]], most: int, share: float
) -> None:
    limit = Limit(most, limit_of(most, tuple(LEVELS)).folds, quota(share))
    known = pl.DataFrame(schema=dict.fromkeys(NAMES, pl.String))
    for pairs in rounds:
        new = pl.DataFrame(
            [(f"ns-{of}", f"app-{number}", f"ns-{number % 3}", "TCP" if number % 5 else "UDP") for of, number in pairs],
            schema=NAMES,
            orient="row",
        ).join(known, on=NAMES, how="anti")
        if new.is_empty():
            continue
        given_ = fitted(known, new, pl.Series([1.0] * new.height), limit)
        assert given_.height == new.height
        known = pl.concat([known, given_.unique().join(known, on=NAMES, how="anti")])
        assert known.height <= most
        kept = given_["source_namespace"] == new["source_namespace"]
        assert (kept | (given_["source_namespace"] == "other")).all()


def test_a_namespace_beyond_its_quota_has_an_other_of_its_own() -> None:
    new = pl.DataFrame(
        [("bomb", f"app-{number}", f"ns-{number}", "TCP") for number in range(500)], schema=NAMES, orient="row"
    )
    limit = Limit(100, limit_of(100, tuple(LEVELS)).folds, quota(0.5))
    given_ = fitted(new.clear(), new, pl.Series([1.0] * 500), limit)
    assert given_.unique().height <= 50
    last = given_.group_by(NAMES).len().sort("len").row(-1)
    assert last[:4] == ("bomb", "other", "other", "TCP")
    assert (given_["source_namespace"] == "bomb").all()


@pytest.mark.parametrize(
    "labels", [NAMESPACES, PAIR, (*SERVICE, "endpoint", "node"), ("node",), ("reason",), (*NAMESPACES, "protocol")]
)
@pytest.mark.parametrize("order", [(), ("workload", "pod"), tuple(LEVELS)])
def test_who_makes_namespaces_at_will_is_bounded_by_the_limit_in_every_family(
    labels: tuple[str, ...], order: tuple[str, ...]
) -> None:
    """Also in those all of whose labels have any number of values, and those that tell of no namespace."""
    new = pl.DataFrame({label: [f"{label}-{number}" for number in range(500)] for label in labels})
    for share in (0.5, 0.8, 1.0):
        limit = Limit(40, limit_of(40, order).folds, quota(share))
        assert fitted(new.clear(), new, pl.Series([1.0] * 500), limit).unique().height <= 40


@pytest.mark.parametrize("share", [0.3, 0.5, 0.8, 0.9])
def test_what_has_lost_its_namespace_takes_room_too(share: float) -> None:
    """Where namespaces are to go first, one `other` of each comes after."""
    new = pl.DataFrame(
        [
            (f"ns-{number % 30}", f"app-{number}", f"ns-{number % 3}", ("TCP", "UDP")[number % 2])
            for number in range(300)
        ],
        schema=NAMES,
        orient="row",
    )
    limit = Limit(20, limit_of(20, ("namespace", "workload")).folds, quota(share))
    assert fitted(new.clear(), new, pl.Series([1.0] * 300), limit).unique().height <= 20


def test_where_namespaces_are_to_go_first_they_do() -> None:
    new = pl.DataFrame(
        [("bomb", f"app-{number % 5}", f"ns-{number}", "TCP") for number in range(500)], schema=NAMES, orient="row"
    )
    limit = Limit(100, limit_of(100, ("namespace", "workload")).folds, quota(0.5))
    given_ = fitted(new.clear(), new, pl.Series([1.0] * 500), limit)
    assert ("other", "app-1", "other", "TCP") in given_.rows()
    assert not given_.filter((pl.col("source_namespace") == "bomb") & (pl.col("source_workload") == "other")).height
