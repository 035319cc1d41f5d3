"""A flood or a scan: memory is bounded, and every connection and packet of it is told all the same."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from collector.ebpf import tracking
from collector.ebpf.lifetimes import SECOND_NS
from collector.ebpf.sightings import sight
from collector.ebpf.tracking import Connections
from collector.schema import OUTCOMES
from tests.collector.ebpf.kernel_model import TCP, UDP, UPLINK, Connection, Kernel

S = SECOND_NS
WALL = 1_700_000_000 * S
SERVER = (2, 8080)
A_SECOND, SECONDS = 50, 40


@pytest.mark.parametrize(("protocol", "script"), [(TCP, ">S"), (UDP, ">")])
def test_what_nobody_answers_is_told_in_full_and_remembered_in_bounds(
    protocol: int, script: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "MOST_UNANSWERED", 100)
    connections = Connections()
    told: Counter[str] = Counter()
    rows_of_long: list[dict[str, Any]] = []
    largest = 0
    answered = Connection((1, 500), SERVER, SERVER, S, ">S <SA >A")
    for second in range(1, SECONDS):
        kernel = Kernel()
        for number in range(A_SECOND):
            client = (3, 1000 + second * A_SECOND + number)
            for packet in Connection(client, SERVER, SERVER, second * S, script, protocol=protocol, hops=1).packets():
                kernel.see(packet)
        if second == 1:
            for packet in answered.packets():
                kernel.see(packet)
        for packet in Connection((1, 600), SERVER, SERVER, second * S, ">", protocol=UDP, hops=1).packets():
            kernel.see(packet)  # as a pod that sends what owes no answer
        rows = connections.update(sight(*kernel.take(), {UPLINK}, connections.holds), second * S + S // 2, WALL)
        largest = max(largest, len(connections))
        for row in zip(*(rows[name].tolist() for name in ("src_port", "outcome", *tracking.ROW)), strict=True):
            record = dict(zip(("src_port", "outcome", *tracking.ROW), row, strict=True))
            if record["src_port"] in (500, 600):
                rows_of_long.append(record)
                continue
            for name in ("opened", "closed", "packets"):
                told[name] += record[name]
            told[OUTCOMES[record["outcome"]]] += 1
    sent = A_SECOND * (SECONDS - 1)
    assert (told["opened"], told["packets"]) == (sent, sent)
    assert sent - 5 * A_SECOND - 100 <= told["closed"] <= sent
    assert told["no_reply"] >= told["closed"]
    assert largest <= 2 + 100 + 6 * A_SECOND, "of some seconds all are remembered, for an answer may come"
    assert connections.cut == told["closed"] > 0
    assert {row["src_port"]: row["closed"] for row in rows_of_long} == {500: 0, 600: 0}
    assert sum(row["opened"] for row in rows_of_long) == 2
