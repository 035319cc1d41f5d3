"""Flows of any source, with the heads of their connections as they passed at the pods' own interfaces.

It adds `app_protocol`, `server_name`, `method` and `path` to what the source reads, and changes nothing else. The
kernel hands over only segments that begin like a head (`heads.segments`); at most MAX_HEADS are read in a cycle, the
others are counted as skipped. Where the kernel refuses the capture that is said once, and flows are shipped without.
"""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ..heads.names import Head, NoHeadError, read_head
from ..heads.segments import head_filter
from ..heads.waiting import SIGHTING, WaitingHeads
from ..links import capture_points
from ..metrics import Metrics
from ..netlink import NETLINK_ROUTE, in_namespace, open_socket
from ..packets.decoder import decode
from ..packets.kinds import Kind
from ..packets.ring import Captured, Ring
from ..packets.sums import Points
from . import Columns, Source

_log = logging.getLogger(__name__)

HOOK: Final = "heads"
MAX_HEADS: Final = 5_000
"""Heads read in one cycle."""
SNAP_BYTES: Final = 4096
"""Holds a ClientHello with post-quantum keys; a pod's interface carries it whole where it offloads segmentation."""
_RETIRE_MS: Final = 40
_RING: Final = {"blocks": 128, "block_bytes": 32 * 1024, "retire_ms": _RETIRE_MS}
"""Room for 5 s of few heads, each of which may have a block of its own, and for 4 MB of many: a read comes once a
second, and later on a busy node."""
_PATIENCE_S: Final = 1.0
"""How late the kernel's timer may be, on a node that is very busy."""
_TCP: Final = 6


class HeadSource:
    """A source of flows and a capture of heads in one network namespace, which needs CAP_NET_RAW; inert until `start`.

    Of the heads one in `one_in` is read; of a path, at most `path_segments`.
    """

    table = "flows"

    def __init__(
        self, flows: Source, metrics: Metrics, netns: Path | None = None, one_in: int = 1, path_segments: int = 2
    ) -> None:
        self._flows = flows
        self._metrics = metrics
        self._netns = netns
        self._path_segments = path_segments
        self._ring = Ring(netns, program=head_filter(SNAP_BYTES, one_in), **_RING)
        self._waiting = WaitingHeads()
        self._links: Any = None
        self._pods = np.empty(0, np.uint32)
        """The pods' interfaces that were there at the last read: of one that has gone since, packets wait."""
        self._counted = (0, 0, 0)

    def start(self) -> None:
        """Start the source, which may raise ConfigError, and the capture, which never does."""
        self._flows.start()
        try:
            self._links = in_namespace(self._netns, lambda: open_socket(NETLINK_ROUTE))
            self._ring.start()
        except OSError as error:
            self._stop_capture()
            reason = "privileges" if isinstance(error, PermissionError) else "kernel"
            self._metrics.set("hook_info", 0, hook=HOOK, reason=reason)
            _log.warning("heads of connections are not told: %s (the agent needs CAP_NET_RAW)", error)
        else:
            self._metrics.set("hook_info", 1, hook=HOOK, reason="")

    def read(self, now_ns: int) -> Columns:
        """What the source reads, with the heads seen until then."""
        return self._join(self._flows.read(now_ns))

    def finish(self, now_ns: int) -> Columns:
        """The last rows of the source, in the same way."""
        return self._join(self._flows.finish(now_ns))

    def stop(self) -> None:
        """Stop both; safe to call twice."""
        self._flows.stop()
        self._stop_capture()

    def _stop_capture(self) -> None:
        self._ring.stop()
        if self._links is not None:
            self._links.close()
            self._links = None

    def _join(self, flows: Columns) -> Columns:
        if self._links is None:
            return flows
        counts: Counter[str] = Counter()
        sightings: list[npt.NDArray[np.void]] = []
        heads: list[Head] = []
        try:
            flaws: Counter[str] = Counter()
            there = Points.of(capture_points(self._links, flaws)).pods
            pods, self._pods = np.union1d(there, self._pods), there
            # a head of these flows may lie in a block that the kernel still fills
            blocks = self._ring.until_now(_PATIENCE_S)
            sightings.extend(self._read(captured, pods, heads, counts) for captured in blocks)
            counts["ring_full"] += self._ring.drops()
        except OSError as error:
            _log.warning("heads: %s", error)
        seen = np.concatenate(sightings, dtype=SIGHTING) if sightings else np.empty(0, SIGHTING)
        columns = self._waiting.join(flows, seen, heads)
        before, self._counted = (
            self._counted,
            (self._waiting.joined, self._waiting.repeated, self._waiting.unmatched),
        )
        for result, now, then in zip(("joined", "repeated", "unmatched"), self._counted, before, strict=True):
            counts[result] += now - then
        for result, count in counts.items():
            self._metrics.add("heads_total", count, result=result)
        return columns

    def _read(
        self, captured: Captured, pods: npt.NDArray[np.uint32], heads: list[Head], counts: Counter[str]
    ) -> npt.NDArray[np.void]:
        """The sightings of one block; their heads are added to `heads`."""
        rows = np.flatnonzero(np.isin(captured.ifindex, pods))
        room = max(0, MAX_HEADS - len(heads))
        counts["skipped"] += max(0, len(rows) - room)
        rows = rows[:room]
        ethernet, sealed = np.full(len(rows), Kind.ETHERNET, np.uint8), np.ones(len(rows), np.bool_)
        decoded = decode(captured.octets, captured.start[rows], captured.end[rows], ethernet, sealed)
        inner, packet = decoded.inner, rows[decoded.rows]
        read: list[int] = []
        for row in np.flatnonzero(inner.protocol == _TCP).tolist():
            data = captured.octets.part(int(decoded.at[row]), int(captured.end[packet[row]]))
            payload = (data[8] >> 4) * 4 - 4 if len(data) > 8 else 0  # the ports have been read
            try:
                heads.append(read_head(data[payload:], self._path_segments))
            except NoHeadError as error:
                counts[error.reason] += 1
            else:
                read.append(row)
        seen = np.zeros(len(read), SIGHTING)
        for end, name in (("src", "source"), ("dst", "destination")):
            for half, part in enumerate(("hi", "lo")):
                seen[name][:, half] = getattr(inner, f"{end}_{part}")[read]
            seen[f"{name}_port"] = getattr(inner, f"{end}_port")[read]
        seen["time"] = captured.time[packet[read]]
        seen["is_answerers"] = captured.is_outgoing[packet[read]]
        return seen
