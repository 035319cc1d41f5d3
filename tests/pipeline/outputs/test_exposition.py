"""The exposition text is legal, exact and safe against any label text."""

from __future__ import annotations

import math
import shutil
import subprocess

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families

from pipeline.aggregate.samples import Samples, samples_of
from pipeline.catalog import METRICS, Metric
from pipeline.outputs.exposition import Renderer
from tests.pipeline.outputs.every_metric import one_of_each

PAIR = Metric("flowatlas_example_bytes_total", "counter", "bytes", ("source", "target"), 'A "help" with \\ and\nline.')
PLAIN = Metric("flowatlas_example_series", "gauge", "", (), "No labels.")
TIME = Metric("flowatlas_example_timestamp_seconds", "gauge", "seconds", ("node",), "A time.")
SPREAD = Metric("flowatlas_example_seconds", "histogram", "seconds", ("node",), "A spread.", buckets=(0.5,))

HOSTILE = ['"', "\\", "\n", "\r", "\0", "\u2028", '"} 1\nevil', "\\n", '\\"', "a\\", "", "é😀", "\x85\x1b[2J", "\t"]


def parsed(text: bytes) -> dict[str, dict[tuple[str, ...], float]]:
    return {
        family.name: {tuple(sample.labels.values()): sample.value for sample in family.samples}
        for family in text_string_to_metric_families(text.decode())
    }


def test_one_metric_in_full() -> None:
    """The exact bytes of a small exposition."""
    text = Renderer().render(
        [samples_of(PAIR, {("a", "b"): 7, ("a", 'x"\\\n'): 2**64 - 1}), samples_of(PLAIN, {(): 3})]
    )
    assert text.decode() == (
        '# HELP flowatlas_example_bytes_total A "help" with \\\\ and\\nline.\n'
        "# TYPE flowatlas_example_bytes_total counter\n"
        'flowatlas_example_bytes_total{source="a",target="b"} 7\n'
        'flowatlas_example_bytes_total{source="a",target="x\\"\\\\\\n"} 18446744073709551615\n'
        "# HELP flowatlas_example_series No labels.\n"
        "# TYPE flowatlas_example_series gauge\n"
        "flowatlas_example_series 3\n"
    )


def test_one_metric_in_full_as_openmetrics() -> None:
    text = Renderer().render([samples_of(PAIR, {("a", 'x"\\\n'): 7}), samples_of(PLAIN, {(): 3})], "openmetrics")
    assert text.decode() == (
        "# TYPE flowatlas_example_bytes counter\n"
        '# HELP flowatlas_example_bytes A \\"help\\" with \\\\ and\\nline.\n'
        'flowatlas_example_bytes_total{source="a",target="x\\"\\\\\\n"} 7\n'
        "# TYPE flowatlas_example_series gauge\n"
        "# HELP flowatlas_example_series No labels.\n"
        "flowatlas_example_series 3\n"
        "# EOF\n"
    )


def test_the_whole_catalogue_is_legal_openmetrics() -> None:
    """A foreign parser, strict on names, types and order, finds each family once and every series in it."""
    text = Renderer().render(one_of_each(), "openmetrics").decode()
    families = list(openmetrics_families(text))  # type: ignore[no-untyped-call]
    kinds = {family.name: family.type for family in families}
    assert len(kinds) == len(families) == len(METRICS)
    for metric in METRICS:
        name = metric.name.removesuffix("_total") if metric.kind == "counter" else metric.name
        assert kinds[name] == ("unknown" if metric.kind == "untyped" else metric.kind)
    names = {sample.name for family in families for sample in family.samples}
    assert names == {name for metric in METRICS for name in metric.series}


label_text = st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from(HOSTILE)


@settings(deadline=None)  # a shared machine may pause
@given(st.dictionaries(st.tuples(label_text, label_text), st.integers(0, 2**53), min_size=1, max_size=30))
def test_any_label_text_reads_back_equal(values: dict[tuple[str, ...], int]) -> None:
    """A foreign parser finds exactly the series that were given, with their text and values."""
    text = Renderer().render([samples_of(PAIR, dict(values))])
    assert parsed(text) == {"flowatlas_example_bytes": values}


@settings(deadline=None)  # a shared machine may pause
@given(st.floats(allow_nan=False))
def test_any_float_reads_back_equal(value: float) -> None:
    """A float keeps its value to the last bit, infinities included."""
    text = Renderer().render([samples_of(TIME, {("n",): value})])
    assert parsed(text)["flowatlas_example_timestamp_seconds"] == {("n",): value}


def test_not_a_number_is_written_as_the_format_wants() -> None:
    text = Renderer().render([samples_of(TIME, {("n",): math.nan})])
    assert text.endswith(b'{node="n"} NaN\n')


def test_a_lone_surrogate_is_shown_as_a_question_mark() -> None:
    """Python text that is no Unicode cannot be sent; it must not stop a scrape either."""
    assert b'{node="bad?"} 1.0\n' in Renderer().render([samples_of(TIME, {("bad\ud800",): 1.0})])


def test_a_metric_without_series_is_left_out() -> None:
    assert Renderer().render([samples_of(PAIR, {})]) == b""


def test_values_move_on_under_cached_labels_and_new_labels_replace_them() -> None:
    """Prefixes are kept for the same label frame alone."""
    renderer = Renderer()
    labels = pl.DataFrame({"source": ["a"], "target": ["b"]})
    for value in (1, 2):
        text = renderer.render([Samples(PAIR, labels, pl.Series([value], dtype=pl.UInt64))])
        assert parsed(text)["flowatlas_example_bytes"] == {("a", "b"): value}
    other = pl.DataFrame({"source": ["c"], "target": ["d"]})
    text = renderer.render([Samples(PAIR, other, pl.Series([3], dtype=pl.UInt64))])
    assert parsed(text)["flowatlas_example_bytes"] == {("c", "d"): 3}


def test_samples_must_have_the_catalogues_labels() -> None:
    with pytest.raises(ValueError, match="labels"):
        Samples(PAIR, pl.DataFrame({"target": ["b"], "source": ["a"]}), pl.Series([1]))


@pytest.mark.prometheus
def test_promtool_accepts_hostile_labels() -> None:
    """Prometheus's own parser and linter have nothing to say."""
    promtool = shutil.which("promtool")
    assert promtool is not None
    values: dict[tuple[str, ...], int] = {
        (a, b): i for i, (a, b) in enumerate((a, b) for a in HOSTILE for b in HOSTILE)
    }
    fields = pl.DataFrame({"0.5": [1, 0], "+Inf": [1, 2], "sum": [0.25, 7.0]})
    spread = Samples(SPREAD, pl.DataFrame({"node": ["n", '"\\\n']}), fields.to_struct("value"))
    simple = (samples_of(PLAIN, {(): 1}), samples_of(TIME, {("n",): 1e20}))
    text = Renderer().render([samples_of(PAIR, values), *simple, spread])
    done = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
