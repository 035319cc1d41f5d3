"""What headers claim of a batch, read from untrusted bytes: the same the first time and when they are known."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest

from collector.schema import KNOWN_TABLES, OLDEST_VERSION, TABLES, VERSION, Batch, BatchError, BatchName, parse_headers
from collector.schema import batches as module

SOUND = Batch("flows", "node1", 1795679375489434137, 12, 150, 3003480, b"")
NUMBERS = [
    b"0",
    b"7",
    b"-1",
    b"-0",
    b"+7",
    b" 7 ",
    b"7_0",
    b"\xd9\xa3",
    b"",
    b"7.0",
    b"x",
    b"9" * 19,
    b"%d" % 2**63,
    None,
]
NUMBERS += [b"%d" % (2**63 - 1), b"%d" % (2**40 - 1), b"%d" % 2**40, b"0" * 60 + b"7", b"9" * 5_000]
NAMES = [b"node1", b"n" * 253, b"n" * 254, b"Node", b"n\xc3\xa9", b"", b"-a", b"a\n", None]
LABELS = [b"flows", b"counters", b"state", b"nothing", b"FLOWS", b"\xff", None]


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_tracks", {})


def variants() -> Iterator[dict[str, Any]]:
    """Headers with one or two of them changed, or one missing."""
    sound = SOUND.headers()
    choices = {name: NAMES if name == "node" else LABELS if name == "table" else NUMBERS for name in sound}
    for one, other in product(sound, sound):
        for value in choices[one]:
            yield {**sound, one: value}
            yield {**sound, one: value, other: b"?"}
        yield {name: value for name, value in sound.items() if name not in (one, other)}


def read_plainly(headers: dict[str, Any]) -> BatchName | str:
    """What headers claim, or the reason why not."""
    try:
        node, table = headers["node"].decode("ascii"), headers["table"].decode("ascii")
        version, *numbers = (int(headers[name]) for name in ("schema", "epoch", "seq", "rows", "bytes"))
    except (KeyError, TypeError, AttributeError, ValueError):
        return "headers"
    if not module.NODE_NAME.match(node) or not all(0 <= number < 2**63 for number in (version, *numbers)):
        return "headers"
    if numbers[1] >= 2**40:
        return "headers"
    if not OLDEST_VERSION <= version <= VERSION:
        return "schema_version"
    return BatchName(version, table, node, *numbers) if table in TABLES else "table"


def read(headers: dict[str, Any]) -> BatchName | str:
    try:
        return parse_headers(headers)
    except BatchError as error:
        return error.reason


def test_headers_are_read_as_they_are_where_nothing_is_remembered() -> None:
    assert parse_headers(SOUND.headers()) == BatchName(VERSION, "flows", "node1", SOUND.epoch, 12, 150, 3003480)
    outcomes = set()
    for _ in range(2):  # the second time what could be read is known
        for headers in variants():
            expected = read_plainly(headers)
            assert read(headers) == expected, headers
            outcomes.add(expected if isinstance(expected, str) else "sound")
    assert outcomes == {"sound", "headers", "schema_version", "table"}


def test_what_is_known_of_one_reader_is_not_what_another_may_read() -> None:
    headers = {**SOUND.headers(), "table": b"state"}
    assert parse_headers(headers, KNOWN_TABLES).table == "state"
    assert read(headers) == "table"


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MAX_TRACKS", 10)
    for epoch in range(100):
        parse_headers({**SOUND.headers(), "epoch": b"%d" % epoch})
        assert len(module._tracks) <= 10
    assert parse_headers({**SOUND.headers(), "epoch": b"0" * 4_000}).epoch == 0
    assert max(len(part) for track in module._tracks for part in track) < 50
