"""Batches that come twice, in another order, minutes late, or of clocks that are wrong: totals are exact."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest
from msgspec.structs import replace

from collector.schema import parse_headers
from pipeline import intake
from pipeline.bus import Message
from pipeline.engine import Engine
from pipeline.envelope import Opened, open_batch
from pipeline.outputs.publication import Publication
from tests.faults.counts import often
from tests.faults.ledger import Ledger, reconcile, totals
from tests.faults.lives import CLUSTER, Disk, Unhurried, live
from tests.faults.stream import Log, LogReader, disordered
from tests.pipeline.shipments import SECOND

BATCHES = often(100_000, 1_000_000)
PAYLOADS = 64
AGAIN, APART = 0.3, 64
LATE_NS = 15 * 60 * SECOND
HOUR_NS = 3600 * SECOND


def test_a_hundred_thousand_batches_in_disorder_are_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their rows are those of a few, so that making and decoding them costs little; each has a name of its own."""
    known: dict[bytes, Opened] = {}

    def opened_once(one: Message) -> Opened:
        if one.value not in known:
            known[one.value] = open_batch(one)
        return replace(known[one.value], name=parse_headers(one.headers))

    monkeypatch.setattr(intake, "open_batch", opened_once)
    made, ledger, log = Ledger(12, rows=3), Ledger(12, restarts=2 / BATCHES), Log()
    payloads = [made.batch() for _ in range(PAYLOADS)]
    ledger.knows(made)
    chance = random.Random(12)
    batches = (ledger.renamed(chance.choice(payloads)) for _ in range(BATCHES))
    for batch in disordered(batches, chance, AGAIN, APART, delayed=1_000):
        log.put(batch)
    ledger.again = sum(map(len, log.kept.values())) - BATCHES
    publication = Publication()
    config = Unhurried(bus="file:///unused", state=Path("unused"), window_s=60.0)
    assert Engine(config, LogReader(log), lambda _: CLUSTER, publication).drain(timeout_s=3600)
    page = publication.text().decode()
    print(account := reconcile(ledger, page, is_ordered=False))
    assert account.unexplained == {}
    assert ledger.again > 0.29 * BATCHES
    assert totals(page)["flowatlas_pipeline_late_batches_total"] > 0.3 * BATCHES


def test_batches_in_disorder_and_a_quarter_of_an_hour_late_are_in_metrics_and_history_once(tmp_path: Path) -> None:
    """One in a hundred comes so late, over two lives; late rows are counted as such, and like all others."""
    ledger, log, chance = Ledger(13), Log(), random.Random(13)
    began = time.time_ns() - 4 * LATE_NS
    batches = 400
    step = 2 * LATE_NS // batches
    made = (ledger.batch(began + number * step) for number in range(batches))
    for batch in disordered(made, chance, AGAIN, APART, delayed=batches // 2):
        log.put(batch)
    ledger.again = sum(map(len, log.kept.values())) - batches
    whole = {key: messages[:] for key, messages in log.kept.items()}
    for messages in log.kept.values():
        del messages[len(messages) // 2 :]
    disk = Disk(tmp_path, ledger, left=0, flush_rows=1_000)
    assert live(disk, reader=LogReader(log)) == 0
    log.kept.update(whole)
    assert live(disk, reader=LogReader(log)) == 0
    print(account := disk.account(is_ordered=False))
    assert account.unexplained == {}
    assert totals(disk.publication.text().decode())["flowatlas_pipeline_late_rows_total"] > 0


@pytest.mark.parametrize("seed", range(4))
def test_clocks_that_are_wrong_change_no_total(tmp_path: Path, seed: int) -> None:
    """Two hours ahead and behind, steps back, and ten times too fast; batches that are ahead are counted as such."""
    chance = random.Random(seed)
    clock = {"now": 0}

    def wrong() -> int:
        clock["now"] += SECOND
        skew = chance.choice((0, 2 * HOUR_NS, -2 * HOUR_NS, -chance.randrange(HOUR_NS), 10 * clock["now"]))
        return time.time_ns() + skew

    ledger = Ledger(seed)
    ahead = 0

    def told() -> int:
        nonlocal ahead
        at = wrong()
        ahead += at > time.time_ns() + 6 * SECOND
        return at

    disk = Disk(tmp_path, ledger, left=30, time_ns=told)
    assert live(disk, until=15) == 0
    assert live(disk) == 0
    print(account := disk.account())
    assert account.unexplained == {}
    skewed = totals(disk.publication.text().decode())["flowatlas_pipeline_skewed_batches_total"]
    assert 0 < ahead <= skewed
