"""Short runs like those of `trials`, for what comes back later: to a spool after a power cut, out of quarantine once a
later version can read it, and to tenants after one that makes series of everything.
"""

from __future__ import annotations

import contextlib
import io
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from collector.schema import FLOWS, Batch, encode
from pipeline import decode
from pipeline.cli import quarantine
from pipeline.cli.main import main
from pipeline.config import PipelineConfig
from pipeline.decode import merged
from pipeline.envelope import open_batch
from pipeline.kept import frames_of, restored
from pipeline.outputs.meters import Meters
from pipeline.outputs.publication import Publication
from pipeline.stages import Stages
from tests.faults import bomb
from tests.faults.ledger import Ledger
from tests.faults.lives import Death, Disk, Dying, disturbed, live
from tests.faults.spool_power import LIVES, cut_at
from tests.faults.test_versions import AFTER, BATCHES, NOW, as_now, program, ship
from tests.pipeline.shipments import message

CUTS: Final = 7
"""The power is cut at each so manieth call."""
LAST_CALL: Final = 50
SENT_BYTES: Final = 4_000
"""So that a replay goes in several parts."""
SERIES: Final = 2_400
PEERS: Final = 8
LATE_PEERS: Final = 5
BOMB_ROWS: Final = 600
ROUNDS: Final = 6
Unexplained = Mapping[str, int]


def spool_power_cut(root: Path) -> Unexplained:
    """The power is cut at some calls of each kind of life of a spool."""
    found: Counter[str] = Counter()
    for name in LIVES:
        for at in range(0, LAST_CALL, CUTS):
            for is_done in (False, True):
                folder = root / f"{name}-{at}-{is_done}"
                folder.mkdir()
                _, came_of = cut_at(at, folder, name, is_done=is_done, schedules=50, lived_on=3) or (0, Counter())
                found += came_of
    return found


def replayed(root: Path) -> Unexplained:
    """Batches of a later version are set aside, and sent back by that version, which is killed once while it does."""
    disk = Disk(root, Ledger(25), left=0, again=0.0)
    ship(disk, NOW)
    ship(disk, AFTER)
    live(disk)
    command = ["quarantine", "replay", "--bus", f"file://{root / 'bus'}"]
    with program(AFTER), pytest.MonkeyPatch.context() as patched, contextlib.redirect_stdout(io.StringIO()):
        patched.setattr(decode, "open_batch", lambda one, tables: open_batch(as_now(one), tables))
        patched.setattr(quarantine, "SENT_BYTES", SENT_BYTES)
        with disturbed(Dying(2, is_done=False), ((Path, "unlink"),)), suppress(Death):
            main(command)
        for _ in range(2):  # the last finds nothing
            main(command)
        contents = [path.read_bytes() for path in (root / "bus").rglob("*.seg")]
        disk.ledger.again = len(contents) - len(set(contents)) - BATCHES  # which were set aside the first time
        live(disk)
    return disk.account(is_ordered=False).unexplained


class Tenants:
    """What is counted of tenants, in two lives of which the second takes up what the first kept."""

    def __init__(self) -> None:
        self.cluster = bomb.Cluster()
        self.cluster.complete()
        self.sent = self._seq = 0
        self._stages = self._new()

    def _new(self) -> Stages:
        config = PipelineConfig(
            bus="file:///unused", state=Path("unused"), series_max=SERIES, series_max_per_family=SERIES // 5
        )
        return Stages(config, self.cluster.state, Meters())

    def restart(self) -> None:
        kept = frames_of(self._stages.kept())
        self._stages = self._new()
        restored(self._stages.kept(), kept)

    def send(self, columns: Mapping[str, Any]) -> None:
        size = int(columns["bytes"].sum() + columns["reply_bytes"].sum())
        rows = len(columns["flow_id"])
        batch = Batch(FLOWS.name, bomb.NODE, 1, self._seq, rows, size, encode(FLOWS, dict(columns)))
        self._stages.apply([merged([open_batch(message(batch))])])
        self.sent, self._seq = self.sent + size, self._seq + 1

    def told(self) -> list[Any]:
        """All samples as they are shown now."""
        publication = Publication()
        publication.publish(self._stages.samples())
        families = text_string_to_metric_families(publication.text().decode())
        return [sample for family in families for sample in family.samples]


def folded(root: Path) -> Unexplained:
    """One tenant's pods are others each round; then one comes that was not there before."""
    them = Tenants()
    made = bomb.renaming(them.cluster, BOMB_ROWS, np.random.default_rng(4))
    for at in range(ROUNDS):
        them.send(next(made))
        them.send(bomb.steady(them.cluster.now_ns, ("shop",), PEERS))
        if at == ROUNDS // 2:
            them.told()
            them.restart()
        if at > ROUNDS // 2:
            them.send(bomb.steady(them.cluster.now_ns, ("late",), LATE_PEERS))
        told = them.told()
    series = sum(not sample.name.startswith(("flowatlas_state_", "flowatlas_series_")) for sample in told)
    by_name: Counter[str] = Counter()
    late = 0
    for sample in told:
        by_name[sample.name] += int(sample.value)
        ends = {sample.labels.get("source_namespace"), sample.labels.get("destination_namespace")}
        late += sample.name == "flowatlas_flow_bytes_total" and ends == {"late"}
    found = {
        "flow bytes": them.sent - by_name["flowatlas_flow_bytes_total"],
        "folded by namespace": by_name["flowatlas_series_folded_total"]
        - by_name["flowatlas_series_folded_by_namespace_total"],
        "nothing folded": int(by_name["flowatlas_series_folded_total"] == 0),
        "series above the budget": max(0, series - SERIES),
        "series of who came late": int(late < LATE_PEERS),
    }
    return {what: count for what, count in found.items() if count}


TRIALS: Final[Mapping[str, Callable[[Path], Unexplained]]] = {
    "power cut of a spool": spool_power_cut,
    "replayed": replayed,
    "folded": folded,
}
