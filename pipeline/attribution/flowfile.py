"""Flows from files of people's own: JSON Lines or Parquet, checked row by row.

A row that is no flow is refused with its file, line and key; the others go on in their order.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import msgspec
import polars as pl

from ..errors import ConfigError
from ..inventory.addresses import halves_of
from ..inventory.spans import instant_of

PROTOCOL_NUMBERS: Final = {"ICMP": 1, "TCP": 6, "UDP": 17, "ICMPV6": 58, "SCTP": 132}
"""Protocols by name, in capitals; anything else is written as its IANA number."""

REQUIRED: Final = ("src_ip", "dst_ip", "dst_port", "protocol")
HEAD: Final = ("server_name", "path")
"""What the flow's first request or ClientHello asked for."""
OPTIONAL: Final = ("src_port", "time", "bytes", "packets", *HEAD)

_UNITS: Final = ((1e11, 1_000_000_000), (1e14, 1_000_000), (1e17, 1_000), (9.2e18, 1))
"""Below which number since the epoch a unit is meant, and how many ns it has; seconds go to the year 5138."""

_KEY: Final = re.compile(r"(?P<problem>.*) - at `\$\.?(?P<key>.*)`\Z", re.DOTALL)

_Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]
_Count = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]


class _Flow(msgspec.Struct, gc=False):
    src_ip: str
    dst_ip: str
    dst_port: _Port
    protocol: str | Annotated[int, msgspec.Meta(ge=0, le=255)]
    src_port: _Port | None = None
    time: str | int | float | None = None
    bytes: _Count | None = None
    packets: _Count | None = None
    server_name: str | None = None
    path: str | None = None


@dataclass(frozen=True, slots=True)
class FlowFile:
    """What a file held: `rows` as written, by the keys that occur, and why the others were refused."""

    rows: pl.DataFrame
    problems: tuple[str, ...]


def read(path: Path) -> FlowFile:
    """Read `.parquet` as Parquet and anything else as JSON Lines. Raises ConfigError where the file cannot be read."""
    try:
        frame, problems = _read_parquet(path) if path.suffix == ".parquet" else _read_lines(path)
    except OSError as error:
        raise ConfigError(f"flows: {path}: {error.strerror or error}") from None
    except (UnicodeDecodeError, pl.exceptions.ComputeError) as error:
        raise ConfigError(f"flows: {path}: {error}") from None
    checked = frame.with_columns(
        src=halves_of(frame["src_ip"]).to_struct(),
        dst=halves_of(frame["dst_ip"]).to_struct(),
        number=protocol_numbers(frame["protocol"]),
    )
    flaws = {
        "src_ip": (pl.col("src").struct.field("hi").is_null(), "an IP address"),
        "dst_ip": (pl.col("dst").struct.field("hi").is_null(), "an IP address"),
        "dst_port": (~pl.col("dst_port").is_between(0, 65535).fill_null(value=False), "a port number"),
        "protocol": (pl.col("number").is_null(), "a protocol's name or number"),
    }
    if "time" in frame.columns:
        checked = checked.with_columns(instant=instants(frame["time"]))
        is_no_time = pl.col("time").is_not_null() & pl.col("instant").is_null()
        flaws["time"] = (is_no_time, "a time in RFC 3339 or since the epoch")
    flaw = pl.coalesce(pl.when(is_flaw).then(pl.lit(key)) for key, (is_flaw, _) in flaws.items())
    checked = checked.with_columns(flaw=flaw)
    for row in checked.filter(pl.col("flaw").is_not_null()).iter_rows(named=True):
        key = row["flaw"]
        problems.append((row["line"], f"{key}: {row[key]!r} is not {flaws[key][1]}"))
    present = [key for key in (*REQUIRED, *OPTIONAL) if key in frame.columns]
    rows = checked.filter(pl.col("flaw").is_null()).select(present)
    return FlowFile(rows, tuple(f"{path}: line {line}: {problem}" for line, problem in sorted(problems)))


def protocol_numbers(written: pl.Series) -> pl.Series:
    """IANA numbers (UInt8) of protocols written as names in any case or as numbers; null where they are neither."""
    text = written.cast(pl.String).str.to_uppercase()
    named = text.replace_strict(PROTOCOL_NUMBERS, default=None, return_dtype=pl.UInt8)
    return named.fill_null(text.cast(pl.UInt8, strict=False)).rename("protocol")


def instants(written: pl.Series) -> pl.Series:
    """Instants (Int64, ns since the epoch) of times written as RFC 3339 text, UTC where it names no zone, or as numbers
    since the epoch: in seconds, milliseconds, microseconds or nanoseconds, as their size tells. Null where they are
    neither; each distinct text is parsed once.
    """
    if written.dtype.base_type() in {pl.Date, pl.Datetime}:
        return written.cast(pl.Datetime("ns"), strict=False).cast(pl.Int64).rename("instant")
    frame = pl.DataFrame({"text": written.cast(pl.String)})
    whole, number = (pl.col("text").cast(kind, strict=False) for kind in (pl.Int64, pl.Float64))
    whole = pl.coalesce(whole, number.floor().cast(pl.Int64, strict=False))
    part = number - number.floor()  # a product of the whole number would not be exact
    counted = [
        pl.when(number.abs() < limit).then(whole * factor + (part * factor).round().cast(pl.Int64))
        for limit, factor in _UNITS
    ]
    texts = frame.filter(number.is_null())["text"].drop_nulls().unique()
    told = pl.DataFrame(
        {"text": texts, "told": [instant_of(text) for text in texts]}, {"text": pl.String, "told": pl.Int64}
    )
    joined = frame.join(told, on="text", how="left", maintain_order="left")
    return joined.select(instant=pl.coalesce(*counted, "told"))["instant"]


def _read_lines(path: Path) -> tuple[pl.DataFrame, list[tuple[int, str]]]:
    flows: list[_Flow] = []
    lines: list[int] = []
    problems: list[tuple[int, str]] = []
    decoder = msgspec.json.Decoder(_Flow)
    for number, line in _numbered(path):
        try:
            flows.append(decoder.decode(line))
            lines.append(number)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            match = _KEY.match(str(error))
            problems.append((number, f"{match['key']}: {match['problem']}" if match and match["key"] else str(error)))
    columns = {key: [getattr(flow, key) for flow in flows] for key in (*REQUIRED, *OPTIONAL)}
    series = {key: _column(key, values) for key, values in columns.items()}
    kept = [values for key, values in series.items() if key in REQUIRED or values.null_count() < len(values)]
    return pl.DataFrame([pl.Series("line", lines, dtype=pl.Int64), *kept]), problems


def _column(key: str, values: list[object]) -> pl.Series:
    """One column of what was written; text where some rows write numbers and others text."""
    kinds = {type(value) for value in values if value is not None}
    if str in kinds or key in {"src_ip", "dst_ip"}:
        return pl.Series(key, [None if value is None else str(value) for value in values], dtype=pl.String)
    return pl.Series(key, values, dtype=pl.Float64 if float in kinds else pl.Int64)


def _numbered(path: Path) -> Iterator[tuple[int, bytes]]:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            line = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
            if line.strip():
                yield number, line


def _read_parquet(path: Path) -> tuple[pl.DataFrame, list[tuple[int, str]]]:
    frame = pl.read_parquet(path)
    missing = [key for key in REQUIRED if key not in frame.columns]
    if missing:
        raise ConfigError(f"flows: {path}: no column {', '.join(missing)}")
    present = [key for key in (*REQUIRED, *OPTIONAL) if key in frame.columns]
    whole = frame.select(
        pl.col(key).cast(pl.Int64, strict=False) if key.endswith("_port") else pl.col(key) for key in present
    )
    return whole.with_row_index("line", offset=1).with_columns(pl.col("line").cast(pl.Int64)), []
