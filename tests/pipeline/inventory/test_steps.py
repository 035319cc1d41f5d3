"""How many addresses lie at or before one is what counting them says, however large they are."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.inventory.steps import Steps

ADDRESS = st.sampled_from([0, 1, 2**64 - 1, 2**64, 2**64 + 1, 2**127, 2**128 - 1]) | st.integers(0, 2**128 - 1)


@given(st.sets(ADDRESS, max_size=12), st.lists(ADDRESS, max_size=12))
def test_steps_are_counted(firsts: set[int], asked: list[int]) -> None:
    asked = [*asked, *firsts]
    hi, lo = (np.array([address >> shift & 2**64 - 1 for address in asked], np.uint64) for shift in (64, 0))
    assert Steps(sorted(firsts)).up_to(hi, lo).tolist() == [sum(first <= one for first in firsts) for one in asked]
