"""The live tail: listeners hear what is made while they listen, in order, and are told what they missed."""

from __future__ import annotations

import io
import json
import threading
import time
from http import HTTPStatus
from urllib.parse import urlencode

import polars as pl
import pytest

from pipeline.outputs import live
from pipeline.outputs.history import HISTORY
from pipeline.outputs.live import MISSED_HEADER, NEXT_HEADER, LiveTail
from tests.pipeline.test_flowfilter import rows

EVERY = pl.lit(value=True)


def numbered(first: int, count: int) -> pl.DataFrame:
    return rows(*({"flow_id": first + i, "node": "even" if (first + i) % 2 == 0 else "odd"} for i in range(count)))


def test_nothing_is_wanted_until_somebody_listens_and_again_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    tail = LiveTail()
    wanted = [tail.is_wanted]
    tail.after(None, EVERY, patience_s=0)
    wanted.append(tail.is_wanted)
    later = time.monotonic() + live.WANTED_SECONDS + 1
    monkeypatch.setattr(time, "monotonic", lambda: later)
    wanted.append(tail.is_wanted)
    assert wanted == [False, True, False]


def test_a_listener_hears_everything_from_its_first_question_on() -> None:
    tail = LiveTail()
    tail.add(numbered(0, 3))
    at = tail.after(None, EVERY, patience_s=0)
    assert (at.rows.height, at.next, at.missed) == (0, 3, 0)
    tail.add(numbered(3, 2))
    tail.add(numbered(5, 2))
    heard = tail.after(at.next, pl.col("node") == "odd", patience_s=0)
    assert (heard.rows["flow_id"].to_list(), heard.next, heard.missed) == ([3, 5], 7, 0)
    assert tail.after(heard.next, EVERY, patience_s=0).rows.height == 0


def test_who_falls_behind_is_told_how_far(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "MOST_ROWS", 10)
    monkeypatch.setattr(live, "ANSWER_ROWS", 4)
    tail = LiveTail()
    for first in range(0, 20, 5):
        tail.add(numbered(first, 5))
    heard = tail.after(2, EVERY, patience_s=0)
    assert heard.rows["flow_id"].to_list() == [16, 17, 18, 19]
    assert heard.missed == 8 + 6  # gone from memory, and beyond one answer
    assert heard.next == 20


def test_a_question_waits_for_rows() -> None:
    tail = LiveTail()
    position = tail.after(None, EVERY, patience_s=0).next
    timer = threading.Timer(0.1, lambda: tail.add(numbered(0, 1)))
    timer.start()
    began = time.monotonic()
    heard = tail.after(position, EVERY, patience_s=30)
    timer.join()
    assert heard.rows.height == 1
    assert time.monotonic() - began < 20


def test_an_answer_is_a_stream_of_the_history() -> None:
    tail = LiveTail()
    tail.add(numbered(0, 4))
    query = urlencode({"after": "1", "where": json.dumps([["node", "odd", True]])})
    status, headers, body = tail.answer(query, "127.0.0.1")
    assert status == HTTPStatus.OK
    assert (headers[NEXT_HEADER], headers[MISSED_HEADER]) == ("4", "0")
    heard = pl.read_ipc_stream(io.BytesIO(body))
    assert heard.schema == HISTORY
    assert heard["flow_id"].to_list() == [2]


@pytest.mark.parametrize(
    "query",
    [
        "after=x",
        "after=-1",
        "after=" + "9" * 30,
        "where=no",
        "where=[1]",
        "where=" + "[" * 5000,
        urlencode({"where": json.dumps([["colour", "red", False]])}),
        urlencode({"where": json.dumps([["ip", "nowhere", False]])}),
    ],
)
def test_a_wrong_question_is_refused(query: str) -> None:
    status, _, body = LiveTail().answer(query, "::1")
    assert status == HTTPStatus.BAD_REQUEST
    assert b"wanted" in body or b"condition" in body or b"address" in body


@pytest.mark.parametrize(
    ("by", "is_told"), [("127.0.0.1", True), ("::ffff:127.0.0.1", True), ("::1", True), ("10.0.0.7", False)]
)
def test_flows_are_told_on_the_pipelines_own_machine_unless_they_are_for_all(by: str, is_told: bool) -> None:
    """Through `kubectl port-forward` one asks from the pod's own loopback address, whatever it listens on."""
    query = urlencode({"after": "-1"})  # answered at once
    status, _, body = LiveTail().answer(query, by)
    assert status == (HTTPStatus.BAD_REQUEST if is_told else HTTPStatus.FORBIDDEN)
    assert is_told or b"pipeline.live" in body
    assert LiveTail(to_all=True).answer(query, by)[0] == HTTPStatus.BAD_REQUEST
