"""A world in one process: lives of members and shares, turn by turn, on disks of their own, with a bus and a history.

The engine, how it settles, snapshots on a disk, the memory of batches, notes and the readers of Kafka are real. What
lies around them is stood in for: `kafka_model`, `stand_ins`. Each life is a thread, of which one goes on at a time; it
may die, be refused or be left waiting at any call that changes the disk. The same seed makes the same world.
"""

from __future__ import annotations

import os
import random
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from collector.schema import FLOWS, Batch
from collector.sinks.kafka_partitions import Partitions
from pipeline.bus.kafka_group import KafkaMember
from pipeline.bus.kafka_share import KafkaShare
from pipeline.bus.share import Share
from pipeline.engine import Engine
from pipeline.errors import ConfigError, OustedError, PermanentError
from pipeline.outputs.publication import Publication
from pipeline.snapshots.folder import SnapshotFolder
from tests.faults.kafka_model import Cluster, Consumer
from tests.faults.lives import GROUP, Death, Unhurried
from tests.faults.stand_ins import History, Table, Tally
from tests.pipeline.shipments import batch, flow

NODES: Final = ("node-a", "node-b", "node-c", "node-d")
CALLS: Final = ((Path, "rename"), (Path, "unlink"), (os, "open"), (os, "fsync"))
URL: Final = "kafka://model:1"
MOST_TURNS: Final = 3_000
here = threading.local()


class UnfinishedError(Exception):
    """A schedule that comes to no end."""


class Collector:
    """Ships one node's batches, each until it was answered."""

    def __init__(self, world: World, node: str) -> None:
        self._world, self._node = world, node
        self._partitions = Partitions()
        self._epoch, self._seq = 1, 0
        self._unanswered: list[Batch] = []

    def restart(self) -> None:
        """What is in the spool is sent by the next process."""
        self._epoch, self._seq = self._epoch + 1, 0

    def ship(self) -> None:
        made = self._world.made
        ids = list(range(made, made + self._world.chance.randint(1, 3)))
        self._world.made += len(ids)
        rows = [flow("10.0.1.5", "10.96.0.5", 80, flow_id=number) for number in ids]
        self._send(batch(self._node, self._seq, rows, epoch=self._epoch))
        self._seq += 1

    def again(self) -> None:
        """Send what was not answered."""
        while self._unanswered and self._world.chance.random() < 0.7:
            self._send(self._unanswered.pop(self._world.chance.randrange(len(self._unanswered))))

    def flush(self) -> None:
        while self._unanswered:
            self.again()

    def _send(self, one: Batch) -> None:
        fate = self._world.chance.random()
        cluster = self._world.cluster
        if fate > 0.1:
            cluster.put(one, self._partitions.of(one, len(cluster.topics[one.topic].logs)))
        if fate < 0.3:
            self._unanswered.append(one)


class Member:
    """A place for snapshots, and the lives that go on from what is there."""

    def __init__(self, world: World, name: str) -> None:
        self.world, self.name = world, name
        self.root = world.root / name
        self.life: Life | None = None
        self.shown: Counter[int] = Counter()
        self.fallen = 0
        self.may_fall = False
        self.tally: Tally | None = None
        """What its last life has counted."""

    @property
    def is_alive(self) -> bool:
        return self.life is not None and not self.life.is_over

    @property
    def unwritten(self) -> list[int]:
        """What the history is still to be given: what waits, and all that a life had which ended before it read."""
        if self.tally is None or self.life is None:
            return []
        return self.tally.waiting.ids + ([] if self.life.is_ready or self.tally.lake is None else self.tally.lake.ids)

    @property
    def snapshots(self) -> Path:
        return self.root / GROUP / "0"

    def show(self, ids: list[int]) -> None:
        shown = Counter(ids)
        self.fallen += not self.shown <= shown
        self.shown = shown


class Life(threading.Thread):
    """One process of a member."""

    def __init__(self, member: Member, share: Share | None) -> None:
        super().__init__(daemon=True)
        self.member, self.world, self.share = member, member.world, share
        self.go, self.gone = threading.Semaphore(0), threading.Semaphore(0)
        self.stop = threading.Event()
        self.consumers: list[Consumer] = []
        self.is_dead = self.is_over = False
        self.calls = 0
        self.dies_at = self.refused_at = -1
        self.failure: BaseException | None = None
        self.code: int | None = None
        self.engine: Engine | None = None
        self.start()

    @property
    def has_all(self) -> bool:
        """Whether it reads, and has counted again what it had counted before."""
        return self.is_ready and self.engine is not None and not self.engine._settling.is_short()

    @property
    def is_ready(self) -> bool:
        return self.engine is not None and self.engine.ready.is_set()

    def turn(self) -> None:
        """Go on until the life waits, or is over."""
        self.go.release()
        self.gone.acquire()

    def rest(self) -> None:
        """Let others go on."""
        if self.is_dead:
            raise Death
        self.gone.release()
        self.go.acquire()
        if self.is_dead:
            raise Death

    def kill(self) -> None:
        self.is_dead = True
        for consumer in self.consumers:
            consumer.is_cut = True

    def run(self) -> None:
        here.life = self
        self.go.acquire()
        try:
            if self.is_dead:
                raise Death
            while self.code is None:
                try:
                    self.code = self._engine().run(self.stop)
                except OustedError:
                    self.world.did["ousted"] += 1
        except Death:
            pass
        except BaseException as error:  # noqa: BLE001 - whatever it is, the schedule tells
            is_refused = 0 < self.refused_at <= self.calls
            if not (
                is_refused and isinstance(error, ConfigError | PermanentError | OSError)
            ):  # else it ends with an error
                self.failure = error
        finally:
            if self.code is None:
                self.kill()
            self.is_over = True
            self.gone.release()

    def point(self) -> None:
        """A call that changes something."""
        if self.is_dead:
            raise Death
        self.calls += 1
        if self.calls == self.dies_at:
            self.kill()
            raise Death
        if self.calls == self.refused_at:
            self.world.did["refused"] += 1
            raise OSError(5, "input/output error")
        if self.world.chance.random() < 0.02:
            self.rest()

    def _engine(self) -> Engine:
        member, world = self.member, self.world
        reader: KafkaMember | KafkaShare
        if self.share is None:
            reader, name = KafkaMember(URL, GROUP, [FLOWS.topic]), member.name
        else:
            reader, name = KafkaShare(URL, GROUP, [FLOWS.topic], {}, self.share), str(self.share.ordinal)
        lake: Any = History(world.table, f"{GROUP}/{name}", self.point) if world.has_history else None
        config = Unhurried(
            bus=URL,
            state=Path("unused"),
            group=GROUP,
            snapshot=member.root,
            window_s=0.0,
            lake_flush_s=3600.0,
            lake_flush_rows=world.flush_rows,
        )
        state: Any = world.chance
        self.engine = engine = Engine(
            config,
            reader,
            state,
            Shown(member),
            lake,
            folder=SnapshotFolder(member.root, GROUP),
            turn=self.rest,
            member=name,
        )
        member.tally = engine._stages  # type: ignore[assignment]  # it stands in for them
        return engine


class Shown(Publication):
    """What somebody may have seen of a member."""

    def __init__(self, member: Member) -> None:
        super().__init__()
        self._member = member

    def publish(self, metrics: Any) -> None:
        for samples in metrics:
            if hasattr(samples, "ids") and not here.life.is_dead:
                self._member.show(samples.ids)


class World:
    """All there is."""

    def __init__(self, root: Path, seed: int) -> None:
        self.root = root
        self.chance = chance = random.Random(seed)
        self.made = 0
        self.partitions = chance.randint(1, 4)
        self.cluster = Cluster(chance, [FLOWS.topic], self.partitions)
        self.collectors = [Collector(self, node) for node in NODES[: chance.randint(1, 4)]]
        self.table = Table()
        self.has_history = chance.random() < 0.7
        self.flush_rows = chance.choice((1, 8, 1_000))
        self.members: list[Member] = []
        self.did: Counter[str] = Counter()
        self.story: list[str] = []
        self.turns = 0
        self.may_double = False
        """Whether the history may have something twice."""
        self.is_kept = True
        """Whether the bus still has what was read, under the numbers that it had."""
        self.copy: Table | None = None
        """The history as it was."""
        self.forgotten: set[int] = set()
        """What the history need not have."""

    @property
    def group(self) -> Any:
        return self.cluster.group(GROUP)

    def turn_history(self) -> None:
        """A history is kept from now on, or none."""
        self.forgotten |= set(range(self.made)) - set(self.table.ids())
        self.has_history = not self.has_history
        self.tell(f"history {self.has_history}")

    def tell(self, text: str) -> None:
        self.did[text.partition(" ")[0]] += 1
        self.story.append(text)

    def member(self, name: str) -> Member:
        found = next((one for one in self.members if one.name == name), None)
        if found is None:
            found = Member(self, name)
            self.members.append(found)
        return found

    def turn(self) -> None:
        """Somebody goes on a little."""
        alive = [member.life for member in self.members if member.is_alive]
        if alive:
            life = self.chance.choice(alive)
            assert life is not None
            self.turns += 1
            life.turn()
            if life.failure is not None:
                raise life.failure
            if life.is_over:
                self.tell(f"over {life.member.name} {life.code}")
        for consumer in [one for one in self.group.members if one.is_cut]:
            if self.chance.random() < 0.2:
                self.group.leave(consumer)

    def until(self, is_so: Callable[[], bool]) -> None:
        for _ in range(MOST_TURNS):
            if is_so():
                return
            self.turn()
        raise UnfinishedError(f"{self.settled()} of {self.ends()}; {self.group.members}; {self.story}")

    def begin(self, member: Member, share: Share | None = None, *, is_well: bool = False) -> None:
        """A life begins, which ends by itself or is refused something at some call, unless it `is_well`."""
        member.life = Life(member, share)
        fate, at = self.chance.random(), self.chance.choice((12, 40, 150))
        if is_well:
            fate = 1.0
        if fate < 0.3:
            member.life.dies_at = self.chance.randint(1, at)
        elif fate < 0.6:
            member.life.refused_at = self.chance.randint(1, at)
        self.tell(f"begin {member.name} {share or ''} {member.life.dies_at} {member.life.refused_at}")

    def kill(self, member: Member) -> None:
        assert member.life is not None
        member.life.kill()
        member.life.turn()
        self.tell(f"kill {member.name}")

    def end(self, members: list[Member]) -> None:
        """They end in order, or die while they do."""
        for member in members:
            if member.life is not None:
                member.life.stop.set()
        self.until(lambda: not any(member.is_alive for member in members))

    def ends(self) -> dict[int, int]:
        return {p: len(log) for p, log in enumerate(self.cluster.topics[FLOWS.topic].logs)}

    def settled(self) -> dict[int, int]:
        """Where who goes on behind what is committed begins."""
        topic, offsets = self.cluster.topics[FLOWS.topic], self.group.offsets
        return {p.partition: topic.parts(p.partition, at.offset, at.leader_epoch) for p, at in offsets.items()}

    def is_settled(self) -> bool:
        settled = self.settled()
        return all(settled.get(p, 0) == end for p, end in self.ends().items())

    def close(self) -> None:
        for member in self.members:
            if member.is_alive:
                self.kill(member)
            if member.life is not None:
                member.life.join()
