"""Arguments that several sub-commands have alike."""

from __future__ import annotations

import argparse


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
