"""Flows as lines: a table for people, whole rows of the history for programs.

The invariant: what a flow's own text holds (a pod's, a Service's or a DNS name) never reaches a terminal as control
characters.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final, TextIO

import polars as pl

from ..attribution.flowfile import PROTOCOL_NUMBERS
from . import output, terminal
from .terminal import size

_COLUMNS: Final = ("TIME", "FROM", "TO", "SERVICE", "PORT", "VERDICT", "OUTCOME", "SENT", "RECEIVED", "HEAD")
_RIGHT: Final = {"SENT", "RECEIVED"}
_LEAST: Final = {"TIME": 12, "FROM": 24, "TO": 24, "SERVICE": 16, "PORT": 9, "VERDICT": 7, "OUTCOME": 8, "SENT": 8,
                 "RECEIVED": 8, "HEAD": 4}  # fmt: skip
_HEADER_EVERY: Final = 100
_COLOURS: Final = {
    **dict.fromkeys(("denied", "established_denied", "refused", "reset"), terminal.RED),
    **dict.fromkeys(("no_reply", "dropped_allowed"), terminal.AMBER),
    "allowed": terminal.GREEN,
}
_PROTOCOLS: Final = {number: name.lower() for name, number in PROTOCOL_NUMBERS.items()}


def write(rows: pl.DataFrame, form: str | None) -> None:
    """Write a whole record to standard output."""
    chosen = form or ("table" if sys.stdout.isatty() else "jsonl")
    if chosen == "table":
        FlowLines(sys.stdout, chosen, is_dated=True).write(rows)
        if rows.is_empty():
            print("no flow matches", file=sys.stderr)
    else:
        output.write(rows, chosen)


class FlowLines:
    """Flows in parts, as they come. Widths of columns grow and never shrink, so that columns stay in line.

    With `is_dated` a table says of which day each is, as it must of a record.
    """

    def __init__(self, to: TextIO, form: str | None, *, is_dated: bool = False) -> None:
        self._to = to
        self._is_dated = is_dated
        self._form = form or ("table" if to.isatty() else "jsonl")
        self._is_coloured = terminal.is_coloured(to)
        self._widths = dict(_LEAST)
        self._lines = 0

    def write(self, rows: pl.DataFrame) -> None:
        """Write rows of the history and flush."""
        if rows.is_empty():
            return
        if self._form == "jsonl":
            self._to.write(rows.write_ndjson())
        elif self._form == "csv":
            self._to.write(output.csv(rows, include_header=self._lines == 0))
            self._lines += rows.height
        else:
            self._write_table([cells(row, is_dated=self._is_dated) for row in rows.iter_rows(named=True)])
        self._to.flush()

    def _write_table(self, lines: Sequence[Sequence[str]]) -> None:
        grown = False
        for line in lines:
            for name, cell in zip(_COLUMNS, line, strict=True):
                if len(cell) > self._widths[name]:
                    self._widths[name], grown = len(cell), True
        for line in lines:
            if self._lines % _HEADER_EVERY == 0 or grown:
                self._to.write(self._line(_COLUMNS))
                grown = False
            self._to.write(self._line(line))
            self._lines += 1

    def _line(self, line: Sequence[str]) -> str:
        parts = []
        for name, cell in zip(_COLUMNS, line, strict=True):
            width = self._widths[name]
            text = cell.rjust(width) if name in _RIGHT else cell.ljust(width)
            colour = _COLOURS.get(cell) if self._is_coloured else None
            parts.append(f"{colour}{text}{terminal.PLAIN}" if colour else text)
        return "  ".join(parts).rstrip() + "\n"


def cells(row: dict[str, object], *, is_dated: bool) -> list[str]:
    """One row of the history as the cells of the table; times are UTC."""
    time, port = row["time"], row["dst_port"]
    form = "%Y-%m-%d %H:%M:%S.%f" if is_dated else "%H:%M:%S.%f"
    protocol = row["protocol"]
    name = _PROTOCOLS.get(protocol, str(protocol)) if isinstance(protocol, int) else "?"
    service = f"{row['service_namespace']}/{row['service']}" if row["service"] else "-"
    found = (
        f"{time:{form}}"[:-3] if time is not None else "-",
        _end(row, "source", row["src_ip"]),
        _end(row, "destination", row["backend_ip"]),
        service,
        f"{port}/{name}",
        str(row["mismatch"] or row["verdict"] or "-"),
        str(row["outcome"] or "-"),
        size(row["bytes"]),
        size(row["reply_bytes"]),
        _head(row),
    )
    return [terminal.printable(cell) for cell in found]


def _end(row: dict[str, object], side: str, address: object) -> str:
    """A pod by its name, what is beyond the cluster by its DNS name where it had one, and else the address."""
    namespace, name, kind = (row[f"{side}_{field}"] for field in ("namespace", "name", "kind"))
    if side == "destination" and row["dns_name"]:
        return f"{row['dns_name']} ({address})"
    if not name:
        return str(address or "?")
    if namespace:
        return f"{namespace}/{name}"
    return f"{name} ({address})" if kind != "Node" else f"node {name}"


def _head(row: dict[str, object]) -> str:
    """What the connection asked for first: method, host and path of HTTP, or the server's name of TLS."""
    name, method, path = (row.get(field) or "" for field in ("server_name", "method", "path"))
    return " ".join(str(part) for part in (method, f"{name}{path}") if part)
