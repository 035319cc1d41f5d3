"""What a parent exposes of its workers: every series once, told apart, and parsed as Prometheus does."""

from __future__ import annotations

import gzip
import tracemalloc
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as plain

from pipeline.aggregate.samples import Samples
from pipeline.catalog import BY_NAME
from pipeline.catalog.alike import ALIKE
from pipeline.outputs.exposition import Format, Renderer
from pipeline.outputs.merged import AT_ONCE
from pipeline.outputs.merged import merged as parts
from pipeline.outputs.meters import Meters
from pipeline.outputs.pages import Page


def exposed(table: str, rows: int, form: Format = "text") -> bytes:
    meters = Meters()
    meters.objects = {"Pod": 7}
    meters.applied(table, ['no"de{1}'], [rows], [0])
    samples: list[Samples] = list(meters.samples(0))
    return Renderer().render(samples, form)


def merged(texts: dict[str, bytes], own: bytes = b"") -> bytes:
    return b"".join(parts({worker: Page.of(gzip.compress(text)) for worker, text in texts.items()}, own))


@pytest.mark.parametrize("form", ["text", "openmetrics"])
def test_series_have_their_worker_and_what_all_know_is_there_once(form: Format) -> None:
    text = merged({"0": exposed("flows", 3, form), "1": exposed("flows", 4, form)}).decode()
    parse: Any = openmetrics if form == "openmetrics" else plain
    families = list(parse(text))
    names = [family.name for family in families]
    assert len(names) == len(set(names))
    samples = [sample for family in families for sample in family.samples]
    rows = {s.labels["worker"]: s.value for s in samples if s.name == "flowatlas_pipeline_rows_total"}
    assert rows == {"0": 3, "1": 4}
    (objects,) = [s for s in samples if s.name == "flowatlas_state_objects"]
    assert (objects.labels, objects.value) == ({"kind": "Pod"}, 7)
    assert all("worker" in s.labels for s in samples if s.name not in ALIKE)
    keys = [(s.name, *sorted(s.labels.items())) for s in samples]
    assert len(keys) == len(set(keys))
    assert sum("node" in s.labels and s.labels["node"] == 'no"de{1}' for s in samples) > 0


def test_a_family_that_only_one_worker_has_is_kept_and_empty_ones_part_nothing() -> None:
    first = b"# HELP a x\n# TYPE a gauge\n# HELP b y\n# TYPE b counter\nb 1\n"
    second = b'# HELP a x\n# TYPE a gauge\na{l="}"} 2\n# HELP c z\n# TYPE c gauge\nc 3\n'
    assert merged({"0": first, "1": second}) == (
        b'# HELP a x\n# TYPE a gauge\na{worker="1",l="}"} 2\n'
        b'# HELP b y\n# TYPE b counter\nb{worker="0"} 1\n'
        b'# HELP c z\n# TYPE c gauge\nc{worker="1"} 3\n'
    )
    assert merged({}) == b""


@pytest.mark.parametrize(("form", "end"), [("text", b""), ("openmetrics", b"# EOF\n")])
def test_what_the_parent_itself_tells_comes_last_and_has_no_worker(form: Format, end: bytes) -> None:
    own = b"# HELP z x\n# TYPE z gauge\nz 1\n"
    page = exposed("flows", 3, form)
    assert merged({"0": page}, own + end) == merged({"0": page}).removesuffix(end) + own + end
    assert merged({}, own + end) == own + end


def test_what_all_know_alike_is_in_the_catalogue_and_counts_nothing() -> None:
    assert {BY_NAME[name].kind for name in ALIKE} == {"gauge"}


def test_each_line_of_a_family_has_its_worker_however_it_is_named() -> None:
    histogram = b'# TYPE h histogram\nh_bucket{le="1"} 1\nh_bucket{le="+Inf"} 2\nh_sum 3\nh_count 2\n'
    counter = b'# TYPE c counter\nc_total{x="\\nc_total{"} 1\nc_total{x="c_total 1"} 1\n'
    unknown = b"# TYPE u untyped\nu 1\n"
    text = merged({"0": histogram + counter + unknown})
    assert text == (
        b'# TYPE h histogram\nh_bucket{worker="0",le="1"} 1\nh_bucket{worker="0",le="+Inf"} 2\n'
        b'h_sum{worker="0"} 3\nh_count{worker="0"} 2\n'
        b'# TYPE c counter\nc_total{worker="0",x="\\nc_total{"} 1\nc_total{worker="0",x="c_total 1"} 1\n'
        b'# TYPE u untyped\nu{worker="0"} 1\n'
    )


def lines_of(name: str, rows: int) -> bytes:
    return b"".join(f'{name}{{node="n{row}"}} {row}\n'.encode() for row in range(rows))


def family(name: str, rows: int) -> bytes:
    return f"# TYPE {name} gauge\n".encode() + lines_of(name, rows)


def test_long_pages_whose_families_are_not_the_same_ones_are_merged_line_by_line() -> None:
    """Longer than what is unpacked in one go; what only the second has lies behind where that is by then."""
    first = family("a", 9_000) + family("c", 9_000)
    second = family("a", 1) + family("b", 9_000) + family("c", 9_000) + family("d", 9_000)
    text = merged({"0": first, "1": second})
    lines = text.splitlines()
    assert [line for line in lines if line.startswith(b"#")] == [
        f"# TYPE {name} gauge".encode() for name in ("a", "c", "b", "d")
    ]
    for worker, given in (("0", first), ("1", second)):
        mark = f'worker="{worker}",'.encode()
        own = [line.replace(mark, b"") for line in lines if mark in line]
        assert sorted(own) == sorted(line for line in given.splitlines() if not line.startswith(b"#"))


def test_no_more_than_some_lines_of_any_page_are_held_at_a_time() -> None:
    page = Page.of(gzip.compress(family("a", 300_000)))
    sizes = [len(part) for part in parts({str(worker): page for worker in range(2)})]
    assert max(sizes) < 2 * AT_ONCE
    assert sum(sizes) > 20 * AT_ONCE
    tracemalloc.start()
    try:
        assert sum(len(part) for part in parts({str(worker): page for worker in range(2)})) == sum(sizes)
        assert tracemalloc.get_traced_memory()[1] < page.length / 2
    finally:
        tracemalloc.stop()
