"""Random schedules of what members and shares, their disks, their bus and their history may go through, turn by turn in
one process: in the end every flow that was made is counted once by all together, and is in the history once.

The engine, how it settles, snapshots on a disk, the memory of batches, notes and the readers of Kafka are real. What
lies around them is stood in for: `kafka_model`, `stand_ins`. Each life is a thread, of which one goes on at a time; it
may die, be refused or be left waiting at any call that changes the disk. The same seed makes the same schedule.
"""

from __future__ import annotations

import itertools
import logging
import os
import random
import shutil
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import pytest

from collector.schema import FLOWS, Batch
from collector.sinks.kafka_partitions import Partitions
from pipeline import engine as engines
from pipeline import settling
from pipeline.bus import kafka, kafka_group
from pipeline.bus.kafka_group import KafkaMember
from pipeline.bus.kafka_share import KafkaShare
from pipeline.bus.share import Share
from pipeline.engine import Engine
from pipeline.errors import ConfigError, OustedError, PermanentError
from pipeline.outputs.meters import Meters
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
_OPEN: Final = os.open
_here = threading.local()


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
        _here.life = self
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
            if hasattr(samples, "ids") and not _here.life.is_dead:
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


def common(world: World) -> None:
    """What may happen however partitions are divided."""
    chance = world.chance
    match chance.randrange(10):
        case 0 | 1 | 2 | 3:
            for collector in world.collectors:
                for _ in range(chance.randint(0, 4)):
                    collector.ship()
                collector.again()
        case 4:
            chance.choice(world.collectors).restart()
            world.tell("restart")
        case 5 if len(world.ends()) < 6:
            world.cluster.divide(FLOWS.topic, len(world.ends()) + chance.randint(1, 3))
            world.tell("divide")
        case _:
            for _ in range(chance.choice((1, 3, 10, 40))):
                world.turn()


def in_group(world: World) -> None:
    """One thing that happens to a group."""
    chance = world.chance
    alive = [member for member in world.members if member.is_alive]
    match chance.randrange(12):
        case 0 | 1 if len(alive) < 3:
            dead = [member for member in world.members if not member.is_alive]
            is_new = len(world.members) < 4 and (not dead or chance.random() < 0.3)
            world.begin(world.member(f"m{len(world.members)}") if is_new else chance.choice(dead or world.members))
        case 2 if alive:
            world.kill(chance.choice(alive))
        case 3 if alive:
            member = chance.choice(alive)
            assert member.life is not None
            member.life.stop.set()
            world.tell(f"end {member.name}")
        case 4 if alive:
            member = chance.choice(alive)
            assert member.life is not None
            for consumer in member.life.consumers:
                world.group.leave(consumer)
            world.tell(f"oust {member.name}")
        case 5:
            dead = [member for member in world.members if not member.is_alive]
            if dead:
                damage(world, chance.choice(dead))
        case _:
            common(world)


def damage(world: World, member: Member) -> None:
    """The last snapshot of a member that is dead cannot be read any more, or is gone."""
    both = sorted(member.snapshots.glob("*.snapshot"))
    if not world.is_kept or len(both) < 2 or list(member.snapshots.glob("*.refused")):
        return
    if world.chance.random() < 0.5:
        both[-1].write_bytes(both[-1].read_bytes()[:-1])
    else:
        both[-1].unlink()
        member.shown.clear()
    world.tell(f"damage {member.name} {both[-1].name} {both[-1].exists()}")


def of_group(world: World, steps: int) -> None:
    """A group's schedule, and what comes of it once all are back."""
    for _ in range(steps):
        if world.chance.random() < 0.04:
            quiet(world, dict.fromkeys(world.members))
        in_group(world)
    world.member("m0")
    come_back(world, dict.fromkeys(world.members))


def of_shares(world: World, steps: int) -> None:
    """A schedule of fixed shares, that are cut anew now and then."""
    of = 1
    for _ in range(steps):
        if world.chance.random() < 0.04:
            quiet(world, shares(world, of))
        if world.chance.random() < 0.1:
            come_back(world, shares(world, of))
            of = world.chance.randint(1, 3)
            world.tell(f"cut {of}")
        in_shares(world, shares(world, of))
    come_back(world, shares(world, of))


def shares(world: World, of: int) -> dict[Member, Share | None]:
    return {world.member(f"s{number}"): Share(number, of) for number in range(of)}


def in_shares(world: World, them: dict[Member, Share | None]) -> None:
    """One thing that happens to fixed shares."""
    chance = world.chance
    member, share = chance.choice(list(them.items()))
    match chance.randrange(8):
        case 0 | 1 | 2 if not member.is_alive:
            world.begin(member, share)
        case 0 if member.is_alive:
            world.kill(member)
        case 1 if member.life is not None:
            member.life.stop.set()
            world.tell(f"end {member.name}")
        case 2 if not member.is_alive:
            damage(world, member)
            world.may_double = True
        case _:
            common(world)


def read_all(world: World, them: Mapping[Member, Share | None]) -> None:
    """All of them are there, and have read all there is."""
    for collector in world.collectors:
        collector.flush()

    def have_all() -> bool:
        for member, share in them.items():
            if not member.is_alive:
                world.begin(member, share)
                assert member.life is not None
                member.life.dies_at = -1
        lives = [member.life for member in them if member.life is not None]
        return world.is_settled() and all(life.has_all and not life.stop.is_set() for life in lives)

    world.until(have_all)


def come_back(world: World, them: Mapping[Member, Share | None]) -> None:
    """All of them read all there is, and end in order."""
    while True:
        read_all(world, them)
        world.end(list(them))
        if all(member.life is not None and member.life.code == 0 for member in them):
            return


def quiet(world: World, them: Mapping[Member, Share | None]) -> None:
    """Once all was read something happens to the bus; or, once all have ended, to the history."""
    if not them:
        return
    if is_ended := world.chance.random() < 0.6:
        come_back(world, them)
    else:
        read_all(world, them)
    match world.chance.randrange(6 if is_ended else 3):
        case 0:
            if not is_ended and any(share is None for share in them.values()):
                return  # members learn of it one after the other
            world.cluster.make(FLOWS.topic, len(world.ends()))
            world.tell("anew")
        case 1:
            world.cluster.cut(FLOWS.topic, world.chance)
            world.tell("cut")
        case 2:
            topic = world.cluster.topics[FLOWS.topic]
            topic.first = [world.chance.randint(first, world.ends()[p]) for p, first in enumerate(topic.first)]
            world.tell("retention")
        case 3:
            world.copy = world.table.copy()
        case 4:
            before, world.table = world.table, world.copy or Table()
            world.forgotten |= set(before.ids()) - set(world.table.ids())
            world.tell("restored")
        case _:
            world.turn_history()
    world.is_kept &= not world.did["anew"] + world.did["cut"] + world.did["retention"]


def account(world: World) -> dict[str, list[int]]:
    """What is not as it was made."""
    counted: Counter[int] = Counter()
    for member in world.members:
        if member.tally is not None:
            counted.update(member.tally.counted.ids + member.tally.waiting.ids)
    found = differing("counted", counted, world.made)
    written = Counter(world.table.ids())
    for member in world.members:
        written.update(member.unwritten)
    of_history = differing("history", written, world.made)
    if not world.has_history:  # what it has it has once
        world.forgotten = set(range(world.made))
    if missing := [one for one in of_history.pop("history: missing", []) if one not in world.forgotten]:
        found["history: missing"] = missing
    if not world.may_double:
        found |= of_history
    if fallen := [place for place, member in enumerate(world.members) if member.fallen and not member.may_fall]:
        found["fallen"] = fallen
    return found


def differing(what: str, counted: Counter[int], made: int) -> dict[str, list[int]]:
    found = {
        f"{what}: missing": [one for one in range(made) if not counted[one]],
        f"{what}: twice": [one for one, count in counted.items() if count > 1],
    }
    return {name: ids for name, ids in found.items() if ids}


@contextmanager
def modelled() -> Iterator[None]:
    """Readers find the model, calls that change the disk are points, and nobody waits by the clock."""

    def connected(reader: kafka.KafkaReader) -> Consumer:
        life: Life = _here.life
        consumer = Consumer(life.world.cluster, GROUP, life.member.name, reader._resets.append, life.rest)
        life.consumers.append(consumer)
        return consumer

    def around(call: Callable[..., Any]) -> Callable[..., Any]:
        def guarded(*arguments: Any, **more: Any) -> Any:
            life: Life | None = getattr(_here, "life", None)
            if life is None:
                return call(*arguments, **more)
            life.point()
            result = call(*arguments, **more)
            try:
                life.point()
            except BaseException:
                if call is _OPEN:  # nobody else can
                    os.close(result)
                raise
            return result

        return guarded

    clock = SimpleNamespace(monotonic=Clock().now, sleep=lambda _: None)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(kafka.KafkaReader, "_connected", connected)
        patched.setattr(kafka, "join_patiently", lambda *_: None)
        for module in (kafka, kafka_group):
            patched.setattr(module, "time", clock)
        patched.setattr(engines, "Stages", Tally)
        patched.setattr(Meters, "samples", lambda *_: [])  # which takes longer than all else
        patched.setattr(engines, "BACK_OFF_SECONDS", (0.0, 0.0))
        patched.setattr(engines, "DRAIN_SECONDS", 1e9)
        for name in ("LEAST_POLL_SECONDS", "POLL_SECONDS", "HELD_POLL_SECONDS"):
            patched.setattr(engines, name, 0.0)
        patched.setattr(settling, "HINT_SECONDS", 0.0)
        patched.setattr(os, "fsync", lambda _: None)
        for owner, name in CALLS:
            patched.setattr(owner, name, around(getattr(owner, name)))
        yield


class Clock:
    """A second passes at each look."""

    def __init__(self) -> None:
        self._now = 0.0

    def now(self) -> float:
        self._now += 1.0
        return self._now


KINDS: Final[Mapping[str, Callable[[World, int], None]]] = {"members": of_group, "shares": of_shares}


def run(root: Path, seed: int, kind: Callable[[World, int], None], steps: int = 40) -> World:
    """One schedule."""
    world = World(root / str(seed), seed)
    world.root.mkdir()
    try:
        kind(world, steps)
    finally:
        world.close()
        shutil.rmtree(world.root)
    return world


def main() -> int:
    """Go through schedules of the seeds from FIRST to before LAST. 1 where anything is unexplained."""
    logging.disable(logging.CRITICAL)
    first, last = (int(argument) for argument in sys.argv[1:3])
    did: Counter[str] = Counter()
    code = 0
    with tempfile.TemporaryDirectory() as folder, modelled():
        for seed, (name, kind) in itertools.product(range(first, last), KINDS.items()):
            world = run(Path(folder), seed, kind)
            did += world.did
            if found := account(world):
                print(f"{name} {seed}: {found}\n{world.story}", flush=True)
                code = 1
    print(dict(sorted(did.items())))
    return code


if __name__ == "__main__":
    sys.exit(main())
