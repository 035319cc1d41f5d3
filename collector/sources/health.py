"""Flows of any source, with what the sockets of this node tell of their TCP connections.

It adds `connect_us`, `srtt_us` and `retransmits` to what the source reads, and changes nothing else. Where the kernel
refuses the hooks that is said once, and flows are shipped without.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path

import numpy as np

from ..ebpf.loaded import HookError
from ..ebpf.tcp import TcpHooks
from ..metrics import Metrics
from ..residence import Residence
from ..tcphealth import SLACK_NS, TcpHealth
from ..wallclock import WallClock
from . import Columns, Source

_log = logging.getLogger(__name__)

HOOK = "tcp_health"


class HealthSource:
    """A source of flows and the hooks on TCP sockets; inert until `start`."""

    table = "flows"

    def __init__(self, flows: Source, metrics: Metrics, proc: Path | None, most_ended: int) -> None:
        self._flows = flows
        self._metrics = metrics
        self._residence = Residence(proc)
        self._most_ended = most_ended
        self._health = TcpHealth()
        self._clock = WallClock(SLACK_NS)
        self._hooks: TcpHooks | None = None
        self._counted = (0, 0)

    def start(self) -> None:
        """Start the source, which may raise ConfigError, and the hooks, which never do."""
        self._flows.start()
        try:
            self._hooks = TcpHooks(self._most_ended)
        except HookError as error:
            self._metrics.set("hook_info", 0, hook=HOOK, reason=error.reason)
            _log.warning("TCP connect times, round-trip times and retransmits are not told: %s", error)
        else:
            self._metrics.set("hook_info", 1, hook=HOOK, reason="")

    def read(self, now_ns: int) -> Columns:
        """What the source reads, and then what its connections' sockets have told by now."""
        return self._join(self._flows.read(now_ns))

    def finish(self, now_ns: int) -> Columns:
        """The last rows of the source, in the same way."""
        return self._join(self._flows.finish(now_ns))

    def stop(self) -> None:
        """Stop both; safe to call twice."""
        self._flows.stop()
        if self._hooks is not None:
            self._hooks.close()
            self._hooks = None

    def _join(self, flows: Columns) -> Columns:
        if self._hooks is None:
            return flows
        try:
            observations = self._hooks.take()
            missed = self._hooks.take_missed()
        except OSError as error:
            _log.warning("tcp_health: %s", error)
            return flows
        for reason, count in missed.items():
            self._metrics.add("tcp_observations_total", count, result=reason)
        own = self._residence.is_own(observations["netns"], time.monotonic())
        if not own.all():
            observations = np.compress(own, observations)
        now_ns = time.monotonic_ns()
        self._clock.look(now_ns, time.time_ns() - now_ns)
        columns = self._health.join(flows, observations, self._clock.ahead(observations["since"]))
        before, self._counted = self._counted, (self._health.joined, self._health.unmatched)
        for result, now, then in zip(("joined", "unmatched"), self._counted, before, strict=True):
            self._metrics.add("tcp_observations_total", now - then, result=result)
        return columns
