"""Heads are told on all rows of a connection that follow them, of open connections, and within bounds."""

from __future__ import annotations

from typing import Any

import polars as pl

from pipeline.attribution.heads import Heads

SCHEMA = {
    "node": pl.Categorical(),
    "flow_id": pl.UInt64(),
    "opened": pl.UInt8(),
    "closed": pl.UInt8(),
    "app_protocol": pl.UInt8(),
    "server_name": pl.String(),
    "method": pl.String(),
    "path": pl.String(),
    "bytes": pl.UInt64(),
}


def row(number: int, name: str = "", node: str = "n1", **more: Any) -> dict[str, Any]:
    told = {"app_protocol": 2, "server_name": name, "method": "GET", "path": f"/{name}"} if name else {}
    blank = {"opened": 0, "closed": 0, "app_protocol": 0, "server_name": "", "method": "", "path": "", "bytes": 7}
    return {"node": node, "flow_id": number, **blank, **told, **more}


def frame(*rows: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=SCHEMA)


def names(flows: pl.DataFrame) -> list[str]:
    return flows["server_name"].to_list()


def test_later_rows_of_a_connection_have_its_head() -> None:
    heads = Heads()
    first = frame(row(1, "a", opened=1), row(2, opened=1))
    assert heads.fill(first).equals(first)
    later = heads.fill(frame(row(2), row(1), row(1, node="n2")))
    assert names(later) == ["", "a", ""]
    assert later.row(1, named=True) == row(1) | {"server_name": "a", "method": "GET", "path": "/a"}
    assert later.schema == first.schema


def test_within_a_batch_the_newest_head_before_a_row_counts() -> None:
    rows = (row(1, opened=1), row(1), row(1, "a"), row(1), row(1, "b"), row(1))
    heads = Heads()
    given = frame(*rows)
    assert names(heads.fill(given)) == ["", "", "a", "a", "b", "b"]
    assert given.equals(frame(*rows)), "what came is left as it was"
    assert names(heads.fill(frame(row(1)))) == ["b"]


def test_a_head_without_a_name_takes_none_away() -> None:
    heads = Heads()
    heads.fill(frame(row(1, "a", opened=1)))
    assert names(heads.fill(frame(row(1, app_protocol=3), row(1)))) == ["a", "a"]


def test_a_closed_connection_is_forgotten() -> None:
    heads = Heads()
    heads.fill(frame(row(1, "a", opened=1), row(2, "b", opened=1, closed=1)))
    assert len(heads) == 1
    assert names(heads.fill(frame(row(1, closed=1)))) == ["a"]
    assert len(heads) == 0
    assert names(heads.fill(frame(row(1)))) == [""]


def test_beyond_the_bound_the_oldest_heads_are_forgotten() -> None:
    heads = Heads(max_connections=2)
    heads.fill(frame(row(1, "a"), row(2, "b")))
    heads.fill(frame(row(1, "c"), row(3, "d")))
    assert len(heads) == 2
    assert names(heads.fill(frame(row(1), row(2), row(3)))) == ["c", "", "d"]


def test_of_a_connection_with_several_heads_the_newest_alone_counts_against_the_bound() -> None:
    heads = Heads(max_connections=2)
    heads.fill(frame(row(1, "a"), row(2, "b"), row(2, "c"), row(2, "d")))
    assert names(heads.fill(frame(row(1), row(2)))) == ["a", "d"]


def test_many_polls_leave_what_is_open_and_no_more() -> None:
    """Most of what comes closes again, or tells nothing; what stays is told after a restart as well."""
    heads = Heads(max_connections=40)
    for number in range(100, 300):
        tells_nothing = [row(10_000 + 100 * number + place) for place in range(50 * (number % 2))]
        heads.fill(frame(row(number, f"n{number}", opened=1), row(number - 30, closed=1), *tells_nothing))
    assert len(heads) == 30
    again = Heads(max_connections=40)
    assert again.restore(heads.state()) == 0
    asked = frame(*(row(number) for number in range(260, 301)))
    wanted = [f"n{number}" if 270 <= number < 300 else "" for number in range(260, 301)]
    assert names(heads.fill(asked)) == wanted
    assert names(again.fill(asked)) == wanted
    assert heads.state()["known"].height == 30


def test_where_no_head_is_known_the_rows_are_left_alone() -> None:
    plain = frame(row(1, opened=1), row(1))
    assert Heads().fill(plain) is plain
