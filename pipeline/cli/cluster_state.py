"""The cluster's objects that `--state` names: files, or with `bus` what a watcher has told."""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ..errors import ConfigError, TransientError
from .kafka_access import kafka_options

if TYPE_CHECKING:
    from ..inventory.manifests import Refusal
    from ..inventory.models import Resource
    from ..inventory.policy_history import PolicyEpoch
    from ..inventory.snapshot import Snapshot

DUMP: Final = "kubectl get ns,nodes,pods,svc,endpointslices,ingress,netpol,rs,deploy,jobs -A -o yaml > state.yaml"
"""What writes the objects that every cluster has and answers rest on."""
BUS_SECONDS: Final = 5.0
"""How long a watcher's word is waited for."""
BUS_PAUSE_SECONDS: Final = 0.1


def add_state(command: argparse.ArgumentParser, *, required: bool = True) -> None:
    """Add `--state` and `--bus`."""
    command.add_argument(
        "--state",
        type=Path,
        required=required,
        metavar="PATH",
        help="the cluster's objects: a folder of manifests, a `kubectl get -o yaml` file, or `bus` with --bus",
    )
    command.add_argument(
        "--bus", metavar="URL", help="where a watcher tells the state, with what it was in the last quarter of an hour"
    )


@dataclasses.dataclass(frozen=True)
class Known:
    """The cluster, and how many of its objects were refused. `epochs` tell of policies over the time that is kept."""

    objects: Sequence[Resource]
    snapshot: Snapshot
    epochs: Sequence[PolicyEpoch]
    refused: int

    def as_of(self, instant_ns: int) -> tuple[list[Resource], Sequence[PolicyEpoch]]:
        """The objects with the policies of an instant, and the epochs up to it."""
        from ..inventory.policy_history import KINDS

        epochs = [epoch for epoch in self.epochs if epoch.since_ns <= instant_ns]
        objects: list[Resource] = [item for item in self.objects if not isinstance(item, KINDS)]
        objects += epochs[-1].objects if epochs else (item for item in self.objects if isinstance(item, KINDS))
        return objects, epochs


def load(arguments: argparse.Namespace) -> Known:
    """Read the objects; refused ones are named on standard error. Raises ConfigError."""
    return _of_the_bus(arguments) if arguments.state == Path("bus") else _of_files(arguments)


def objects_in(state: Path) -> tuple[list[Resource], list[Refusal]]:
    """The objects of a file or folder, and what was refused; of two of one name the later, which stands for both.
    Raises ConfigError where no object is left: an answer about no cluster would read like one about a cluster that is
    well, and a dump that failed is an empty file."""
    from ..inventory import manifests
    from ..inventory.identities import latest
    from ..inventory.models import Opaque

    objects, refusals = manifests.load(state)
    if all(isinstance(item, Opaque) for item in objects):
        raise ConfigError(f"--state: nothing can be read: {refusals[0] if refusals else f'{state} holds no object'}")
    return latest(objects), refusals


def _of_files(arguments: argparse.Namespace) -> Known:
    from ..inventory import snapshot

    if arguments.bus is not None:
        raise ConfigError("--bus: it goes with --state bus")
    objects, refusals = objects_in(arguments.state)
    for problem in refusals:
        print(f"flowatlas {arguments.command}: {problem}", file=sys.stderr)
    return Known(objects, snapshot.build(objects), (), len(refusals))


def _of_the_bus(arguments: argparse.Namespace) -> Known:
    """What a watcher has told. Raises ConfigError where none has, or the bus does not answer."""
    from collector.schema import STATE

    from ..bus import open_reader
    from ..outputs.meters import Meters
    from ..state import BusState

    if arguments.bus is None:
        raise ConfigError("--state bus: it wants --bus too")
    scheme, _, place = arguments.bus.partition("://")
    if scheme == "file" and not Path(place).is_dir():
        raise ConfigError(f"--bus: {place} is no folder")
    source = BusState(open_reader(arguments.bus, None, [STATE.topic], kafka_options(arguments.bus, None)))
    meters, deadline = Meters(), time.monotonic() + BUS_SECONDS
    try:
        while not (state := source(meters)).is_synced:
            if time.monotonic() > deadline:
                raise ConfigError(f"--bus: no watcher has told the cluster's state on {arguments.bus}")
            time.sleep(BUS_PAUSE_SECONDS)
        return Known(source.objects(), state.snapshot, state.epochs, sum(state.refused.values()))
    except TransientError as error:
        raise ConfigError(f"--bus: {error}") from error
    finally:
        source.stop()
