"""Members of a consumer group that come, go, sleep past their session and die: what all have counted together is what
was shipped, and so is the history, whoever had which partition when.

FLOWATLAS_FAULTS=all is the storm of a minute, and zombies; without, a few of its events.
"""

from __future__ import annotations

import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, Final

import polars as pl
import pytest
from kafka import KafkaProducer

from collector.schema import COUNTERS, FLOWS, Batch
from pipeline.cli.main import main
from pipeline.query import scan_flows
from tests.faults.counts import IS_ALL, often, tell
from tests.faults.gaps import Gaps
from tests.faults.members import SESSION_SECONDS, Member, counted, until
from tests.kafka_broker import KafkaBroker
from tests.pipeline.shipments import NOW, SECOND, batch, flow, interface

pytestmark = pytest.mark.kafka

NODES: Final = {"node-a": "10.0.1.5", "node-b": "10.0.2.5", **{f"node-{i}": "10.0.1.5" for i in range(10)}}
"""Each with the pod whose flows it ships. Only its own node tells of a pod's bytes, and only two of these are there."""
PARTITIONS: Final = 6
ROWS: Final = 20
ZOMBIES: Final = often(1, 6)
DAMAGED: Final = often(2, 20)
"""Partitions of which a part is read again."""
TIMES: Final = ("flowatlas_pipeline_stage_seconds_total",)
"""What is read again may take less time than it took before."""


class Shipper(threading.Thread):
    """Ships batches of all nodes, one in ten again some time later, as who was not answered does."""

    def __init__(self, bootstrap: str, seed: int) -> None:
        super().__init__(daemon=True)
        self.rows = self.bytes = self.of_pods = self.batches = self.again = 0
        self._readings = 0
        self._producer: Any = KafkaProducer(bootstrap_servers=bootstrap, metrics_enabled=False)
        self._random = random.Random(seed)
        self._ended = threading.Event()

    def run(self) -> None:
        unanswered: list[Batch] = []
        seq = 0
        while not self._ended.wait(0.02 if IS_ALL else 0.1):
            if seq % 10 == 0:
                self.read()
            for node, pod in NODES.items():
                sizes = [self._random.randrange(1, 100_000) for _ in range(ROWS)]
                one = batch(node, seq, [self._row(pod, number, size) for number, size in enumerate(sizes)])
                self._send(one)
                self.rows, self.batches, self.bytes = self.rows + ROWS, self.batches + 1, self.bytes + 3 * sum(sizes)
                if not node[-1].isdigit():
                    self.of_pods += 3 * sum(sizes)
                if self._random.random() < 0.1:
                    unanswered.append(one)
            while len(unanswered) > 40:
                self._again(unanswered)
            seq += 1
        while unanswered:
            self._again(unanswered)
        self._producer.flush(60)

    def stop(self) -> None:
        """Ship no more flows."""
        self._ended.set()
        if self.is_alive():
            self.join()

    def read(self) -> None:
        """Ship a reading of an interface of each node. Not while the thread runs, but by it."""
        for node, pod in NODES.items():
            self._send(batch(node, self._readings, [interface(pod, receive_bytes=self._readings)], COUNTERS))
        self._readings += 1

    def close(self) -> None:
        self._producer.close()

    def _again(self, unanswered: list[Batch]) -> None:
        self._send(unanswered.pop(self._random.randrange(len(unanswered))))
        self.again += 1

    def _send(self, one: Batch) -> None:
        self._producer.send(one.topic, key=one.key, value=one.value, headers=list(one.headers().items()))

    def _row(self, pod: str, number: int, size: int) -> dict[str, Any]:
        more = {"bytes": size, "reply_bytes": 2 * size, "flow_id": number, "start": NOW - SECOND, "time": NOW}
        return flow(pod, "10.96.0.7", 5432, backend="10.0.2.7", **more)


@pytest.fixture
def broker() -> Iterator[KafkaBroker]:
    with KafkaBroker(settings={"group.min.session.timeout.ms": "500"}) as broker:
        bus = f"kafka://{broker.bootstrap}"
        assert main(["topics", "create", "--bus", bus, "--partitions", str(PARTITIONS)]) == 0
        yield broker


@pytest.fixture
def shipper(broker: KafkaBroker) -> Iterator[Shipper]:
    """Whatever comes of the test, it dials nobody after it: refused connections would warn in the tests that follow."""
    shipper = Shipper(broker.bootstrap, seed=9)
    try:
        yield shipper
    finally:
        shipper.stop()
        shipper.close()


@pytest.fixture
def members(tmp_path: Path, broker: KafkaBroker) -> Iterator[list[Member]]:
    bus = f"kafka://{broker.bootstrap}"
    them = [Member(tmp_path / f"member-{i}", bus, tmp_path / "lake") for i in range(often(3, 6))]
    try:
        yield them
    finally:
        for member in them:
            member.close()


def two_at_work(members: list[Member]) -> None:
    """Start the first two, and wait until both have counted."""
    for member in members[:2]:
        member.start()
    until(lambda: all(member.rows() for member in members[:2]), members[0].stuck)


def reconcile(members: list[Member], shipper: Shipper, lake: Path, may_fall: Collection[str] = ()) -> None:
    """Let everybody who ever was come back, and hold what they say together against what was shipped.

    No counter may have fallen but these."""
    for member in members:
        if member.is_asleep:
            member.send(signal.SIGCONT)
        if member.is_ending:
            member.ended()  # else it would be told twice, and the second time perhaps when it listens no more
        if not member.is_running:
            member.start()

    until(lambda: all(member.served() for member in members), lambda: [member.stuck() for member in members])

    def have_all() -> bool:
        for member in members:
            member.look()
        return counted(members)["flowatlas_pipeline_rows_total"] >= shipper.rows

    until(have_all, lambda: (counted(members), shipper.rows, [member.stuck() for member in members]))
    until(
        lambda: have_all() and counted(members)["flowatlas_pipeline_duplicate_batches_total"] >= shipper.again,
        lambda: (counted(members), shipper.again),
    )

    def is_told_once() -> bool:
        shipper.read()
        for member in members:
            member.look()
        return Counter(node for member in members for node in member.read_nodes) == Counter(NODES.keys())

    until(is_told_once, lambda: [(member.read_nodes, member.stuck()) for member in members])
    shipper.close()
    logs = [member.log() for member in members]
    for member in members:
        member.send(signal.SIGTERM)
    assert [member.ended() for member in members] == [0] * len(members), logs
    told = counted(members)
    history = scan_flows(lake).select(pl.len(), pl.sum("bytes", "reply_bytes")).collect().row(0)
    account = {
        "rows": (told["flowatlas_pipeline_rows_total"], history[0], shipper.rows),
        "batches": (told["flowatlas_pipeline_batches_total"], shipper.batches),
        "bytes": (sum(history[1:]), shipper.bytes),
        "bytes of pods": (told["flowatlas_flow_bytes_total"], shipper.of_pods),
        "again": (told["flowatlas_pipeline_duplicate_batches_total"], shipper.again),
        "missing": (told["flowatlas_pipeline_missing_batches_total"], 0),
    }
    tell(f"{account}; ousted {sum(log.count('going on from the last snapshot') for log in logs)} times")
    assert {what: set(values) for what, values in account.items() if len(set(values)) > 1} == {}
    assert [fallen for member in members for fallen in member.fallen if fallen[0][0] not in may_fall] == []
    assert shipper.again > 0


@pytest.fixture
def gaps(broker: KafkaBroker, members: list[Member]) -> Iterator[Gaps]:
    """What a partition waits for a reader while there is any."""

    def is_anybody() -> bool:
        return any(member.is_reading for member in members)

    gaps = Gaps(broker.bootstrap, "flowatlas", FLOWS.topic, is_anybody)
    gaps.start()
    yield gaps
    gaps.stop()


def test_a_storm_of_members_counts_every_batch_once(
    members: list[Member], shipper: Shipper, tmp_path: Path, gaps: Gaps
) -> None:
    chance = random.Random(9)
    shipper.start()
    two_at_work(members)
    for event in range(often(4, 30)):
        member = chance.choice(members) if event else members[2]
        if not member.is_running:
            member.start()
        elif member.is_asleep:
            member.send(signal.SIGCONT)
        else:
            member.send(chance.choice((signal.SIGTERM, signal.SIGKILL, signal.SIGSTOP)))
        ends = time.monotonic() + often(1, 2)
        while time.monotonic() < ends:
            for one in members:
                one.look()
            time.sleep(0.1)
    waited = gaps.stop()
    half, most = waited[len(waited) // 2], waited[-1 - len(waited) // 100]
    tell(
        f"{len(waited)} times a partition went on, after {half:.1f} s, p99 {most:.1f} s; a session: {SESSION_SECONDS} s"
    )
    shipper.stop()
    reconcile(members, shipper, tmp_path / "lake")


def test_a_zombie_that_wakes_after_others_went_on_is_refused(
    members: list[Member], shipper: Shipper, tmp_path: Path
) -> None:
    """It goes on from its last snapshot; what it counted after that is counted by its successor. They take turns."""
    members[0].start()
    members[1].start()
    shipper.start()
    until(lambda: any(member.rows() for member in members[:2]), members[0].stuck)
    refused = "going on from the last snapshot"
    zombies = 0
    for turn in range(10 * ZOMBIES):  # one that sleeps just behind a snapshot has nothing to be refused
        zombie, successor = members[turn % 2], members[1 - turn % 2]
        before = zombie.log().count(refused)
        zombie.send(signal.SIGSTOP)
        had, slept = successor.rows(), time.monotonic()
        until(lambda: time.monotonic() - slept > 2 * SESSION_SECONDS and successor.rows() > had, successor.stuck)  # noqa: B023
        zombie.send(signal.SIGCONT)
        had = zombie.rows()
        until(lambda: zombie.log().count(refused) > before or zombie.rows() > had, zombie.stuck)  # noqa: B023
        zombies += zombie.log().count(refused) > before
        if zombies == ZOMBIES:
            break
    tell(f"{turn + 1} slept past their session, {zombies} were refused")
    assert zombies == ZOMBIES
    shipper.stop()
    reconcile(members[:2], shipper, tmp_path / "lake")


def test_what_only_a_damaged_snapshot_had_is_read_again_by_the_member_that_had_counted_it(
    members: list[Member], shipper: Shipper, tmp_path: Path
) -> None:
    """Another has its partitions by then."""
    shipper.start()
    two_at_work(members)
    again = 0
    for turn in range(10 * DAMAGED):  # the one that the history belongs to has nothing that the one before it lacks
        damaged, other = members[turn % 2], members[1 - turn % 2]
        damaged.look()
        damaged.send(signal.SIGKILL)
        last = max(damaged.snapshots())
        last.write_bytes(last.read_bytes()[:-1])
        had = other.rows()
        until(lambda: other.rows() > had + 20 * ROWS, other.stuck)  # noqa: B023
        damaged.start()
        until(lambda: bool(damaged.served()) and damaged.rows() > 0, damaged.stuck)  # noqa: B023
        again = sum(member.log().count("is read again from") for member in members[:2])
        if again >= DAMAGED:
            break
    tell(f"{turn + 1} damaged snapshots, {again} partitions were read again")
    assert again >= DAMAGED
    shipper.stop()
    reconcile(members[:2], shipper, tmp_path / "lake", may_fall=TIMES)


def test_a_roll_to_more_pods_counts_every_batch_once_and_none_waits_for_a_pause(
    members: list[Member], shipper: Shipper, tmp_path: Path
) -> None:
    """As a StatefulSet does that is told of one more: that one comes first, then the others are replaced in turn."""
    shipper.start()
    two_at_work(members)
    members[2].start()
    until(lambda: members[2].rows() > 0, members[2].stuck)
    for member in (members[1], members[0]):
        member.look()
        member.send(signal.SIGTERM)
        assert member.ended() == 0, member.log()
        member.start()
        until(lambda: members[2].rows() > 0 and bool(member.served()), member.stuck)  # noqa: B023
    shipper.stop()
    reconcile(members[:3], shipper, tmp_path / "lake")
