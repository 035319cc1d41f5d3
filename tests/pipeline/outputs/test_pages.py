"""Pages are one gzip member of pieces, and pieces that are as they were are not compressed anew."""

from __future__ import annotations

import gzip
import subprocess
import zlib
from dataclasses import replace

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.aggregate.samples import Samples
from pipeline.catalog import Metric
from pipeline.outputs.exposition import PIECE_LINES, Piece, Renderer
from pipeline.outputs.pages import PageMaker
from tests.pipeline.outputs.every_metric import one_of_each

ROWS = 2 * PIECE_LINES + 1
LONG = Metric("flowatlas_long_bytes_total", "counter", "bytes", ("node",), "Many series.")
SPREAD = Metric("flowatlas_long_seconds", "histogram", "seconds", ("node",), "A spread.", buckets=(0.5,))


def samples(rows: int = ROWS, step: int = 1) -> Samples:
    names = pl.Series("node", [f'node-{row}"' for row in range(rows)])
    return Samples(LONG, names.to_frame(), pl.Series(range(0, rows * step, step), dtype=pl.UInt64))


def spread(rows: int) -> Samples:
    counts = {bound: pl.Series(bound, range(rows), dtype=pl.UInt64) for bound in SPREAD.le}
    sums = pl.Series("sum", [0.5 * row for row in range(rows)])
    names = pl.Series("node", [f"n{row}" for row in range(rows)])
    return Samples(SPREAD, names.to_frame(), pl.DataFrame([*counts.values(), sums]).to_struct("value"))


@given(st.lists(st.binary(max_size=300), max_size=8))
def test_a_page_is_the_parts_one_after_the_other(parts: list[bytes]) -> None:
    page = PageMaker().page(parts)
    assert gzip.decompress(page.gzipped) == page.text() == b"".join(page.pieces()) == b"".join(parts)
    assert page.length == len(page.text())


def test_a_page_is_one_member_that_others_read_too() -> None:
    """Not every client goes on to a second member."""
    renderer = Renderer()
    metrics = [*one_of_each(), samples(), spread(PIECE_LINES)]
    page = PageMaker().page(renderer.parts(metrics, "openmetrics"))
    reader = zlib.decompressobj(16 + zlib.MAX_WBITS)
    assert reader.decompress(page.gzipped) == renderer.render(metrics, "openmetrics")
    assert reader.eof
    assert reader.unused_data == b""
    subprocess.run(["gzip", "--test"], input=page.gzipped, check=True)


def test_a_long_text_is_unpacked_some_at_a_time() -> None:
    page = PageMaker().page([bytes(3_000_000), b"end"])
    pieces = list(page.pieces())
    assert b"".join(pieces) == page.text()
    assert max(map(len, pieces)) <= 64 * 1024


def test_long_families_come_in_pieces_and_read_as_a_whole() -> None:
    parts = list(Renderer().parts([samples(), spread(PIECE_LINES)]))
    assert sum(isinstance(part, Piece) for part in parts) == 3 + 4
    lines = b"".join(part.text() if isinstance(part, Piece) else part for part in parts).decode().splitlines()
    wanted = [f'flowatlas_long_bytes_total{{node="node-{row}\\""}} {row}' for row in range(ROWS)]
    for row in range(PIECE_LINES):
        name, labels = "flowatlas_long_seconds", f'node="n{row}"'
        wanted += [f'{name}_bucket{{{labels},le="{bound}"}} {row}' for bound in ("0.5", "+Inf")]
        wanted += [f"{name}_sum{{{labels}}} {0.5 * row}", f"{name}_count{{{labels}}} {row}"]
    assert [line for line in lines if not line.startswith("#")] == wanted


def test_only_pieces_that_differ_are_compressed_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    real = zlib.compressobj

    def compressobj(*options: int) -> object:
        made.append(1)
        return real(*options)  # type: ignore[arg-type] # numbers all

    monkeypatch.setattr(zlib, "compressobj", compressobj)
    renderer, maker, first = Renderer(), PageMaker(), samples()
    maker.page(renderer.parts([first]))
    assert len(made) == 1 + 3 + 1  # what is before and after the family, too
    made.clear()
    values = first.values.clone()
    values[PIECE_LINES] += 1  # of the second piece
    second = replace(first, values=values)
    page = maker.page(renderer.parts([second], "openmetrics"))
    assert len(made) == 1 + 1 + 1
    assert page.text() == Renderer().render([second], "openmetrics")
    made.clear()
    page = maker.page(renderer.parts([samples()]))  # other series, alike as they are
    assert len(made) == 1 + 3 + 1
    assert page.text() == Renderer().render([first])
