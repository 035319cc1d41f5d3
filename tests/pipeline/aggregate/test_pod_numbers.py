"""Numbers of pods: what they mean, and what becomes of it where some are forgotten."""

from __future__ import annotations

import numpy as np
import polars as pl

from pipeline.aggregate.pod_numbers import POD, PodNumbers
from pipeline.attribution.arrays import NO_ID


def pods(*names: str) -> pl.DataFrame:
    return pl.DataFrame([("node-1", "shop", name) for name in names], schema=list(POD), orient="row")


def test_a_pod_keeps_its_number_and_new_ones_get_more() -> None:
    numbers = PodNumbers()
    first = numbers.of(pods("a", "b", "a")).to_list()
    assert first[0] == first[2]
    again = numbers.of(pods("c", "b", "a")).to_list()
    assert again[1:] == [first[1], first[0]]
    assert numbers.names[again]["pod"].to_list() == ["c", "b", "a"]
    assert len(numbers) == 3


def test_the_same_name_elsewhere_is_another_pod() -> None:
    numbers = PodNumbers()
    here = pods("a")
    told = numbers.of(
        pl.concat([here, here.with_columns(node=pl.lit("node-2")), here.with_columns(namespace=pl.lit("x"))])
    )
    assert told.n_unique() == 3


def test_who_is_kept_has_a_new_number_and_the_others_none() -> None:
    numbers = PodNumbers(pods("a", "b", "c", "d"))
    renumbered = numbers.keep(np.array([3, 1, 3], np.uint32))
    assert renumbered.tolist() == [NO_ID, 0, NO_ID, 1]
    assert numbers.names["pod"].to_list() == ["b", "d"]
    assert numbers.of(pods("d", "a")).to_list() == [1, 2]
