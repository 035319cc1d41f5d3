"""Heads put to the flows of the same connections. Pure.

At an opener's interface a head has the addresses that the opener uses (`src`, `dst` of FLOWS), at an answerer's those
that the answerer sees (`nat_src`, `backend`). The invariant: a head is told on one row at most, and a row tells one
head, the earliest; a head waits for its row for WAIT_READS reads and is then counted as unmatched.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ..connections import mixed
from ..text import Text
from .names import Head

WAIT_READS: Final = 10
MOST_WAITING: Final = 20_000
SLACK_NS: Final = 20_000_000
"""By how much a flow's `start` and a packet's time may disagree."""
SIGHTING: Final = np.dtype(
    [
        ("time", "i8"),  # ns since the epoch
        ("source", "u8", 2),
        ("destination", "u8", 2),
        ("source_port", "u2"),
        ("destination_port", "u2"),
        ("is_answerers", "?"),  # it was seen on its way into the pod that answers
    ]
)
"""Where and when a head was seen."""
_WAITING: Final = np.dtype([("key", "u8"), ("time", "i8"), ("head", "u4"), ("is_answerers", "?"), ("reads", "u1")])
_TCP: Final = 6
_TEXTS: Final = ("server_name", "method", "path")


class WaitingHeads:
    """Heads that wait for their flow."""

    def __init__(self) -> None:
        self._waiting = np.empty(0, _WAITING)
        self._heads: list[Head] = []
        self.joined = self.repeated = self.unmatched = 0
        """Heads told on a row, those of a row that told an earlier one, and those given up; since the start."""

    def join(self, flows: Mapping[str, Any], sightings: npt.NDArray[np.void], heads: Sequence[Head]) -> dict[str, Any]:
        """The columns of FLOWS rows with those of heads, from these (one a sighting) and from those that wait."""
        new = np.zeros(len(sightings), _WAITING)
        new["key"] = _keys(
            *(sightings[end][:, half] for end in ("source", "destination") for half in (0, 1)),
            sightings["source_port"],
            sightings["destination_port"],
        )
        for name in ("time", "is_answerers"):
            new[name] = sightings[name]
        new["head"] = np.arange(len(heads)) + len(self._heads)
        waiting, known = np.concatenate([self._waiting, new]), [*self._heads, *heads]
        at = _rows_of(waiting, flows)
        found = np.flatnonzero(at >= 0)
        found = found[np.argsort(waiting["time"][found], kind="stable")]
        rows, first = np.unique(at[found], return_index=True)
        told = [known[number] for number in waiting["head"][found[first]].tolist()]
        self.joined += len(rows)
        self.repeated += len(found) - len(rows)
        self._keep(waiting[at < 0], known)
        return {**flows, **_columns(len(flows["src_hi"]), rows, told)}

    def _keep(self, left: npt.NDArray[np.void], known: Sequence[Head]) -> None:
        left["reads"] += 1
        kept = left[left["reads"] <= WAIT_READS][-MOST_WAITING:]
        self.unmatched += len(left) - len(kept)
        self._heads = [known[number] for number in kept["head"].tolist()]
        kept["head"] = np.arange(len(kept))
        self._waiting = kept


def _columns(count: int, rows: npt.NDArray[np.int64], told: Sequence[Head]) -> dict[str, Any]:
    columns: dict[str, Any] = {"app_protocol": np.zeros(count, np.uint8)}
    columns["app_protocol"][rows] = [head.app_protocol for head in told]
    for name in _TEXTS:
        known = Text.of(["", *(getattr(head, name) for head in told)])
        numbers = np.zeros(count, np.uint32)
        numbers[rows] = known.numbers[1:]
        columns[name] = Text(known.values, numbers)
    return columns


def _rows_of(waiting: npt.NDArray[np.void], flows: Mapping[str, Any]) -> npt.NDArray[np.int64]:
    """For each head the row of its connection, or -1."""
    at = np.full(len(waiting), -1)
    tcp = np.flatnonzero(flows["protocol"] == _TCP)
    if not len(tcp) or not len(waiting):
        return at
    for is_answerers, ends in ((False, ("src", "dst")), (True, ("nat_src", "backend"))):
        some = np.flatnonzero(waiting["is_answerers"] == is_answerers)
        among = _keys(
            *(flows[f"{end}_{half}"][tcp] for end in ends for half in ("hi", "lo")),
            *(flows[f"{end}_port"][tcp] for end in ends),
        )
        row = _matched(waiting["key"][some], waiting["time"][some], among, flows["start"][tcp])
        at[some] = np.where(row >= 0, tcp[row], -1)
    return at


def _matched(
    wanted: npt.NDArray[np.uint64],
    time: npt.NDArray[np.int64],
    among: npt.NDArray[np.uint64],
    start: npt.NDArray[np.int64],
) -> npt.NDArray[np.int64]:
    """For each wanted key the position of the connection that has it and began last before the head, or -1."""
    order = np.lexsort((start, among))
    ordered = among[order]
    low, high = (np.searchsorted(ordered, wanted, side=side) for side in ("left", "right"))
    place = high - 1
    for several in np.flatnonzero(high - low > 1).tolist():
        begun = start[order[low[several] : high[several]]]
        place[several] = low[several] + max(0, int(np.searchsorted(begun, time[several] + SLACK_NS, side="right")) - 1)
    position: npt.NDArray[np.int64] = order[np.maximum(place, 0)]
    is_there = (high > low) & (start[position] <= time + SLACK_NS)
    return np.where(is_there, position, -1)


def _keys(*parts: npt.NDArray[Any]) -> npt.NDArray[np.uint64]:
    """A hash of who opened a connection and who answers: halves of both addresses, and both ports."""
    *addresses, source_port, destination_port = (part.astype(np.uint64) for part in parts)
    return mixed(len(source_port), *addresses, source_port << np.uint64(16) | destination_port)
