"""Random schedules of what members and shares, their disks, their bus and their history may go through, all combined:
in the end every flow that was made is counted once by all together, and is in the history once.

`python -m tests.faults.schedules FIRST LAST` goes through those of some seeds. What they happen to is in `worlds`.
"""

from __future__ import annotations

import itertools
import logging
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from collector.schema import FLOWS
from pipeline.bus.share import Share
from tests.faults.modelled import modelled
from tests.faults.stand_ins import Table
from tests.faults.worlds import Member, World


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
