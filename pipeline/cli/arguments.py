"""Arguments that several sub-commands have alike: each is declared here once, and said in one way in every help."""

from __future__ import annotations

import argparse
import re
from datetime import UTC, datetime, timedelta
from typing import Final

from .following import DEFAULT_SERVER

_AGO: Final = re.compile(r"(\d+)([smhdw])\Z")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def add_output(command: argparse.ArgumentParser, *formats: str) -> None:
    """`-o`: the format of rows, as `output.write` takes it; table, json, jsonl, csv and those given."""
    choices = ("table", "json", "jsonl", "csv", *formats)
    command.add_argument(
        "-o",
        "--output",
        choices=choices,
        metavar="FORMAT",
        help=f"{', '.join(choices[:-1])} or {choices[-1]} (default: table on a terminal, jsonl when piped)",
    )


def add_findings_output(command: argparse.ArgumentParser) -> None:
    """`-o` of what is text for a person, or JSON."""
    command.add_argument("-o", "--output", choices=("table", "json"), default="table", help="default: %(default)s")


def add_server(command: argparse._ActionsContainer) -> None:
    """`--server`: the pipeline that is asked."""
    command.add_argument(
        "--server", default=DEFAULT_SERVER, metavar="URL", help="a running pipeline (default: %(default)s)"
    )


def add_lake(command: argparse._ActionsContainer, *, required: bool = False) -> None:
    """`--lake`: the history."""
    command.add_argument(
        "--lake", required=required, metavar="PLACE", help="the flow history: a folder, or s3://BUCKET/PREFIX"
    )


def add_since(command: argparse._ActionsContainer, default: str = "") -> None:
    """`--since`: the begin of the part of the history that counts; `default` says which is without it."""
    told = f" (default: {default})" if default else ""
    command.add_argument(
        "--since", type=moment, metavar="WHEN", help=f"of the lake: 10m, 2h, 7d, ... ago, or a time{told}"
    )


def add_until(command: argparse._ActionsContainer) -> None:
    """`--until`: its end."""
    command.add_argument("--until", type=moment, metavar="WHEN", help="the same for the end")


def moment(text: str) -> datetime:
    """A time as written, or a span before now. Raises ArgumentTypeError that says what is wanted."""
    try:
        if match := _AGO.match(text):
            return datetime.now(UTC) - timedelta(**{_UNITS[match[2]]: int(match[1])})
        parsed = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no time: neither a span before now (10m, 2h, 7d) nor a time like 2026-11-25T13:00"
        ) from None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
