"""Packets that the node's kernel drops, by its own reason: policies, full queues, ports that nobody listens at.

A packet counts where it is dropped: on the node of its sender or of its receiver, in a pod's namespace or the node's.
Where the kernel refuses the hook that is said once, and there are no rows.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ..ebpf.drops import DropHooks
from ..ebpf.loaded import HookError
from ..errors import TransientError
from ..metrics import Metrics
from ..residence import Residence
from ..schema import DROPS, UTF8
from . import Columns

_log = logging.getLogger(__name__)

HOOK: Final = "drops"
OTHER: Final = "other"
"""The reason where the kernel's number is a subsystem's own."""


class DropSource:
    """Rows of DROPS. Needs CAP_BPF and CAP_PERFMON."""

    table = "drops"

    def __init__(self, metrics: Metrics, proc: Path | None = None, table_drops: int = 16_384) -> None:
        self._metrics = metrics
        self._residence = Residence(proc)
        self._table_drops = table_drops
        self._hooks: DropHooks | None = None

    def start(self) -> None:
        """Load and attach; never raises."""
        try:
            self._hooks = DropHooks(self._table_drops)
        except HookError as error:
            self._metrics.set("hook_info", 0, hook=HOOK, reason=error.reason)
            _log.warning("drops are not told: %s", error)
        else:
            self._metrics.set("hook_info", 1, hook=HOOK, reason="")

    def read(self, now_ns: int) -> Columns:
        """What was dropped since the last call. Raises TransientError where the kernel does not answer."""
        if self._hooks is None:
            return {name: [] if kind == UTF8 else np.empty(0, kind) for name, kind in DROPS.columns.items()}
        try:
            drops, counts = self._hooks.take()
            self._metrics.add("missed_drops_total", self._hooks.take_missed())
        except OSError as error:
            raise TransientError(f"drops: {error}") from error
        own = self._residence.is_own(drops["netns"], time.monotonic())
        return columns_of(np.compress(own, drops), np.compress(own, counts), self._hooks.reasons, now_ns)

    def finish(self, now_ns: int) -> Columns:
        """The same as a last `read`."""
        return self.read(now_ns)

    def stop(self) -> None:
        """Detach; safe to call twice."""
        if self._hooks is not None:
            self._hooks.close()
            self._hooks = None


def columns_of(drops: npt.NDArray[Any], counts: npt.NDArray[Any], reasons: Mapping[int, str], now_ns: int) -> Columns:
    """Columns of DROPS from arrays of `ebpf.drops` DROP and COUNT."""
    ends = {"src": "source", "dst": "destination"}
    return {
        "time": np.full(len(drops), now_ns, np.int64),
        **{
            f"{end}_{half}": drops[name][:, at].astype(np.uint64)
            for end, name in ends.items()
            for at, half in enumerate(("hi", "lo"))
        },
        **{f"{end}_port": drops[f"{name}_port"].astype(np.uint16) for end, name in ends.items()},
        "protocol": np.ascontiguousarray(drops["protocol"]),
        "reason": [reasons.get(number, OTHER) for number in drops["reason"].tolist()],
        **{name: np.ascontiguousarray(counts[name]) for name in ("packets", "bytes")},
    }
