"""What outlives a process: rows applied in two processes, with a snapshot between, are rows applied in one."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from collector.schema import COUNTERS, DROPS, OUTCOMES
from pipeline.bus import Message
from pipeline.config import PipelineConfig
from pipeline.geo import Geo
from pipeline.intake import Intake
from pipeline.inventory.policy_history import PolicyEpoch
from pipeline.inventory.spans import BEGINNING, END
from pipeline.kept import frames_of
from pipeline.outputs.meters import Meters
from pipeline.prices import Price, Prices
from pipeline.snapshots.folder import SnapshotFolder
from pipeline.snapshots.taking import Snapshots
from pipeline.stages import Stages
from pipeline.state import ClusterState
from tests.pipeline.attribution import dns_answers
from tests.pipeline.dns_cluster import dns_cluster
from tests.pipeline.engine_bench import DATABASE, DATABASE_VIP, FRONT_A, FRONT_B, FRONT_VIP, policies
from tests.pipeline.shipments import NOW, SECOND, batch, drop, flow, interface, message

ENDS = (FRONT_A, FRONT_B, DATABASE, "10.0.2.77", "203.0.113.9")
SERVICES = ((DATABASE_VIP, DATABASE, 5432), (FRONT_VIP, FRONT_A, 80), (FRONT_VIP, FRONT_B, 80))
STAGES_TIME = "flowatlas_pipeline_stage_seconds_total"

Table = dict[str, dict[tuple[str, ...], object]]


def load(seed: int, count: int = 12) -> list[Message]:
    """Batches of every table in a random order, some shipped twice and one broken."""
    chance = random.Random(seed)
    made = []
    for seq in range(count):
        node = chance.choice(("node-a", "node-b"))
        made += [flows_of(chance, node, seq), message(batch(node, seq, [reading(chance, seq)], COUNTERS))]
        dropped = [drop(FRONT_A, chance.choice(ENDS), 80, chance.choice(("no_socket", "netfilter_drop")))]
        made.append(message(batch(node, seq, dropped, DROPS)))
    asked = [
        dns_answers.Answer(f"{n}.example.com", NOW // SECOND, client=FRONT_A, address="203.0.113.9") for n in (1, 2)
    ]
    made += [message(dns_answers.batch_of([answer], seq=seq)) for seq, answer in enumerate(asked)]
    made += chance.choices(made, k=4)
    made.append(message(batch("node-a", 99, []), value=b"nothing"))
    chance.shuffle(made)
    return made


def flows_of(chance: random.Random, node: str, seq: int) -> Message:
    rows = []
    for number in range(30):
        source = chance.choice(ENDS)
        more: dict[str, Any] = {
            "outcome": OUTCOMES.index(chance.choice(("open", "closed", "refused", "no_reply"))),
            "bytes": chance.randrange(10**6),
            "flow_id": 100 * seq + number,
            "start": NOW + chance.randrange(60) * SECOND,
            "connect_us": chance.randrange(2000),
            "srtt_us": chance.randrange(2000),
            "retransmits": chance.randrange(3),
        }
        if chance.random() < 0.5:
            vip, backend, port = chance.choice(SERVICES)
            rows.append(flow(source, vip, port, backend=backend, **more))
        else:
            rows.append(flow(source, chance.choice(ENDS), chance.randrange(1, 2000), **more))
    return message(batch(node, seq, rows))


def reading(chance: random.Random, seq: int) -> dict[str, object]:
    return interface(FRONT_A, time=NOW + 20 * seq * SECOND, receive_bytes=900 * seq, receive_packets=9, tcp_listen=1)


class Process:
    """Stages, intake and meters as one process has them."""

    def __init__(self, root: Path, known_until: int = END) -> None:
        config = PipelineConfig(bus="file:///unused", state=Path("unused"), state_wait_s=60)
        rules = (PolicyEpoch(BEGINNING, policies()),)
        self.state = ClusterState(SNAPSHOT, {"Pod": 2}, known_until=known_until, epochs=rules)
        self.meters = Meters()
        self.intake = Intake(self.meters, chunk_rows=50)
        prices = Prices("USD", dict.fromkeys(("node", "zone", "region", "outside"), Price()))
        self.stages = Stages(config, lambda _: self.state, self.meters, None, prices, None, Geo(()))
        self.folder = SnapshotFolder(root, "group")
        self.snapshots = Snapshots(self.folder, self.stages, self.intake, self.meters)

    def apply(self, messages: Sequence[Message]) -> None:
        for chunk in self.intake.take(messages):
            self.stages.apply(chunk)
        self.stages.release(0.0)

    def told(self) -> Table:
        """Every series by metric and labels."""
        self.meters.missing(self.intake.missing())
        self.meters.held_rows = self.stages.held_rows
        samples = [*self.stages.samples(), *self.meters.samples(0)]
        of_snapshots = "flowatlas_pipeline_snapshot_"
        return {
            one.metric.name: dict(
                zip(
                    one.labels.rows() if one.metric.labels else [()] * len(one.values),
                    one.values.to_list(),
                    strict=True,
                )
            )
            for one in samples
            if not one.metric.name.startswith(of_snapshots) and one.metric.name != STAGES_TIME
        }


SNAPSHOT = dns_cluster()


@pytest.mark.parametrize("known_until", [END, NOW + 20 * SECOND], ids=["all known", "some held"])
@pytest.mark.parametrize("seed", range(4))
def test_two_processes_count_as_one(tmp_path: Path, seed: int, known_until: int) -> None:
    messages = load(seed)
    at = random.Random(seed).randrange(len(messages) + 1)
    whole = Process(tmp_path / "whole", known_until)
    whole.apply(messages[:at])
    whole.told()  # whoever looks sees gaps that are closed later
    whole.apply(messages[at:])
    first = Process(tmp_path, known_until)
    first.snapshots.take_up()
    first.apply(messages[:at])
    first.told()
    first.snapshots.take({"topic": {"0": at}})
    first.snapshots.close()
    second = Process(tmp_path, known_until)
    assert second.snapshots.take_up()
    assert second.snapshots.places == {"topic": {"0": at}}
    second.apply(messages[at:])
    for process in (whole, second):
        process.state = ClusterState(SNAPSHOT, {"Pod": 2}, epochs=process.state.epochs)
        process.stages.release(0.0)
        process.stages.release(10.0**6)
    assert second.told() == whole.told()
    assert second.meters.misfits == {}


def test_what_is_taken_up_is_seen_before_anything_comes(tmp_path: Path) -> None:
    """Counters are there at once, before the cluster's state is known again."""
    first = Process(tmp_path)
    first.snapshots.take_up()
    first.apply(load(1))
    before = first.told()
    first.snapshots.take({})
    first.snapshots.close()
    second = Process(tmp_path)
    second.snapshots.take_up()
    after = second.told()
    counters = {name for name in before if name.endswith("_total") and before[name]}
    assert {name: after[name] for name in counters} == {name: before[name] for name in counters}


def test_every_part_is_taken_up_as_it_was_given(tmp_path: Path) -> None:
    first = Process(tmp_path, NOW + 20 * SECOND)
    first.apply(load(2))
    first.told()
    frames = frames_of(first.stages.kept())
    first.snapshots.take_up()
    first.snapshots.take({})
    first.snapshots.close()
    second = Process(tmp_path, NOW + 20 * SECOND)
    second.snapshots.take_up()
    again = frames_of(second.stages.kept())
    for part in {name.partition(":")[0] for name in frames}:
        rows = [sum(f.height for name, f in of.items() if name.startswith(f"{part}:")) for of in (frames, again)]
        assert rows[0] == rows[1], part


def test_a_snapshot_is_only_written_where_something_has_changed(tmp_path: Path) -> None:
    process = Process(tmp_path)
    process.snapshots.take_up()
    process.apply(load(3))
    process.snapshots.take({"t": {"0": 1}})
    written = sorted(tmp_path.rglob("*.snapshot"))
    process.snapshots.take({"t": {"0": 1}})
    assert sorted(tmp_path.rglob("*.snapshot")) == written
    process.snapshots.take({"t": {"0": 2}})
    assert sorted(tmp_path.rglob("*.snapshot")) != written
    process.snapshots.close()
