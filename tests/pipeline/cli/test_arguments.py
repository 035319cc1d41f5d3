"""Arguments that several commands have alike: times, spans between them, and numbers of rows."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime, timedelta

import pytest

from pipeline.cli.arguments import add_since, add_until, count, moment


def parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_since(parser)
    add_until(parser)
    return parser.parse_args(words)


def test_a_time_is_of_utc_unless_it_names_an_offset() -> None:
    at = datetime(2026, 3, 1, 12, tzinfo=UTC)
    assert moment("2026-03-01T12:00") == moment("2026-03-01T12:00:00Z") == moment("2026-03-01T17:30+05:30") == at


def test_a_span_is_before_now() -> None:
    earlier, span, later = datetime.now(UTC), moment("10m"), datetime.now(UTC)
    assert earlier <= span + timedelta(minutes=10) <= later


@pytest.mark.parametrize("text", ["now", "10", "1h30m", "-5m", "1.5h", "9999999999d", "0001-01-01T00:00+01:00", ""])
def test_what_is_no_time_is_refused_with_what_is_wanted(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=r"is no time: neither a span before now \(10m, 2h, 7d\)"):
        moment(text)


@pytest.mark.parametrize("words", [["--since", "1h", "--until", "2h"], ["--until", "2026-03-01", "--since", "1h"]])
def test_an_end_before_the_begin_is_refused_and_does_not_pass_for_an_empty_record(words: list[str]) -> None:
    """A gate in CI that asks nothing of a record would always be passed."""
    with pytest.raises(argparse.ArgumentError, match=r"--since 20\S+ is not before --until 20\S+ UTC"):
        parsed(*words)
    assert parsed("--since", "2h", "--until", "1h").since is not None


def test_a_number_of_rows_is_one_at_least() -> None:
    assert count("20") == 20
    for text in ("0", "-1", "x", "1.5", ""):
        with pytest.raises(argparse.ArgumentTypeError, match=f"'{text}' is not a number from 1 on"):
            count(text)
