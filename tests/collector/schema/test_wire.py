"""The form in which columns travel: its size, and that rows may lie in any order."""

from __future__ import annotations

import numpy as np

from collector.schema import COUNTERS, FLOWS, TABLES, encode, filled, ordered
from collector.schema.wire import wire_form
from collector.text import Text

ROWS = 2_000


def test_every_wire_column_is_there_in_its_type() -> None:
    for table in TABLES.values():
        names = {name: Text.of(["b", "", "b"]) for name in table.repeated}
        wired = wire_form(table, filled(table, {"time": np.array([1, 2, 3]), **names}))
        assert list(wired) == list(table.wire_columns(2))
        for name in table.repeated:
            assert list(wired[name]) == ["b", "", ""]
            assert np.asarray(wired[f"{name}_row"]).tolist() == [0, 1, 0]


def test_a_table_of_the_first_version_travels_as_it_is() -> None:
    assert list(FLOWS.wire_columns(1)) == list(FLOWS.columns_of(1))
    assert "start" not in COUNTERS.relative


def test_what_nat_leaves_alone_and_what_is_young_is_small() -> None:
    known = {
        "time": np.array([5_000_000_000, 5_000_000_000]),
        "start": np.array([4_999_998_000, 5_000_000_000]),
        "dst_port": np.array([80, 80], np.uint16),
        "backend_port": np.array([80, 81], np.uint16),
    }
    wired = wire_form(FLOWS, filled(FLOWS, known))
    assert np.asarray(wired["backend_port"]).tolist() == [0, 2**16 - 1]
    assert np.asarray(wired["start"]).tobytes()[:2] == bytes([2, 0])  # the lowest bytes of both ages


def test_rows_are_put_in_order_whole() -> None:
    rng = np.random.default_rng(1)
    names = [f"n{i}" for i in range(ROWS)]
    columns = filled(FLOWS, {"time": np.arange(ROWS), "dst_lo": rng.integers(0, 9, ROWS, np.uint64), "path": names})
    after = ordered(FLOWS, columns)
    assert np.all(np.diff(np.asarray(after["dst_lo"]).astype(np.int64)) >= 0)
    assert list(after["path"]) == [f"n{i}" for i in np.asarray(after["time"])]
    assert sorted(after["path"]) == sorted(names)


def test_connections_of_a_few_services_take_few_bytes() -> None:
    """What is random in them, of which nothing can be left out, is 9 of the bytes."""
    rng = np.random.default_rng(1)
    address = np.uint64(0xFFFF_0A00_0000)
    dst = address + rng.integers(0, 50, ROWS, np.uint64)
    src = address + rng.integers(256, 400, ROWS, np.uint64)
    port = rng.integers(32768, 60999, ROWS, np.uint16)
    now = 1_764_086_056_123_456_789
    columns = {
        "time": np.full(ROWS, now),
        "start": now - rng.integers(0, 5 * 10**9, ROWS),
        "flow_id": np.uint64(now) + rng.permutation(ROWS).astype(np.uint64),
        "packets": rng.integers(1, 200, ROWS, np.uint64),
        "bytes": rng.integers(100, 20_000, ROWS, np.uint64),
        **dict.fromkeys(("src_lo", "nat_src_lo"), src),
        **dict.fromkeys(("dst_lo", "backend_lo"), dst),
        **dict.fromkeys(("src_port", "nat_src_port"), port),
    }
    assert len(encode(FLOWS, ordered(FLOWS, filled(FLOWS, columns)))) < 16 * ROWS
