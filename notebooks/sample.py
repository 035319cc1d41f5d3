"""A month of a shop's traffic, made up: what the notebooks about time read, for a recorded lab has no weeks.

`lake()` writes it once into `.cache/` and gives the folder; the same seed gives the same rows. The invariant: what is
planted (`PLANTED`) is all that is odd in it, so that a notebook that finds something else is wrong.

A shop with an ingress, a frontend, an API, a database and a cache, on four nodes in two zones; a payment provider
outside; a nightly report. Load goes with the hour and the day of the week.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from pipeline.outputs.history import HISTORY
from pipeline.outputs.lake import Lake

BEGIN: Final = datetime(2026, 2, 2, tzinfo=UTC)
"""A Monday."""
DAYS: Final = 28
_SEED: Final = 20260202
_SLOT_S: Final = 600
_CACHE: Final = Path(__file__).resolve().parents[1] / ".cache" / "notebooks"

BAD_HOUR: Final = BEGIN + timedelta(days=24, hours=14)
"""Between the zones packets are lost: the API waits for its database."""
BEACON_FROM: Final = BEGIN + timedelta(days=19, hours=3)
"""From then on one frontend pod calls an address beyond the cluster every five minutes."""
UPLOAD_AT: Final = BEGIN + timedelta(days=23, hours=2, minutes=20)
"""The nightly report sends a large file to a bucket that it never talked to before."""
SCAN_AT: Final = BEGIN + timedelta(days=25, hours=3, minutes=12)
"""A debug pod tries forty ports of five pods."""
DRIFT_AT: Final = BEGIN + timedelta(days=14, hours=10)
"""The policy that let only the API reach the database is replaced by one that lets the namespace."""
CROSSED_AT: Final = BEGIN + timedelta(days=16, hours=9)
"""The frontend begins to ask the database itself, which the former policy would not have let it."""
PLANTED: Final = {
    "bad hour": BAD_HOUR,
    "beacon": BEACON_FROM,
    "upload": UPLOAD_AT,
    "scan": SCAN_AT,
    "policy drift": DRIFT_AT,
    "new edge": CROSSED_AT,
}


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod, or what is beyond the cluster."""

    namespace: str
    workload: str
    name: str
    node: str
    address: str
    kind: str = "Pod"

    @property
    def zone(self) -> str:
        """Nodes 1 and 2 are in one zone, 3 and 4 in the other."""
        return {"node1": "zone-a", "node2": "zone-a", "node3": "zone-b", "node4": "zone-b"}.get(self.node, "")


def _pods(namespace: str, workload: str, third: int, nodes: str) -> list[Pod]:
    return [
        Pod(namespace, workload, f"{workload}-{i}", f"node{node}", f"10.{int(node)}.0.{third + i}")
        for i, node in enumerate(nodes)
    ]


INGRESS: Final = _pods("ingress", "controller", 10, "13")
FRONTEND: Final = _pods("shop", "frontend", 20, "123")
API: Final = _pods("shop", "api", 30, "1234")
POSTGRES: Final = _pods("shop", "postgres", 40, "3")
REDIS: Final = _pods("shop", "redis", 50, "1")
REPORT: Final = _pods("batch", "report", 60, "4")
PROMETHEUS: Final = _pods("monitoring", "prometheus", 70, "2")
DEBUG: Final = _pods("default", "debug", 80, "2")
USERS: Final = [Pod("", "outside", "outside", "", f"198.18.{i}.7", "External") for i in range(20)]
PAYMENTS: Final = [Pod("", "outside", "outside", "", "203.0.113.10", "External")]
BUCKET: Final = [Pod("", "outside", "outside", "", "203.0.113.200", "External")]
UNNAMED: Final = [Pod("", "outside", "outside", "", "198.51.100.77", "External")]


@dataclass(frozen=True, slots=True)
class Edge:
    """Who asks whom, how often by day, and how much each time."""

    sources: list[Pod]
    targets: list[Pod]
    service: tuple[str, str, int]  # namespace, name and port; no name: dialled directly
    per_slot: float
    sent: int
    received: int
    is_daily: bool = True
    """Whether it follows the load of the day."""
    name: str = ""
    """The DNS name dialled, beyond the cluster."""
    policy: str = ""


EDGES: Final = (
    Edge(USERS, INGRESS, ("ingress", "controller", 443), 9, 1_800, 61_000),
    Edge(INGRESS, FRONTEND, ("shop", "frontend", 80), 9, 1_900, 60_000, policy="allow-ingress"),
    Edge(FRONTEND, API, ("shop", "api", 8080), 8, 2_400, 18_000, policy="allow-frontend"),
    Edge(API, POSTGRES, ("shop", "postgres", 5432), 7, 6_000, 42_000, policy="allow-api"),
    Edge(API, REDIS, ("shop", "redis", 6379), 6, 900, 2_200, policy="allow-api"),
    Edge(API, PAYMENTS, ("", "", 443), 1.5, 5_200, 7_000, name="api.payments.example"),
    Edge(PROMETHEUS, [*API, *FRONTEND, *REDIS], ("", "", 9100), 5, 400, 24_000, is_daily=False),
)


def lake() -> Path:
    """The folder of the history; made where it is not there yet. Some seconds once."""
    version = hashlib.sha256(Path(__file__).read_bytes() + repr(HISTORY).encode()).hexdigest()[:12]
    folder = _CACHE / version
    if not (folder / "made").exists():
        history = Lake(folder, max_file_rows=1_000_000)
        history.start()
        history.add(rows())
        history.flush()
        (folder / "made").touch()
    return folder


def rows() -> pl.DataFrame:
    """The month, as rows of HISTORY in order of time."""
    random = np.random.default_rng(_SEED)
    parts = [_of_edge(edge, random) for edge in EDGES]
    parts += [_report(random), _upload(random), _beacon(random), _scan(random), _crossed(random)]
    whole = pl.concat(parts).sort("time")
    return whole.with_columns(flow_id=pl.int_range(1, whole.height + 1, dtype=pl.UInt64)).match_to_schema(HISTORY)


def _load(seconds: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """How busy the shop is: least at 4 in the morning, most at 4 in the afternoon, less at weekends."""
    hours = seconds / 3600 % 24
    weekend = (seconds // 86_400 % 7) >= 5
    return np.asarray((0.55 - 0.45 * np.cos((hours - 4) / 24 * 2 * np.pi)) * np.where(weekend, 0.6, 1.0))


def _of_edge(edge: Edge, random: np.random.Generator, begin_s: float = 0.0) -> pl.DataFrame:
    slots: npt.NDArray[np.float64] = np.arange(begin_s, DAYS * 86_400, _SLOT_S, dtype=np.float64)
    expected = edge.per_slot * (_load(slots) if edge.is_daily else 1.0)
    seconds = np.repeat(slots, random.poisson(expected, len(slots)))
    return _connections(edge, np.asarray(seconds + random.uniform(0, _SLOT_S, len(seconds)), np.float64), random)


def _report(random: np.random.Generator) -> pl.DataFrame:
    nights = np.arange(DAYS) * 86_400 + 2 * 3600 + random.uniform(0, 60, DAYS)
    edge = Edge(REPORT, POSTGRES, ("shop", "postgres", 5432), 0, 200_000, 90_000_000, policy="allow-report")
    return _connections(edge, nights, random)


def _upload(random: np.random.Generator) -> pl.DataFrame:
    edge = Edge(REPORT, BUCKET, ("", "", 443), 0, 4_800_000_000, 900_000, name="backup.storage.example")
    return _connections(edge, np.array([_second(UPLOAD_AT)]), random)


def _beacon(random: np.random.Generator) -> pl.DataFrame:
    seconds: npt.NDArray[np.float64] = np.arange(_second(BEACON_FROM), DAYS * 86_400, 300.0)
    edge = Edge(FRONTEND[1:2], UNNAMED, ("", "", 443), 0, 610, 540)
    return _connections(edge, seconds + random.uniform(-1.5, 1.5, len(seconds)), random)


def _scan(random: np.random.Generator) -> pl.DataFrame:
    targets = [*API, *POSTGRES]
    parts = []
    for number, target in enumerate(targets):
        ports = random.choice(np.arange(20, 9000), 40, replace=False)
        edge = Edge(DEBUG, [target], ("", "", 0), 0, 60, 40)
        part = _connections(edge, _second(SCAN_AT) + number * 10 + 0.2 * np.arange(40, dtype=np.float64), random)
        parts.append(
            part.with_columns(
                dst_port=pl.Series(ports, dtype=pl.UInt16),
                backend_port=pl.Series(ports, dtype=pl.UInt16),
                outcome=pl.lit("refused"),
            )
        )
    return pl.concat(parts)


def _crossed(random: np.random.Generator) -> pl.DataFrame:
    edge = Edge(FRONTEND, POSTGRES, ("shop", "postgres", 5432), 0.8, 3_000, 12_000, policy="allow-api")
    return _of_edge(edge, random, _second(CROSSED_AT))


def _second(time: datetime) -> float:
    return (time - BEGIN).total_seconds()


def _connections(edge: Edge, seconds: npt.NDArray[np.float64], random: np.random.Generator) -> pl.DataFrame:
    """Whole connections, one row each, that begin at `seconds` after BEGIN."""
    count = len(seconds)
    source = _fields(edge.sources, random.integers(0, len(edge.sources), count), "source")
    target = _fields(edge.targets, random.integers(0, len(edge.targets), count), "destination")
    ends = pl.concat([source, target], how="horizontal")
    far = (ends["source_zone"] != ends["destination_zone"]).to_numpy() & (ends["source_zone"] != "").to_numpy()
    beyond = ((ends["source_zone"] == "") | (ends["destination_zone"] == "")).to_numpy()
    bad = far & ~beyond & (seconds >= _second(BAD_HOUR)) & (seconds < _second(BAD_HOUR) + 3600)
    usual = np.where(beyond, 18_000, np.where(far, 900, 180))
    srtt = usual * random.lognormal(0, 0.25, count) * np.where(bad, 9, 1)
    size = random.lognormal(0, 0.35, count)
    sent, received = edge.sent * size, edge.received * size
    packets = 4 + (sent + received) // 1400
    retransmits = random.poisson(packets * np.where(bad, 0.06, 0.0004))
    lost = bad & (random.random(count) < 0.08)
    start = pl.Series(((seconds + BEGIN.timestamp()) * 1e9).astype(np.int64)).cast(pl.Datetime("ns", "UTC"))
    service_namespace, service, port = edge.service
    text: dict[str, str] = {
        "service_namespace": service_namespace,
        "service": service,
        "service_port": "main" if service else "",
        "service_type": "ClusterIP" if service else "",
        "via": "cluster_ip" if service else "",
        "role": "canonical",
        "attribution": "exact",
        "verdict": "allowed",
        "dns_name": edge.name,
        "dns_given": "exact" if edge.name else "",
    }
    drifted = edge.policy == "allow-api" and edge.targets is POSTGRES
    rule = pl.Series(
        ["allow-namespace" if drifted and at >= _second(DRIFT_AT) else edge.policy for at in seconds], dtype=pl.String
    )
    allows = "allow NetworkPolicy/shop/" + rule + "/1"
    known: dict[str, Any] = {
        "start": start,
        "time": start + (srtt * 30).astype(np.int64).astype("timedelta64[us]"),
        "node": ends["source_node"].replace("", "node1"),
        "src_ip": ends["source_ip"],
        "dst_ip": ends["destination_ip"],
        "backend_ip": ends["destination_ip"],
        "nat_src_ip": ends["source_ip"],
        "src_port": random.integers(32_768, 60_999, count).astype(np.uint16),
        "dst_port": np.full(count, port, np.uint16),
        "backend_port": np.full(count, port, np.uint16),
        "nat_src_port": random.integers(32_768, 60_999, count).astype(np.uint16),
        "protocol": np.full(count, 6, np.uint8),
        "outcome": np.where(lost, "no_reply", "closed"),
        "opened": np.ones(count, np.uint8),
        "closed": np.ones(count, np.uint8),
        "packets": np.where(lost, 4, packets // 2).astype(np.uint64),
        "bytes": np.where(lost, 240, sent).astype(np.uint64),
        "reply_packets": np.where(lost, 0, packets // 2).astype(np.uint64),
        "reply_bytes": np.where(lost, 0, received).astype(np.uint64),
        "connect_us": np.where(lost, 0, srtt * random.uniform(0.9, 1.4, count)).astype(np.uint32),
        "srtt_us": np.where(lost, 0, srtt).astype(np.uint32),
        "retransmits": np.where(lost, 3, retransmits).astype(np.uint32),
        "locality": np.where(beyond, "internet", np.where(far, "cross_zone", "same_zone")),
        "egress_verdict": ["unprotected"] * count,
        "ingress_verdict": ["allowed" if edge.policy else "unprotected"] * count,
        "egress_policies": [[]] * count,
        "ingress_policies": allows.to_frame("a").select(pl.concat_list("a"))["a"] if edge.policy else [[]] * count,
        **{name: [value] * count for name, value in text.items()},
    }
    ends = ends.drop("source_ip", "destination_ip")
    frame = ends.with_columns(pl.Series(name, values) for name, values in known.items())
    absent = [
        pl.lit([] if isinstance(kind, pl.List) else "" if kind == pl.String else 0, kind).alias(name)
        for name, kind in HISTORY.items()
        if name not in frame.columns
    ]
    return frame.with_columns(absent).select(pl.col(name).cast(kind) for name, kind in HISTORY.items())


def _fields(pods: list[Pod], chosen: npt.NDArray[np.int64], side: str) -> pl.DataFrame:
    table = pl.DataFrame(
        {
            f"{side}_kind": [pod.kind for pod in pods],
            f"{side}_namespace": [pod.namespace for pod in pods],
            f"{side}_name": [pod.name for pod in pods],
            f"{side}_workload_kind": ["Deployment" if pod.kind == "Pod" else "" for pod in pods],
            f"{side}_workload": [pod.workload for pod in pods],
            f"{side}_node": [pod.node for pod in pods],
            f"{side}_zone": [pod.zone for pod in pods],
            f"{side}_ip": [pod.address for pod in pods],
        }
    )
    return table[chosen]
