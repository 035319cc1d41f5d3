"""Programs of three versions after each other in every order, each with the batches and snapshots of its own: what is
later is refused loudly and left as it is, what is earlier is taken up, and in the end every flow is told once.

The version before and the one after are this program with other numbers: the one before ships batches as version 1 did.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import permutations
from pathlib import Path
from typing import Any, Final

import pytest
from msgspec.structs import replace

from collector.metrics import Metrics
from collector.schema import PREFIX, UTF8, VERSION, Table, batches, encoding
from collector.sinks.spool import SpoolSink
from collector.text import Text
from pipeline import intake
from pipeline.bus import Message
from pipeline.cli.main import main
from pipeline.envelope import open_batch
from pipeline.errors import ConfigError
from pipeline.snapshots import layout
from tests.faults.counts import tell
from tests.faults.ledger import Ledger, Lost
from tests.faults.lives import Disk, live
from tests.faults.trials import Away, Well

BEFORE, NOW, AFTER = -1, 0, 1
ORDERS: Final = list(permutations((BEFORE, NOW, AFTER)))
BATCHES: Final = 4


def plain(table: Table, columns: dict[str, Any]) -> dict[str, Any]:
    """The columns as version 1 had them on the wire."""
    kinds = table.columns_of(1)
    return {name: Text.of(columns[name]) if kind == UTF8 else columns[name] for name, kind in kinds.items()}


@contextmanager
def program(age: int) -> Iterator[None]:
    """Collectors and pipelines are of the version before, of this one, or of the one after."""
    newest = VERSION + age
    with pytest.MonkeyPatch.context() as patched:
        for module in (batches, encoding):
            patched.setattr(module, "VERSION", newest)
        patched.setattr(layout, "VERSION", layout.VERSION + age)
        if newest == 1:
            patched.setattr(encoding, "wire_form", plain)
        if age == AFTER:
            patched.setattr(intake, "open_batch", lambda one: open_batch(as_now(one)))
        yield


def as_now(one: Message) -> Message:
    """A batch of the version after as that version reads it: the same in other words."""
    if one.headers["schema"] != str(VERSION + 1).encode():
        return one
    magic, _, flags, checksum = PREFIX.unpack_from(one.value)
    value = PREFIX.pack(magic, VERSION, flags, checksum) + one.value[PREFIX.size :]
    return replace(one, headers={**one.headers, "schema": str(VERSION).encode()}, value=value)


def ship(disk: Disk, age: int) -> tuple[int, int]:
    """Batches of collectors of a version; their rows and bytes."""
    before = disk.ledger.rows, disk.ledger.bytes
    disk.left = BATCHES
    with program(age):
        while disk.left:
            disk.ship()
    return disk.ledger.rows - before[0], disk.ledger.bytes - before[1]


def files(*folders: Path) -> dict[Path, bytes]:
    """All that is there, but for who writes."""
    found = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return {
        path: path.read_bytes() for path in found if path.suffix not in {".writer", ".lock"} and path.name != "lock"
    }


@pytest.mark.parametrize("order", ORDERS, ids=str)
def test_in_whatever_order_versions_come_nothing_is_lost(tmp_path: Path, order: tuple[int, ...]) -> None:
    disk = Disk(tmp_path, Ledger(23), left=0)
    newest, refusals = BEFORE, 0
    for age in order:
        ship(disk, age)
        with program(age):
            if age >= newest:
                assert live(disk) == 0
                newest = age
                continue
            there = files(disk.root / "snapshot", disk.root / "bus")
            with pytest.raises(ConfigError, match=r"of version \d, and this program reads up to \d"):
                live(disk)
            refusals += 1
            assert files(disk.root / "snapshot", disk.root / "bus") == there
    with program(newest):
        assert live(disk) == 0
    tell(account := disk.account())
    tell(f"{order}: {refusals} refused")
    assert account.unexplained == {}
    assert refusals == sum(age < max(order[:at], default=BEFORE) for at, age in enumerate(order))


def test_batches_of_a_later_version_are_counted_and_kept_for_who_can_read_them(tmp_path: Path) -> None:
    """Collectors that were upgraded before their pipeline: it reads the others, and loses these by count."""
    disk = Disk(tmp_path, Ledger(24), left=0, again=0.0)
    ship(disk, NOW)
    lost = Lost(*ship(disk, AFTER))
    later = [path.read_bytes() for path in (disk.root / "bus").rglob("*.seg")]
    ship(disk, BEFORE)
    assert live(disk) == 0
    tell(account := disk.account(lost))
    assert {what: count for what, count in account.unexplained.items() if what not in account.identities} == {}
    kept = [path.read_bytes() for path in disk.root.rglob("*.value")]
    assert len(kept) == BATCHES
    assert all(any(value in segment for segment in later) for value in kept)
    page = disk.publication.text().decode()
    assert f'flowatlas_pipeline_quarantined_batches_total{{reason="schema_version"}} {BATCHES}' in page


@pytest.mark.parametrize("age", [BEFORE, AFTER], ids=["before", "after"])
def test_what_a_collector_of_another_version_has_left_in_its_spool_is_sent_as_it_is(tmp_path: Path, age: int) -> None:
    """Also by one that cannot read it: a pipeline that can does."""
    disk, metrics = Disk(tmp_path, Ledger(25, nodes=("node-a",), restarts=0), left=0), Metrics()
    for its_age, bus in ((age, Away), (NOW, Well)):
        with program(its_age):
            sink = SpoolSink(tmp_path / "spool", metrics, 1 << 20, partial(bus, disk))
            sink.start()
            for _ in range(BATCHES):
                sink.send(disk.ledger.batch())
            sink.flush(60 if bus is Well else 0)
            sink.stop()
    with program(max(age, NOW)):
        assert live(disk) == 0
    tell(account := disk.account())
    assert account.unexplained == {}
    assert metrics.value("spool_corrupt_segments_total") == 0


def test_settings_of_a_later_version_are_refused_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "flowatlas.yaml").write_text("pipeline:\n  bus: file:///bus\n  state: /state\n  novelty: 1\n")
    assert main(["config", "check", "pipeline", "--config", str(tmp_path / "flowatlas.yaml")]) == 2
    assert "novelty" in capsys.readouterr().err
