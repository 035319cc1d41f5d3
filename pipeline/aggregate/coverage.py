"""How much of what the pods' interfaces carried is in the flows: 1 where the collectors miss nothing.

On its node, a flow passes the interface of each of its ends that is a pod there: a pod that calls itself through a
Service, twice. What an interface counts above a flow's bytes is the link header of each packet. Requests over TCP that
nothing answered may have been dropped on the way and are not expected at the other end.

Interfaces count frames without IP too, which are in no flow: above all ARP, of `_ARP_BYTES`. Nobody tells how many
they were, so frames that are in no flow are taken for ARP as far as they are together shorter than so many of the
shortest segments of TCP. Larger packets that were missed leave no room for that, so they always show.

Both sides are sums since the same moment: counters come with the time when they were read, flows with the time until
when they count. The invariant: all flows between the first and the last reading of a window are in its sum, and none
else, whatever the order in which both come, as long as a pod's first reading does not come long after its flows.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ..attribution import arrays
from ..attribution.keyindex import distinct
from ..catalog import BY_NAME
from ..inventory.snapshot import Snapshot
from ..kept import Frames, fits, rows_of
from .pod_numbers import NAMES, POD, PodNumbers
from .samples import Samples

_OWN_INTERFACE: Final = "eth0"
"""What container runtimes call the interface of a pod's own network. Others that the pod has are another network's, or
carry within it what this one carries: bridges, tunnels."""
_LINK_BYTES: Final = 14  # an Ethernet header, as a veth counts it; no checksum
_ARP_BYTES: Final = _LINK_BYTES + 28
_SHORTEST_SEGMENT_BYTES: Final = _LINK_BYTES + 20 + 20
_TCP: Final = 6
_SECOND_NS: Final = 1_000_000_000
_TIDIED_ROWS: Final = 60_000
"""So many rows of flows are tidied up at a time, which takes four times their memory."""

_SPARSENESS: Final = 4
"""Places of pods at looks to a row of theirs at most: a place for each costs less than to tell apart what is there."""

_FLOWS: Final = pl.Schema({"pod": pl.UInt32(), "time": pl.Int64(), "bytes": pl.Int64(), "packets": pl.Int64()})
_READINGS: Final = pl.Schema({**_FLOWS, "netns": pl.UInt64()})
_FLOORS: Final = pl.Schema({"node": pl.String(), "floor": pl.Int64()})
_SUMS: Final = ("bytes", "packets")
_MOST_FORGOTTEN: Final = 10_000
"""Pods of which nothing is kept that may still have numbers."""


class Coverage:
    """Flows and counters of the last `window_s`; readings are kept about one a `step_s`.

    Flows of a pod of which no reading has come are kept for `wait_s`, and a first reading from before those that are
    kept is passed over: else every second of every pod would be kept where there are no counters. They are tidied up
    when somebody asks, or `untidy_rows` came: who catches up has more between two publications, and to tidy up takes
    three times their memory."""

    def __init__(
        self,
        window_s: float = 600.0,
        step_s: float = 60.0,
        shortest_s: float = 10.0,
        wait_s: float = 15.0,
        untidy_rows: int = 200_000,
    ) -> None:
        self._window_ns = int(window_s * _SECOND_NS)
        self._step_ns = int(step_s * _SECOND_NS)
        self._shortest_ns = int(shortest_s * _SECOND_NS)
        self._wait_ns = int(wait_s * _SECOND_NS)
        self._untidy_rows = untidy_rows
        self._flows = pl.DataFrame(schema=_FLOWS)
        self._readings = pl.DataFrame(schema=_READINGS)
        self._pods = PodNumbers()
        """What `pod` means in flows and readings."""
        self._homes: _Homes | None = None
        self._floors = pl.DataFrame(schema=_FLOORS)
        """Until when flows of pods without a reading are forgotten, by node, for clocks differ."""
        self._is_tidy = True
        self._tidied = 0
        """Rows of `_flows` that there were when it was tidied last."""

    def add_flows(self, flows: pl.DataFrame, snapshot: Snapshot) -> None:
        """Add flows of every role, attributed under the snapshot."""
        if self._homes is None or snapshot.endpoints is not self._homes.endpoints:
            self._homes = _Homes(snapshot.endpoints, self._pods)
        arrived = _at_pods(flows, self._homes)
        if arrived is not None:
            self._flows = pl.concat([self._flows, arrived])
            self._is_tidy = False
            if self._flows.height - self._tidied >= self._untidy_rows:
                self._tidy()

    def add_counters(self, counters: pl.DataFrame) -> None:
        """Add readings of pods' interfaces: COUNTERS with `node`, `namespace` and `pod` as String.

        Of a pod that has its own interface that one alone counts.
        """
        sums = (pl.sum_horizontal(f"receive_{what}", f"transmit_{what}").alias(what) for what in _SUMS)
        # modulo 2**64, as what grew is told then too where a driver began below zero
        both_ways = [whole.cast(pl.Int64, wrap_numerical=True).sum() for whole in sums]
        is_own = pl.col("interface") == _OWN_INTERFACE
        counters = counters.filter(is_own | ~is_own.any().over(*POD, "time", "netns"))
        read = counters.group_by(*POD, "time", "netns").agg(*both_ways)
        read = read.join(self._floors, on="node", how="left").with_columns(pod=self._pods.of(read))
        is_known = pl.col("pod").is_in(self._readings["pod"].unique().implode())
        is_taken = is_known | pl.col("floor").is_null() | (pl.col("time") >= pl.col("floor"))
        self._readings = pl.concat([self._readings, read.filter(is_taken).select(_READINGS.names())])
        self._is_tidy = False

    def keep_nodes(self, nodes: Collection[str]) -> None:
        """Forget pods of other nodes: somebody else is told of them."""
        of_nodes = np.flatnonzero(self._pods.names["node"].is_in(list(nodes)).to_numpy())
        is_kept = pl.col("pod").is_in(pl.Series(of_nodes, dtype=pl.UInt32).implode())
        self._flows, self._readings = self._flows.filter(is_kept), self._readings.filter(is_kept)

    def state(self) -> Frames:
        """The flows and readings of the window."""
        self._tidy()
        return {"flows": self._flows, "readings": self._readings, "pods": self._pods.names}

    def restore(self, frames: Frames) -> int:
        """Take up a window."""
        if not fits(frames, flows=_FLOWS, readings=_READINGS, pods=NAMES):
            return rows_of(frames)
        self._pods = PodNumbers(frames["pods"])
        self._flows, self._readings = frames["flows"], frames["readings"]
        self._raise_floors()
        self._is_tidy = False
        return 0

    def samples(self) -> list[Samples]:
        """The share of each pod, and of each node's pods together, over the window up to the last reading."""
        self._tidy()
        pods = self._compared().sort(POD)
        nodes = pods.group_by("node").agg(pl.col("flow_bytes", "expected_bytes").sum()).sort("node")
        shares = (("flowatlas_capture_coverage_ratio", pods), ("flowatlas_node_capture_coverage_ratio", nodes))
        return [_samples(metric, compared) for metric, compared in shares]

    def _tidy(self) -> None:
        """Forget what is out of the window, and put together what will be asked for together."""
        if self._is_tidy:
            return
        newest = pl.col("time").max()
        is_same_pod = pl.col("netns") == pl.col("netns").sort_by("time").last().over("pod")
        readings = self._readings.filter(newest.over("pod") > newest - self._window_ns).filter(is_same_pod)
        readings = readings.filter(pl.col("time") >= newest.over("pod") - self._window_ns)
        is_first_of_step = pl.col("time") == pl.col("time").min().over("pod", pl.col("time") // self._step_ns)
        self._readings = readings.filter(is_first_of_step | (pl.col("time") == newest.over("pod"))).unique(
            ["pod", "time"], keep="any"
        )
        self._raise_floors()
        if self._flows.height:
            read = self._readings.select("pod", "time", read="time").sort("time")
            oldest = pl.lit(self._flows["time"].max(), pl.Int64) - self._window_ns
            since = self._since()
            parts = [self._told(rows, oldest, since, read) for rows in self._flows.iter_slices(_TIDIED_ROWS)]
            self._flows = parts[0] if len(parts) == 1 else _summed(pl.concat(parts).lazy())
        self._is_tidy, self._tidied = True, self._flows.height
        self._forget_pods()

    def _since(self) -> pl.Series:
        """By pod the time of its first reading or, where there is none, until when its flows are forgotten."""
        first = self._readings.group_by("pod").agg(since=pl.col("time").min())
        return (
            self._pods.names.select("node")
            .with_row_index("pod")
            .join(first, on="pod", how="left", maintain_order="left")
            .join(self._floors, on="node", how="left", maintain_order="left")
            .select(pl.coalesce("since", "floor"))["since"]
        )

    def _told(self, flows: pl.DataFrame, oldest: pl.Expr, since: pl.Series, read: pl.DataFrame) -> pl.DataFrame:
        """Those flows of which a reading may tell, as of the next one that their pod has, or as they are."""
        return _summed(
            flows.lazy()
            .filter(pl.col("time") > oldest, pl.col("time") > since[flows["pod"]])
            .sort("time")
            .join_asof(
                read.lazy(),
                on="time",
                by="pod",
                strategy="forward",
                check_sortedness=False,  # it is sorted; Polars cannot tell with `by`
            )
            .with_columns(time=pl.coalesce("read", "time"))
        )

    def _forget_pods(self) -> None:
        """Give new numbers where most pods that have one are gone."""
        used = pl.concat([self._flows["pod"], self._readings["pod"]]).unique()
        if len(self._pods) > 2 * len(used) + _MOST_FORGOTTEN:
            numbers = pl.Series(self._pods.keep(used.to_numpy()))
            self._flows, self._readings = (
                rows.with_columns(pod=numbers[rows["pod"]]) for rows in (self._flows, self._readings)
            )
            self._homes = None

    def _raise_floors(self) -> None:
        newest = self._flows.group_by("pod").agg(pl.col("time").max())
        nodes = self._pods.names["node"][newest["pod"]]
        newest = newest.with_columns(nodes).group_by("node").agg(floor=pl.col("time").max() - self._wait_ns)
        floors = pl.concat([self._floors, newest]).group_by("node").agg(pl.col("floor").max())
        self._floors = floors.filter(pl.col("floor") > pl.col("floor").max() - self._window_ns)

    def _compared(self) -> pl.DataFrame:
        """`flow_bytes` and `expected_bytes` of each pod whose interface was read for long enough and carried any."""
        grown = [(pl.col(name).last() - pl.col(name).first()).alias(f"read_{name}") for name in (*_SUMS, "time")]
        read = (
            self._readings.sort("time")
            .group_by("pod")
            .agg(*grown, until=pl.col("time").last())
            .filter(pl.col("read_time") >= self._shortest_ns, pl.col("read_bytes") > 0, pl.col("read_packets") >= 0)
        )
        told = (
            self._flows.join(read.select("pod", "until"), on="pod")
            .filter(pl.col("time") <= pl.col("until"))
            .group_by("pod")
            .agg(pl.col("bytes").sum().alias("flow_bytes"), pl.col("packets").sum().alias("flow_packets"))
        )
        missed_packets = pl.col("read_packets") - pl.col("flow_packets")
        missed_bytes = pl.col("read_bytes") - pl.col("flow_bytes")
        room = (_SHORTEST_SEGMENT_BYTES * missed_packets - missed_bytes) // (_SHORTEST_SEGMENT_BYTES - _ARP_BYTES)
        arp = pl.min_horizontal(room, missed_packets).clip(lower_bound=0)
        compared = (
            read.join(told, on="pod", how="left")
            .with_columns(pl.col("flow_bytes", "flow_packets").fill_null(0))
            .with_columns(expected_bytes=pl.col("read_bytes") - _ARP_BYTES * arp)
            .filter(pl.col("expected_bytes") > 0)
        )
        return self._pods.names[compared["pod"]].hstack(compared.drop("pod"))


class _Homes:
    """The nodes that pods are on, by endpoint id, as codes of the category that flows have."""

    def __init__(self, endpoints: pl.DataFrame, pods: PodNumbers) -> None:
        self.endpoints = endpoints
        self._pods = pods
        self._numbers = np.full(endpoints.height, arrays.NO_ID)
        """By endpoint id, of those that were asked for."""
        is_pod = pl.col("kind") == "Pod"
        homes = endpoints.select(pl.when(is_pod).then(pl.col("node").cast(pl.String)).cast(pl.Categorical))["node"]
        self._categories = homes
        """Kept, since the codes of categories that nobody has may be given to others."""
        self.codes = arrays.ids(homes.to_physical())
        """NO_ID for what is no pod."""
        place = pl.int_range(pl.len(), dtype=pl.Int64).over("home")
        self.places = pl.DataFrame({"home": self.codes}).select(place.alias("place"))["place"].to_numpy()
        """Numbers that tell the pods of one node apart, from 0."""
        self.width = int(self.places[self.codes != arrays.NO_ID].max(initial=0)) + 1
        """How many there are on one node at most."""

    def pods(self, ids: NDArray[np.uint32]) -> NDArray[np.uint32]:
        """The pods' numbers, by their endpoint ids."""
        unasked = np.unique(ids[self._numbers.take(ids) == arrays.NO_ID])
        if unasked.size:
            named = arrays.taken(self.endpoints, unasked, "node", "namespace", "name")
            self._numbers[unasked] = self._pods.of(named.rename({"name": "pod"})).to_numpy()
        return self._numbers.take(ids)


def _at_pods(flows: pl.DataFrame, homes: _Homes) -> pl.DataFrame | None:
    """What flows come to at the interfaces of the pods that are their ends and live where they were seen."""
    nodes, times = flows["node"].to_physical().to_numpy(), flows["time"].to_numpy()
    replies, tcp = flows["reply_packets"].to_numpy(), flows["protocol"].to_numpy() == _TCP
    packets = flows["packets"].to_numpy() + replies
    carried = flows["bytes"].to_numpy() + flows["reply_bytes"].to_numpy() + np.uint64(_LINK_BYTES) * packets
    looks = _looks(nodes, times) * homes.width
    parts = []
    for end, is_expected in (("src_id", None), ("dst_id", ~tcp | (replies > 0))):
        ids = flows[end].to_numpy()
        is_home = homes.codes.take(ids) == nodes
        rows = np.flatnonzero(is_home if is_expected is None else is_home & is_expected)
        at = ids.take(rows)
        parts.append((rows, at, looks.take(rows) + homes.places.take(at)))
    rows, ids, cells = (np.concatenate(both) for both in zip(*parts, strict=True))
    if not rows.size:
        return None
    size = int(cells.max()) + 1
    if size > _SPARSENESS * rows.size:
        cells, first = distinct([cells.view(np.uint64)])
        size = first.size
    row = np.full(size, -1)
    row[cells] = np.arange(rows.size)
    told = np.flatnonzero(row >= 0)
    some = row.take(told)
    sums = {"bytes": np.zeros(size, np.int64), "packets": np.zeros(size, np.int64)}
    for measure, values in (("bytes", carried), ("packets", packets)):
        np.add.at(sums[measure], cells, values.view(np.int64).take(rows))
    pods, times = homes.pods(ids.take(some)), times.take(rows.take(some))
    return pl.DataFrame({"pod": pods, "time": times, **{name: values.take(told) for name, values in sums.items()}})


def _looks(nodes: NDArray[np.uint32], times: NDArray[np.int64]) -> NDArray[np.int64]:
    """By row the number of the look at a node's kernel that it is from: of rows that follow each other, as those of a
    batch do. Rows of one look have the same node and time."""
    is_next = np.empty(nodes.size, np.bool_)
    is_next[:1] = False
    is_next[1:] = (nodes[1:] != nodes[:-1]) | (times[1:] != times[:-1])
    return np.cumsum(is_next)


def _summed(flows: pl.LazyFrame) -> pl.DataFrame:
    """What is of one pod and time together."""
    return flows.group_by("pod", "time").agg(pl.col(_SUMS).sum()).select(_FLOWS.names()).collect()


def _samples(name: str, compared: pl.DataFrame) -> Samples:
    metric = BY_NAME[name]
    return Samples(metric, compared.select(metric.labels), compared["flow_bytes"] / compared["expected_bytes"])
