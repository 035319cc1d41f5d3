"""No name that is logged can forge a line or speak to a terminal."""

from __future__ import annotations

import io
import logging
import sys

import pytest

from pipeline.cli.logs import LineFormatter, start_log


def logged(message: str, *values: object, error: BaseException | None = None) -> str:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(LineFormatter("%(levelname)s %(name)s: %(message)s"))
    log = logging.Logger("test")
    log.addHandler(handler)
    log.warning(message, *values, exc_info=error)
    return stream.getvalue()


def test_a_message_is_one_line() -> None:
    for name in ("a\nERROR pipeline: forged", "a\r\nforged", "a\u2028b", "a\x85b", "a\0b", "\x1b[2J", "\x9b2J"):
        line = logged("%s is no name", name)
        assert line.count("\n") == 1
        assert line.startswith("WARNING test: ")
        assert not set("\r\0\x1b\x85\x9b\u2028") & set(line)


def test_what_the_historys_client_draws_in_colours_over_lines_is_plain_words() -> None:
    drawn = "Generic LocalFileSystem error\n          \x1b[31m↳\x1b[0m Unable to copy data\n"
    assert logged("lake: %s", drawn) == "WARNING test: lake: Generic LocalFileSystem error ↳ Unable to copy data\n"


@pytest.mark.parametrize(
    ("level", "is_service", "told"), [("info", True, True), ("info", False, False), ("debug", False, True)]
)
def test_what_answers_a_question_says_once_what_kafkas_client_says_for_seconds(
    monkeypatch: pytest.MonkeyPatch, level: str, is_service: bool, told: bool
) -> None:
    root = logging.Logger("root")
    monkeypatch.setattr(logging, "root", root)
    monkeypatch.setattr(sys, "stderr", stream := io.StringIO())
    start_log(level, is_service=is_service)
    (handler,) = root.handlers
    for name in ("kafka.net.manager", "pipeline.engine"):
        record = logging.LogRecord(name, logging.ERROR, "", 0, "gone", None, None)
        handler.handle(record)
    assert ("kafka.net.manager" in stream.getvalue()) is told
    assert "pipeline.engine: gone" in stream.getvalue()


@pytest.mark.parametrize(
    ("name", "told"), [("kafka.cluster", False), ("kafka.coordinator", True), ("pipeline.engine", True)]
)
def test_a_service_leaves_out_what_kafkas_client_says_while_all_is_well(
    monkeypatch: pytest.MonkeyPatch, name: str, told: bool
) -> None:
    """Else an hour of it stands between who reads the last 200 lines and the last that mattered."""
    root = logging.Logger("root")
    monkeypatch.setattr(logging, "root", root)
    monkeypatch.setattr(sys, "stderr", stream := io.StringIO())
    start_log("info", is_service=True)
    (handler,) = root.handlers
    handler.handle(logging.LogRecord(name, logging.INFO, "", 0, "Updated metadata", None, None))
    assert bool(stream.getvalue()) is told


def test_a_traceback_keeps_its_lines() -> None:
    try:
        raise ValueError("why")
    except ValueError as error:
        lines = logged("failed: %s", "a\nb", error=error).splitlines()
    assert lines[0] == "WARNING test: failed: a b"
    assert lines[-1] == "ValueError: why"
    assert len(lines) > 3
