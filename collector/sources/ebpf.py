"""Flows counted packet by packet in the kernel, by the collector's own eBPF program on pods' interfaces and uplinks.

Each read empties the kernel's table and puts the two directions of each connection together. It sees what connection
tracking does not: packets that are dropped before a connection is confirmed, and traffic that is not tracked. It does
not see what never leaves the node's own namespace (its loopback).

With a journal and a place to pin the kernel's tables and hooks, it goes on where a killed collector was: see `journal`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from ..ebpf.interfaces import Interfaces
from ..ebpf.program import MissingError, Program
from ..ebpf.sightings import sight
from ..ebpf.tracking import LAYOUT, Connections
from ..errors import TransientError
from ..journal import Journal, Left, Part
from ..metrics import Metrics
from ..schema import FLOWS
from . import Columns

_log = logging.getLogger(__name__)

_NAME: Final = "ebpf"
_KIND: Final = f"{_NAME} {LAYOUT}"  # of what is in the journal
_FORMER_KIND: Final = _NAME
"""Of journals that say nothing of their layout, which is this one: none goes on with them where LAYOUT changes."""
_OWN_NETNS: Final = Path("/proc/self/ns/net")


class EbpfSource:
    """Rows of FLOWS from the packets at one network namespace's interfaces."""

    table = "flows"

    def __init__(
        self,
        metrics: Metrics,
        netns: Path | None = None,
        table_flows: int = 131_072,
        pin: Path | None = None,
        journal: Journal | None = None,
    ) -> None:
        self._metrics = metrics
        self._netns = netns
        self._table_flows = table_flows
        self._pin = pin / str((netns or _OWN_NETNS).stat().st_ino) if pin and journal else None
        self._journal = journal if pin else None
        self._connections = Connections()
        self._program: Program | None = None
        self._interfaces: Interfaces | None = None

    def start(self) -> None:
        """Load the program and put it on the interfaces. Raises MissingError, a ConfigError, where that cannot be."""
        left = self._journal.open(_KIND, _FORMER_KIND) if self._journal else Left()
        try:
            self._program = Program(self._table_flows, self._pin)
        except MissingError:
            self.stop()
            raise
        if self._journal is not None:
            self._resume(self._program, left)
        self._interfaces = Interfaces(self._program, self._metrics, self._netns)
        try:
            self._interfaces.start()
        except (OSError, TransientError) as error:
            self.stop()
            raise MissingError("netns", f"the interfaces of {self._netns or 'here'} cannot be read: {error}") from error
        self._program.unpin_gone()

    def read(self, now_ns: int) -> Columns:
        """What was counted since the last call. Raises TransientError where the kernel does not answer."""
        return self._read(now_ns, final=False)

    def finish(self, now_ns: int) -> Columns:
        """The same, and what waited for a next read: connections that live on stay open."""
        return self._read(now_ns, final=True)

    def stop(self) -> None:
        """Detach and unload."""
        if self._interfaces is not None:
            self._interfaces.stop()
        if self._program is not None:
            self._program.close()
        if self._journal is not None:
            self._journal.close()
        self._interfaces = self._program = None

    def _resume(self, program: Program, left: Left) -> None:
        """Go on where an earlier collector was: what it has told, by this source or by another, is not told again."""
        self._connections.live.restore(part.arrays for part in left.parts)
        self._connections.live.watch()
        if left.parts:
            program.resume(**left.parts[-1].values)
        elif left.kind.startswith(f"{_NAME} "):
            _log.warning("ebpf: the journal is of another version, and laid out otherwise: connections are opened anew")
        elif left.kind:
            _log.info("ebpf: flows came from %s last: what was counted beside it is not told", left.kind.split()[0])
            program.discard()

    def changes(self) -> Part:
        """For the journal: what the last read has changed."""
        return self._part(everything=False)

    def everything(self) -> Part:
        """For the journal: all that the next collector needs."""
        return self._part(everything=True)

    def _part(self, *, everything: bool) -> Part:
        program = self._program
        values = {"taken": program.taken_id, "missed": program.missed.tolist()} if program else {}
        return Part(values, self._connections.live.changed(everything=everything))

    def _read(self, now_ns: int, *, final: bool) -> Columns:
        if self._program is None or self._interfaces is None:
            raise TransientError("ebpf: not started")
        wall_ns = time.time_ns() - time.monotonic_ns()
        try:
            flows, counts = self._program.take()
            missed = self._program.take_missed()
        except OSError as error:
            raise TransientError(f"ebpf: {error}") from error
        self._count_missed(missed)
        seen = sight(flows, counts, self._interfaces.uplinks, self._connections.holds)
        cut = self._connections.cut
        rows = self._connections.update(seen, now_ns - wall_ns, wall_ns, final=final)
        self._metrics.set("tracked_flows", len(self._connections))
        self._metrics.add("cut_flows_total", self._connections.cut - cut)
        if self._journal is not None:
            self._journal.stage(self, self._program.forget)
        return {name: rows[name] for name in FLOWS.columns_of(1)}

    def _count_missed(self, missed: Mapping[str, tuple[int, int]]) -> None:
        for reason, (packets, size) in missed.items():
            self._metrics.add("missed_packets_total", packets, reason=reason)
            self._metrics.add("missed_bytes_total", size, reason=reason)
