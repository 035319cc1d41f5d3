"""Arguments that several sub-commands have alike: each is declared here once, and said in one way in every help."""

from __future__ import annotations

import argparse
import re
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from .following import DEFAULT_SERVER

_AGO: Final = re.compile(r"(\d+)([smhdw])\Z")
_SHOWN: Final = "%Y-%m-%dT%H:%M:%S"
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


def add_since(command: argparse._ActionsContainer, default: str = "", of: str = "of the lake: ") -> None:
    """`--since`: the begin of the part of a record that counts; `default` says which is without it."""
    told = f" (default: {default})" if default else ""
    command.add_argument(
        "--since",
        action=_Moment,
        type=moment,
        metavar="WHEN",
        help=f"{of}10m, 2h, 7d, ... ago, or a time, in UTC unless it names an offset{told}",
    )


def add_until(command: argparse._ActionsContainer, told: str = "the same for the end") -> None:
    """`--until`: its end."""
    command.add_argument("--until", action=_Moment, type=moment, metavar="WHEN", help=told)


class _Moment(argparse.Action):
    """A begin or an end of a record. The parser refuses an end that is not after its begin: nothing would be asked."""

    def __call__(
        self, parser: Any, namespace: argparse.Namespace, value: datetime | Any, option: str | None = None
    ) -> None:
        setattr(namespace, self.dest, value)
        since, until = namespace.since, getattr(namespace, "until", None)  # doctor asks up to now
        if since is not None and until is not None and since >= until:
            raise argparse.ArgumentError(self, f"--since {since:{_SHOWN}} is not before --until {until:{_SHOWN}} UTC")


def moment(text: str) -> datetime:
    """A time as written, or a span before now. Raises ArgumentTypeError that says what is wanted."""
    try:
        if match := _AGO.match(text):
            return datetime.now(UTC) - timedelta(**{_UNITS[match[2]]: int(match[1])})
        parsed = datetime.fromisoformat(text)
        return parsed.astimezone(UTC) if parsed.tzinfo else parsed.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no time: neither a span before now (10m, 2h, 7d) nor a time like 2026-11-25T13:00"
        ) from None


def count(text: str) -> int:
    """A number of rows. Raises ArgumentTypeError where it is none, or none at all."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 on")
    return int(text)
