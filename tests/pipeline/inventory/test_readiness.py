"""When Service ports had no ready endpoint, against a look at every instant."""

from __future__ import annotations

from dataclasses import replace

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.inventory.backends import BACKENDS
from pipeline.inventory.readiness import lacking
from pipeline.inventory.snapshot import build
from pipeline.inventory.spans import BEGINNING, END
from tests.pipeline.small_cluster import small_cluster

SNAPSHOT = small_cluster()
EDGES = (BEGINNING, 1, 2, 3, 4, END)


@st.composite
def backends(draw: st.DrawFn) -> list[tuple[int, bool, int, int]]:
    def span() -> tuple[int, int]:
        first = draw(st.integers(0, len(EDGES) - 2))
        return EDGES[first], EDGES[draw(st.integers(first + 1, len(EDGES) - 1))]

    return [
        (draw(st.integers(0, SNAPSHOT.services.height - 1)), draw(st.booleans()), *span())
        for _ in range(draw(st.integers(0, 5)))
    ]


@settings(deadline=None, max_examples=100)
@given(backends())
def test_spans_equal_a_look_at_every_instant(rows: list[tuple[int, bool, int, int]]) -> None:
    frame = pl.DataFrame(
        [
            (0, number, 80, 6, service, ready, since, until)
            for number, (service, ready, since, until) in enumerate(rows)
        ],
        schema=BACKENDS,
        orient="row",
    )
    spans = lacking(replace(SNAPSHOT, backends=frame)).rows()
    for service in SNAPSHOT.services["service_id"]:
        for instant in (BEGINNING, 0, 1, 2, 3, 4, END - 1):
            has_ready = any(s == service and ready and a <= instant < b for s, ready, a, b in rows)
            held = [span for span in spans if span[0] == service and span[1] <= instant < span[2]]
            assert len(held) == (0 if has_ready else 1)


def test_no_services_lack_nothing() -> None:
    assert lacking(build([])).is_empty()
