"""What an earlier collector has pinned and this one cannot go on with, since its tables have another size: read out.

The invariant: when `read_out` returns no program counts into what it has read.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from . import libbpf
from .layout import CONVERSATION, COUNTS, MISSED, MISSED_REASONS

TABLES: Final = ("flows_a", "flows_b")
PINNED: Final = (*TABLES, "active", "missed")
"""The maps; beside them are links, `IFINDEX-DIRECTION`."""
CHUNK: Final = 16_384

Taken = tuple[npt.NDArray[np.void], npt.NDArray[np.void]]
"""Arrays of CONVERSATION and COUNTS of equal length."""


@dataclass(frozen=True, slots=True)
class Leftovers:
    """What had been counted: tables by the kernel's numbers of them, and as `read_missed` has it what was missed."""

    tables: Mapping[int, Taken]
    missed: npt.NDArray[np.int64] | None


def read_out(folder: Path) -> Leftovers:
    """Stop the programs whose links are pinned there, and read what they have counted. Raises OSError.

    Of maps that are laid out otherwise, as another version may have them, nothing can be told.
    """
    for path in folder.iterdir():
        if path.name not in PINNED:
            with _opened(path) as link, contextlib.suppress(OSError):  # its interface has gone, and it with that
                libbpf.call("bpf_link_detach", link)
    tables: dict[int, Taken] = {}
    for name in TABLES:
        with _opened(folder / name) as table:
            *sizes, room = libbpf.map_sizes(table)
            if sizes == [CONVERSATION.itemsize, COUNTS.itemsize]:
                tables[libbpf.map_id(table)] = libbpf.take_all(table, CONVERSATION, COUNTS, CHUNK, room)
    with _opened(folder / "missed") as missed:
        is_known = libbpf.map_sizes(missed) == (4, MISSED.itemsize, len(MISSED_REASONS))
        return Leftovers(tables, read_missed(missed) if is_known else None)


def read_missed(map_fd: int) -> npt.NDArray[np.int64]:
    """Packets and bytes that came into no flow, a row a reason, since the map was made. Raises OSError."""
    per_cpu = np.zeros(libbpf.call("libbpf_num_possible_cpus"), MISSED)
    total = no_missed()
    for index in range(len(total)):
        libbpf.look_up(map_fd, index, per_cpu)
        total[index] = per_cpu["packets"].sum(), per_cpu["bytes"].sum()
    return total


def no_missed() -> npt.NDArray[np.int64]:
    """The same where none were."""
    return np.zeros((len(MISSED_REASONS), 2), np.int64)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    descriptor = libbpf.call("bpf_obj_get", str(path).encode())
    try:
        yield descriptor
    finally:
        os.close(descriptor)
