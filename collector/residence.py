"""Which network namespaces are this node's, where one kernel holds several nodes.

The kernel's own hooks know no nodes. As a rule the kernel is the node's alone and nothing needs to be told apart; where
the collector was given a node's namespace and its /proc, the node is the namespaces of the processes seen there. The
invariant: a namespace that was the node's stays so.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

RESCAN_S: Final = 5.0


class Residence:
    """Tells the node's own namespaces by inode. `proc` None: every namespace is."""

    def __init__(self, proc: Path | None) -> None:
        self._proc = proc
        self._own: set[int] = set()
        self._foreign: set[int] = set()
        self._rescan_s = 0.0

    def is_own(self, netns: npt.NDArray[Any], now_s: float) -> npt.NDArray[np.bool_]:
        """Which of the namespaces are the node's. Those not known yet are looked for at once, foreign ones again."""
        if self._proc is None:
            return np.ones(len(netns), np.bool_)
        seen, place = np.unique(netns, return_inverse=True)
        unknown = set(seen.tolist()) - self._own
        if unknown - self._foreign or (unknown and now_s >= self._rescan_s):
            self._own |= namespaces_in(self._proc)
            self._foreign = unknown - self._own
            self._rescan_s = now_s + RESCAN_S
        own: npt.NDArray[np.bool_] = np.isin(seen, np.fromiter(self._own, np.int64, len(self._own)))[place]
        return own


def namespaces_in(proc: Path) -> set[int]:
    """The inodes of the network namespaces in which a visible process lives."""
    found = set()
    for process in os.scandir(proc):
        if process.name.isdecimal():
            try:
                found.add(Path(process.path, "ns", "net").stat().st_ino)
            except OSError:  # it has ended, or is another user's
                continue
    return found
