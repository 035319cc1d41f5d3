"""The engine: what it counts, sets aside, commits and exposes, and what it does when bus or disk refuse."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import polars as pl
import pytest
from prometheus_client.parser import text_string_to_metric_families

from collector.schema import COUNTERS, DROPS, OUTCOMES
from deploy.demo import mmdb
from pipeline import engine as engine_module
from pipeline import stages as stages_module
from pipeline.aggregate.families import families
from pipeline.attribution.aliases import may_be_alias
from pipeline.bus import Message, Places
from pipeline.catalog import METRICS
from pipeline.cli.main import main
from pipeline.config import PipelineConfig
from pipeline.engine import Engine
from pipeline.errors import PermanentError, TransientError
from pipeline.geo import Geo, load_geo
from pipeline.inventory.models import Resource, convert
from pipeline.inventory.policy_history import PolicyEpoch
from pipeline.inventory.snapshot import Snapshot
from pipeline.inventory.spans import BEGINNING
from pipeline.lake.store import Store
from pipeline.outputs.lake import Lake
from pipeline.outputs.publication import Publication
from pipeline.prices import Prices
from pipeline.query import scan_counters, scan_dns, scan_flows
from pipeline.state import ClusterState
from tests.pipeline.attribution import dns_answers
from tests.pipeline.dns_cluster import dns_cluster
from tests.pipeline.shipments import NOW, SECOND, batch, drop, flow, interface, message
from tests.pipeline.small_cluster import OBJECTS, pod, service, small_cluster

FRONT_A, FRONT_B, DATABASE = "10.0.1.5", "10.0.2.5", "10.0.2.7"
DATABASE_VIP, FRONT_VIP = "10.96.0.7", "10.96.0.5"


class ScriptedReader:
    """A bus whose polls are given one by one: messages, or an error to raise."""

    def __init__(self, *polls: list[Message] | Exception) -> None:
        self.polls = deque(polls)
        self.commits = 0
        self.polled: list[Message] = []
        self.committed: list[Message] = []
        self.quarantined: list[tuple[Message, str]] = []
        self.refusals: dict[str, deque[Exception]] = {"start": deque(), "commit": deque(), "quarantine": deque()}
        self.stopped = False

    def _refuse(self, what: str) -> None:
        if self.refusals[what]:
            raise self.refusals[what].popleft()

    def start(self, places: Places | None = None) -> None:
        self._refuse("start")

    def places(self) -> Places:
        return {}

    def poll(self, timeout_s: float) -> list[Message]:
        given = self.polls.popleft() if self.polls else []
        if isinstance(given, Exception):
            raise given
        self.polled += given
        return given

    def mark(self) -> object:
        return list(self.polled)

    def commit(self, mark: object = None) -> None:
        self._refuse("commit")
        self.commits += 1
        self.committed = cast("list[Message]", list(self.polled) if mark is None else mark)

    def caught_up(self) -> bool:
        return not self.polls

    def lag(self) -> dict[str, int]:
        return {"flowatlas.flows.v1": sum(len(poll) for poll in self.polls if not isinstance(poll, Exception))}

    def quarantine(self, message: Message, reason: str) -> None:
        self._refuse("quarantine")
        self.quarantined.append((message, reason))

    def stop(self) -> None:
        self.stopped = True


class Bench:
    """An engine on a scripted bus, and what it published."""

    def __init__(
        self,
        *polls: list[Message] | Exception,
        lake: Lake | None = None,
        flush_rows: int = 10**6,
        wait_s: float = 2.0,
        flush_s: float = 3600,
        geo: Geo | None = None,
        kind: type[ScriptedReader] = ScriptedReader,
    ) -> None:
        self.reader = kind(*polls)
        self.publication = Publication()
        self.state = ClusterState(small_cluster(), {"Pod": 2})
        config = PipelineConfig(
            bus="file:///unused",
            state=Path("unused"),
            state_wait_s=wait_s,
            window_s=0.05,
            lake_flush_s=flush_s,
            lake_flush_rows=flush_rows,
        )
        if lake is not None:
            lake.start()
        self.engine = Engine(config, self.reader, lambda _: self.state, self.publication, lake, geo=geo)

    def drain(self) -> None:
        assert self.engine.drain(timeout_s=30)

    def values(self, name: str, *labels: str) -> dict[tuple[str, ...], float]:
        """Series of a metric by the values of some labels; those that agree in them are added up."""
        found: Counter[tuple[str, ...]] = Counter()
        for family in text_string_to_metric_families(self.publication.text().decode()):
            for sample in family.samples:
                if sample.name == name:
                    found[tuple(sample.labels[label] for label in labels)] += sample.value  # type: ignore[assignment] # counts are floats here
        return dict(found)


@pytest.fixture(autouse=True)
def _impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "BACK_OFF_SECONDS", (0.001, 0.01))


def through_service(seq: int = 0, node: str = "node-a", **more: int) -> Message:
    return message(batch(node, seq, [flow(FRONT_A, DATABASE_VIP, 5432, backend=DATABASE, **more)]))


def test_a_flow_is_named_and_counted_where_it_began_and_only_there() -> None:
    """Both nodes ship the connection; the source's node counts it, the other's row is an observer's."""
    bench = Bench([through_service(), through_service(node="node-b")])
    bench.drain()
    labels = ("source_workload", "destination_workload", "service", "service_port", "protocol", "flow_direction")
    key = ("front", "database", "database", "5432", "TCP")
    assert bench.values("flowatlas_flow_bytes_total", *labels) == {(*key, "request"): 1000, (*key, "reply"): 1000}
    assert bench.values("flowatlas_connections_total", *labels[:5]) == {key: 1}
    assert bench.values("flowatlas_observer_bytes_total", "node") == {("node-b",): 2000}


def test_a_batch_that_comes_again_is_not_applied_again() -> None:
    bench = Bench([through_service(0), through_service(0)], [through_service(0), through_service(3)])
    bench.drain()
    assert bench.values("flowatlas_connections_total") == {(): 2}
    assert bench.values("flowatlas_pipeline_duplicate_batches_total", "node") == {("node-a",): 2}
    assert bench.values("flowatlas_pipeline_missing_batches_total", "node") == {("node-a",): 2}


def test_unreadable_messages_are_set_aside_by_reason_and_the_rest_is_applied() -> None:
    good = through_service()
    corrupt = message(batch("node-a", 1, [flow(FRONT_A, FRONT_B, 80)]), value=good.value[:-1] + b"x")
    broken = message(batch("node-a", 2, []), flaw="segment", value=b"")
    bench = Bench([corrupt, good, broken])
    bench.drain()
    assert bench.values("flowatlas_connections_total") == {(): 1}
    assert bench.reader.quarantined == [(corrupt, "checksum"), (broken, "segment")]
    reasons = bench.values("flowatlas_pipeline_quarantined_batches_total", "reason")
    assert reasons == {("checksum",): 1, ("segment",): 1}


def test_a_bus_that_refuses_for_a_while_costs_nothing() -> None:
    """start, poll, quarantine and commit each fail before they go through; all is counted once."""
    away = TransientError("nobody answers")
    bad = message(batch("node-a", 1, []), value=b"")
    bench = Bench(away, [bad, through_service(0)], away, [through_service(2)])
    for refusals in bench.reader.refusals.values():
        refusals.extend([away, away])
    stop = threading.Event()
    runner = threading.Thread(target=lambda: codes.append(bench.engine.run(stop)))
    codes: list[int] = []
    runner.start()
    try:
        wait_until(lambda: len(bench.reader.committed) == 3)
    finally:
        stop.set()
        runner.join()
    assert codes == [0]
    assert bench.reader.stopped
    assert bench.values("flowatlas_connections_total") == {(): 2}
    assert [reason for _, reason in bench.reader.quarantined] == ["truncated"]


def test_a_commit_that_is_refused_does_not_stop_the_polling(tmp_path: Path) -> None:
    """Kafka refuses commits of a member that its group has moved on without, until that member polls again."""

    class CastOut(ScriptedReader):
        polls_made = 0

        def poll(self, timeout_s: float) -> list[Message]:
            self.polls_made += 1
            return super().poll(timeout_s)

        def commit(self, mark: object = None) -> None:
            if self.polls_made < 2:
                raise TransientError("the group has moved on")
            super().commit(mark)

    again = [through_service(0), through_service(1)]
    bench = Bench([through_service(0)], again, lake=Lake(tmp_path), flush_rows=1, kind=CastOut)
    with pytest.raises(TransientError, match="moved on"):
        bench.engine.step(0)
    bench.engine.step(0)
    bench.drain()
    assert bench.reader.committed == bench.reader.polled
    assert bench.values("flowatlas_connections_total") == {(): 2}
    assert scan_flows(tmp_path).collect().height == 2


def test_stop_during_start_ends_without_touching_the_bus() -> None:
    bench = Bench([through_service()])
    bench.reader.refusals["start"].extend([TransientError("nobody answers")] * 1000)
    stop = threading.Event()
    stop.set()
    assert bench.engine.run(stop) == 0
    assert bench.reader.polled == []
    assert not bench.engine.ready.is_set()


def test_a_drain_that_cannot_finish_says_so() -> None:
    bench = Bench([through_service()])
    bench.reader.refusals["commit"].extend([TransientError("nobody answers")] * 1000)
    assert bench.engine.drain(timeout_s=0.05) is False
    assert bench.values("flowatlas_connections_total") == {(): 1}


def test_without_a_lake_every_step_commits() -> None:
    bench = Bench([through_service(0)], [through_service(1)], [])
    for commits in (1, 2, 2):
        bench.engine.step(0)
        assert bench.reader.commits == commits


def test_with_a_lake_nothing_is_committed_that_is_not_on_disk(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    bench = Bench([through_service(0)], [through_service(1)], [through_service(2)], lake=lake, flush_rows=2)
    bench.engine.step(0)
    assert (bench.reader.committed, scan_flows(tmp_path).collect().height) == ([], 0)
    bench.engine.step(0)
    assert (len(bench.reader.committed), scan_flows(tmp_path).collect().height) == (2, 2)
    bench.drain()
    assert (len(bench.reader.committed), scan_flows(tmp_path).collect().height) == (3, 3)


def test_a_full_disk_stops_the_polling_and_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lake = Lake(tmp_path)
    bench = Bench([through_service(0)], [through_service(1)], lake=lake, flush_rows=1)

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(Store, "write", refuse)
        for _ in range(3):
            with pytest.raises(TransientError, match="No space"):
                bench.engine.step(0)
    assert (len(bench.reader.polled), bench.reader.commits) == (1, 0)
    bench.drain()
    assert scan_flows(tmp_path).collect().height == 2
    assert bench.values("flowatlas_connections_total") == {(): 2}


def test_the_history_says_what_policies_said(tmp_path: Path) -> None:
    bench = Bench([through_service(0, outcome=OUTCOMES.index("reset"), closed=1)], lake=Lake(tmp_path))
    bench.state = replace(bench.state, epochs=(PolicyEpoch(BEGINNING, policies()[:1]),))
    bench.drain()
    (row,) = scan_flows(tmp_path).collect().to_dicts()
    wanted = {
        "verdict": "denied",
        "egress_verdict": "unprotected",
        "ingress_verdict": "denied",
        "egress_policies": [],
        "ingress_policies": ["isolates NetworkPolicy/shop/deny/"],
        "mismatch": "established_denied",
    }
    assert {name: row[name] for name in wanted} == wanted


def test_the_history_names_what_the_metrics_count(tmp_path: Path) -> None:
    bench = Bench([through_service(0, outcome=OUTCOMES.index("reset"), closed=1)], lake=Lake(tmp_path))
    bench.drain()
    (row,) = scan_flows(tmp_path).collect().to_dicts()
    wanted = {
        "node": "node-a",
        "source_kind": "Pod",
        "source_name": "front-1-x",
        "source_workload": "front",
        "destination_name": "database-0",
        "destination_node": "node-b",
        "service_namespace": "shop",
        "service": "database",
        "via": "cluster_ip",
        "src_ip": FRONT_A,
        "dst_ip": DATABASE_VIP,
        "backend_ip": DATABASE,
        "protocol": 6,
        "role": "canonical",
        "outcome": "reset",
        "opened": 1,
        "bytes": 1000,
    }
    assert {name: row[name] for name in wanted} == wanted
    assert row["time"].isoformat() == "2026-03-01T12:00:01+00:00"


def test_where_dns_told_no_name_the_history_has_the_one_that_the_client_asked_for(tmp_path: Path) -> None:
    """Of the outside alone, on every row of the connection; an address that was asked for is no name."""
    site, other, third = "203.0.113.7", "203.0.113.8", "203.0.113.9"
    answer = dns_answers.Answer("site.example", at=NOW // SECOND - 1, client=FRONT_A, address=site, ttl=30)
    said: dict[str, Any] = {"app_protocol": 1, "server_name": "said.example"}
    flows = [
        flow(FRONT_A, site, 443, flow_id=1, **said),
        flow(FRONT_A, other, 443, flow_id=2, **said),
        flow(FRONT_A, third, 80, flow_id=3, app_protocol=2, server_name=third),
        flow(FRONT_A, DATABASE, 5432, flow_id=4, **said),
    ]
    first = message(batch("node-a", 0, flows))
    later = message(batch("node-a", 1, [flow(FRONT_A, other, 443, flow_id=2, opened=0)]))
    bench = Bench([first, message(dns_answers.batch_of([answer], seq=9))], [later], lake=Lake(tmp_path))
    bench.drain()
    rows = scan_flows(tmp_path).select("dst_ip", "dns_name", "dns_given").collect().rows()
    assert sorted(rows) == [
        (DATABASE, "", ""),
        (site, "site.example", "exact"),
        (other, "said.example", "sni"),
        (other, "said.example", "sni"),
        (third, "", ""),
    ]


def test_the_history_has_the_name_that_dns_gave_the_client(tmp_path: Path) -> None:
    """The answer and the connection come in one poll, and a later connection in the next."""
    site, now_s = "203.0.113.7", NOW // SECOND
    answer = dns_answers.batch_of(
        [dns_answers.Answer("site.example", at=now_s - 1, client=FRONT_A, address=site, ttl=30)], seq=9
    )
    first = message(batch("node-a", 0, [flow(FRONT_A, site, 443), flow(FRONT_A, DATABASE, 5432)]))
    later = message(batch("node-a", 1, [flow(FRONT_A, site, 443)]))
    bench = Bench([first, message(answer)], [later], lake=Lake(tmp_path))
    bench.drain()
    rows = (
        scan_flows(tmp_path).select("dst_ip", "destination_name", "dns_name", "dns_given", "locality").collect().rows()
    )
    assert sorted(rows) == sorted(
        [(site, "outside", "site.example", "exact", "internet")] * 2 + [(DATABASE, "database-0", "", "", "unknown")]
    )


@pytest.mark.parametrize("has_lake", [False, True])
def test_a_service_that_has_only_a_dns_name_is_counted_by_it(tmp_path: Path, *, has_lake: bool) -> None:
    site, other, now_s = "203.0.113.7", "203.0.113.8", NOW // SECOND
    answer = dns_answers.batch_of(
        [dns_answers.Answer("mail.shop.svc.cluster.local", at=now_s - 1, client=FRONT_A, address=site, ttl=30)], seq=9
    )
    flows = message(batch("node-a", 0, [flow(FRONT_A, site, 25), flow(FRONT_A, site, 443), flow(FRONT_A, other, 25)]))
    bench = Bench([flows, message(answer)], lake=Lake(tmp_path) if has_lake else None, wait_s=0.1)
    alias = service("mail", "", 25, type="ExternalName", externalName="mail.example.com")
    bench.state = ClusterState(small_cluster(alias), {})
    bench.drain()
    dialled = bench.values("flowatlas_service_connections_total", "service", "service_type", "via")
    assert dialled == {("mail", "ExternalName", "alias"): 1}
    assert bench.values("flowatlas_service_no_endpoint_connections_total") == {}
    if has_lake:
        rows = scan_flows(tmp_path).select("dst_ip", "dst_port", "service", "dns_name", "reason").collect().rows()
        own = "mail.shop.svc.cluster.local"
        assert sorted(rows) == [(site, 25, "mail", own, "dns_alias"), (site, 443, "", own, ""), (other, 25, "", "", "")]


@pytest.mark.parametrize("has_geo", [True, False])
def test_country_and_network_are_in_metric_and_history(tmp_path: Path, *, has_geo: bool) -> None:
    site, unknown = "203.0.113.7", "198.51.100.1"
    record = {**mmdb.country("DE"), **mmdb.system(64500, "Example Net")}
    geo = load_geo([mmdb.write(tmp_path / "all.mmdb", {"203.0.113.0/24": record})]) if has_geo else None
    rows = [flow(FRONT_A, site, 443), flow(site, FRONT_A, 80), flow(FRONT_A, unknown, 443), flow(FRONT_A, FRONT_B, 80)]
    bench = Bench([message(batch("node-a", 0, rows))], lake=Lake(tmp_path), geo=geo)
    bench.drain()
    found = bench.values("flowatlas_external_bytes_total", "workload", "direction", "country", "asn", "organisation")
    history = scan_flows(tmp_path).select("source_country", "source_asn", "destination_country", "destination_asn")
    if not has_geo:
        assert found == {}
        assert set(history.collect().rows()) == {("", 0, "", 0)}
        return
    sent = bench.values("flowatlas_external_bytes_total", "workload", "direction")
    known, nothing = ("DE", "64500", "Example Net"), ("", "", "")
    assert found == {
        ("front", direction, *network): total
        for direction in ("egress", "ingress")
        for network, total in ((known, 2000), (nothing, 1000))
    }
    assert sent == {("front", "egress"): 3000, ("front", "ingress"): 3000}
    told = sorted(history.collect().rows())
    assert told == [("", 0, "", 0), ("", 0, "", 0), ("", 0, "DE", 64500), ("DE", 64500, "", 0)]
    assert bench.values("flowatlas_pipeline_geo_failures_total") == {(): 0}


@pytest.mark.parametrize("slow_s", [0.0, 0.25])
def test_a_connection_waits_for_the_dns_name_that_may_tell_its_service(
    monkeypatch: pytest.MonkeyPatch, slow_s: float
) -> None:
    """The answer is on the bus a poll after the connection; one that no alias has the port of does not wait for it.
    What a slow step takes after its poll is no waiting: the answer may be on the bus by then."""
    site, now_s = "203.0.113.7", NOW // SECOND
    answer = dns_answers.Answer("mail.shop.svc.cluster.local", now_s - 1, FRONT_A, site)
    late = message(dns_answers.batch_of([answer]))
    old = flow(FRONT_A, site, 25, start=NOW - 5 * SECOND)
    flows = message(batch("node-a", 0, [flow(FRONT_A, site, 25), flow(FRONT_A, site, 443), old]))
    bench = Bench([flows], [late], wait_s=1.5)
    bench.state = ClusterState(small_cluster(service("mail", "", 25, type="ExternalName", externalName="x.org")), {})

    def slowly(flows: pl.DataFrame, snapshot: Snapshot) -> pl.Series:
        time.sleep(slow_s)
        return may_be_alias(flows, snapshot)

    monkeypatch.setattr(stages_module, "may_be_alias", slowly)
    bench.engine.step(0)
    bench.engine.publish()
    assert bench.values("flowatlas_connections_total", "service") == {("",): 2}
    bench.drain()
    assert bench.values("flowatlas_connections_total", "service") == {("",): 2, ("mail",): 1}


def test_the_name_is_found_also_while_a_commit_is_overdue(tmp_path: Path) -> None:
    """What is polled for it meanwhile is not committed with what came before, and is counted after."""
    site, now_s = "203.0.113.7", NOW // SECOND
    answer = dns_answers.Answer("mail.shop.svc.cluster.local", now_s - 1, FRONT_A, site)
    first = message(batch("node-a", 0, [flow(FRONT_A, site, 25)]))
    behind = [message(dns_answers.batch_of([answer])), through_service(1)]
    bench = Bench([first], lake=Lake(tmp_path), wait_s=1.5, flush_s=0.05)
    bench.state = ClusterState(small_cluster(service("mail", "", 25, type="ExternalName", externalName="x.org")), {})
    bench.engine.step(0)
    time.sleep(0.06)
    bench.reader.polls.append(behind)
    while not bench.reader.commits:
        bench.engine.step(0)
    assert (bench.reader.committed, bench.reader.polls) == ([first], deque())
    assert scan_flows(tmp_path).select("service").collect().rows() == [("mail",)]
    bench.drain()
    assert bench.reader.committed == [first, *behind]
    assert sorted(scan_flows(tmp_path).select("service").collect().rows()) == [("database",), ("mail",)]


def test_what_is_put_off_while_a_commit_is_overdue_is_bounded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """However much the bus holds meanwhile, and all of it is counted in the end."""
    monkeypatch.setattr(engine_module, "AHEAD_ROWS", 3)
    waiting = message(batch("node-a", 0, [flow(FRONT_A, "203.0.113.7", 25)]))
    bench = Bench([waiting], lake=Lake(tmp_path), wait_s=1.5, flush_s=0.05)
    bench.state = ClusterState(small_cluster(service("mail", "", 25, type="ExternalName", externalName="x.org")), {})
    bench.engine.step(0)
    time.sleep(0.06)
    bench.reader.polls.extend([through_service(seq)] for seq in range(1, 15))
    while not bench.reader.commits:
        assert len(bench.reader.polled) <= 1 + 3
        bench.engine.step(0)
    assert bench.reader.committed[0] is waiting
    bench.drain()
    assert len(bench.reader.committed) == 15
    assert scan_flows(tmp_path).collect().height == 15


def test_names_follow_the_state_and_old_totals_keep_theirs() -> None:
    """The pod's address is another pod's in the next snapshot, where every id has moved."""
    bench = Bench([through_service(0)], [through_service(1)])
    bench.engine.step(0)
    bench.state = ClusterState(small_cluster(pod("aaa", "node-a", "10.0.1.9"), pod("front-1-x", "node-a", FRONT_A)), {})
    bench.drain()
    totals = bench.values("flowatlas_connections_total", "source_workload", "destination_workload")
    assert totals == {("front", "database"): 1, ("front-1-x", "database"): 1}


def counters(seq: int, *addresses: str, scope: int = 0) -> Message:
    rows = [interface(address, receive_bytes=100 + i, scope=scope) for i, address in enumerate(addresses)]
    return message(batch("node-a", seq, rows, COUNTERS))


def test_counters_and_dns_are_in_the_history_with_names(tmp_path: Path) -> None:
    """Of pods that are known and of nodes; an exchange once, however many addresses it told."""
    answer = dns_answers.Answer("site.example", at=NOW // SECOND, client=FRONT_A, address="203.0.113.7", ttl=30)
    messages = [counters(0, FRONT_A, "10.0.1.77"), counters(1, FRONT_A, scope=1)]
    bench = Bench([*messages, message(dns_answers.batch_of([answer], seq=9))], lake=Lake(tmp_path))
    bench.drain()
    names = ("node", "scope", "namespace", "pod", "interface", "receive_bytes")
    told = scan_counters(tmp_path).select(names).collect().sort("scope").rows()
    assert [row[:4] for row in told] == [("node-a", "node", "", ""), ("node-a", "pod", "shop", "front-1-x")]
    assert all(row[5] > 0 for row in told)
    (exchange,) = scan_dns(tmp_path, namespace="shop").collect().to_dicts()
    assert exchange["question"] == "site.example"
    assert (exchange["source_name"], exchange["client_ip"], exchange["name_class"]) == ("front-1-x", FRONT_A, "outside")


def test_interface_counters_of_known_pods_are_exposed_as_they_are() -> None:
    """An unknown pod's are counted as rows alone."""
    bench = Bench([counters(0, FRONT_A, "10.0.1.77"), counters(1, FRONT_A, scope=1)])
    bench.drain()
    received = bench.values("container_network_receive_bytes_total", "namespace", "pod", "interface", "node")
    assert received == {("shop", "front-1-x", "eth0", "node-a"): 100}
    of_node = bench.values("flowatlas_node_network_receive_bytes_total", "node", "interface", "scope")
    assert of_node == {("node-a", "eth0", "node"): 100}
    assert bench.values("flowatlas_pipeline_rows_total", "table", "node") == {("counters", "node-a"): 3}


def everything() -> Iterable[Message]:
    """Messages that together touch every metric of the pipeline."""
    refused = flow(FRONT_A, DATABASE_VIP, 5432, outcome=OUTCOMES.index("refused"))
    tunnel = flow("192.0.2.10", "192.0.2.11", 8472, protocol=17)
    unknown = flow(FRONT_A, "10.0.2.77", 80)
    seen = flow(FRONT_B, DATABASE, 5432)
    denied = flow(FRONT_A, FRONT_B, 80, outcome=OUTCOMES.index("closed"))
    yield message(batch("node-a", 0, [refused, tunnel, unknown, seen, denied]))
    yield message(batch("node-a", 0, []))
    yield message(batch("node-a", 2, []), value=b"")
    yield message(batch("node-a", 3, []))
    yield counters(0, FRONT_A)
    later = interface(
        FRONT_A, time=NOW + 20 * SECOND, receive_bytes=900, receive_packets=9, tcp_listen=1, tcp6_listen=2
    )
    yield message(batch("node-a", 1, [later], COUNTERS))
    yield counters(2, FRONT_A, scope=2)
    yield message(batch("node-a", 0, [drop(FRONT_A, DATABASE, 5432, "netfilter_drop")], DROPS))
    question = dns_answers.Answer("www.example.com", NOW // SECOND, client=FRONT_A, server="203.0.113.53")
    yield message(dns_answers.batch_of([question]))


def test_tcp_health_and_drops_are_told_by_the_ends() -> None:
    """A retransmit counts on whatever row it is; a round trip on the canonical one."""
    opened = flow(FRONT_A, DATABASE_VIP, 5432, backend=DATABASE, connect_us=200, srtt_us=90, retransmits=2)
    seen = flow(FRONT_A, DATABASE, 5432, srtt_us=70, retransmits=3)  # by the node of the answerer
    drops = [drop(FRONT_A, DATABASE, 5432, "netfilter_drop", 4), drop(FRONT_A, FRONT_B, 80, "no_socket")]
    shipped = (batch("node-a", 0, [opened]), batch("node-b", 0, [seen]), batch("node-a", 0, drops, DROPS))
    bench = Bench([message(one) for one in shipped])
    bench.drain()
    labels = ("source_namespace", "source_workload", "destination_namespace", "destination_workload")
    ends = ("shop", "front", "shop", "database")
    assert bench.values("flowatlas_tcp_retransmits_total", *labels) == {ends: 5}
    assert bench.values("flowatlas_drops_total", *labels, "reason") == {
        (*ends, "netfilter_drop"): 4,
        ("shop", "front", "shop", "front", "no_socket"): 1,
    }
    assert bench.values("flowatlas_dropped_bytes_total", *labels, "reason")[*ends, "netfilter_drop"] == 240
    connects = bench.values("flowatlas_tcp_connect_seconds_bucket", "service", "le")
    assert connects["database", "0.0001"] == 0
    assert connects["database", "0.00025"] == 1
    assert bench.values("flowatlas_tcp_rtt_seconds_sum", "service") == {("database",): pytest.approx(0.00009)}


def policies() -> tuple[Resource, ...]:
    """Nobody may come in, and there is a kind that is not judged."""
    deny = {"podSelector": {}, "policyTypes": ["Ingress"]}
    named = {"name": "deny", "namespace": "shop"}
    kinds = (("networking.k8s.io/v1", "NetworkPolicy"), ("cilium.io/v2", "CiliumNetworkPolicy"))
    return tuple(convert(version, kind, {"kind": kind, "metadata": named, "spec": deny}) for version, kind in kinds)


def test_every_metric_of_the_catalogue_is_exposed_with_its_labels_and_no_other() -> None:
    bench = Bench(list(everything()))
    bench.state = replace(bench.state, snapshot=dns_cluster(), epochs=(PolicyEpoch(BEGINNING, policies()),))
    bench.state = replace(bench.state, known_until=NOW + 3600 * SECOND)
    bench.drain()
    exposed = {
        sample.name: set(sample.labels)
        for family in text_string_to_metric_families(bench.publication.text().decode())
        for sample in family.samples
    }
    ours = (metric for metric in METRICS if metric.exposer == "pipeline")
    catalogue = {name: set(labels) for metric in ours for name, labels in metric.series.items()}
    told = (samples for family in families(Prices("USD", {}), Geo(())) for samples in family.samples())
    of_families = {name for samples in told for name in samples.metric.series}
    assert exposed.items() <= catalogue.items()
    only_where = ("flowatlas_pipeline_snapshot_", "flowatlas_series_", "flowatlas_pipeline_worker_")
    rare = {name for name in catalogue if name.startswith(only_where)}
    # which have series only where there is what they are about
    assert catalogue.keys() - exposed.keys() <= of_families | rare


@pytest.mark.prometheus
def test_promtool_has_nothing_to_say_about_a_full_run() -> None:
    bench = Bench(list(everything()))
    bench.drain()
    promtool = shutil.which("promtool")
    assert promtool is not None
    done = subprocess.run(
        [promtool, "check", "metrics"], input=bench.publication.text(), capture_output=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_the_series_metric_counts_what_is_exposed() -> None:
    bench = Bench(list(everything()))
    bench.drain()
    lines = [line for line in bench.publication.text().splitlines() if not line.startswith(b"#")]
    own = ("pipeline_", "state_", "build_", "bus_", "capture_to_metric_")
    traffic = [line for line in lines if not line.decode().startswith(tuple(f"flowatlas_{name}" for name in own))]
    assert bench.values("flowatlas_pipeline_series") == {(): len(traffic)}


def wait_until(is_true: Callable[[], bool], timeout_s: float = 90) -> None:
    wake = threading.Event()
    for _ in range(int(timeout_s / 0.01)):
        if is_true():
            return
        wake.wait(0.01)
    raise AssertionError("it did not come about in time")


def test_a_bus_that_refuses_for_good_ends_the_run_with_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "state.json").write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": list(OBJECTS)}))
    reader = ScriptedReader(PermanentError("bus: not authorized"))
    monkeypatch.setattr("pipeline.bus.open_reader", lambda *_: reader)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    settings = ("--bus", "file:///unused", "--state", str(tmp_path), "--listen", "127.0.0.1:0")
    assert main(["pipeline", *settings]) == 1
    assert reader.stopped


def test_questions_to_dns_are_counted_and_wait_for_their_client_to_be_told() -> None:
    """The pod asks before the state tells of it; the row that only has another address counts nothing."""
    now_s = NOW // SECOND
    rows = [
        dns_answers.Answer("www.example.com", now_s, client="10.0.1.9"),
        dns_answers.Answer("www.example.com", now_s, client="10.0.1.9", address="203.0.113.8", is_first=False),
        dns_answers.Answer("database.shop.svc.cluster.local", now_s, client=FRONT_A),
    ]
    bench = Bench([message(dns_answers.batch_of(rows))], wait_s=30.0)
    bench.state = replace(bench.state, known_until=NOW - SECOND)
    bench.engine.step(0)
    bench.engine.publish()
    assert bench.values("flowatlas_dns_queries_total") == {}
    assert bench.values("flowatlas_state_held_rows") == {(): 2}
    late = small_cluster(pod("late", "node-a", "10.0.1.9"))
    bench.state = replace(bench.state, snapshot=late, known_until=NOW + 60 * SECOND)
    bench.drain()
    assert bench.values("flowatlas_dns_queries_total", "source_workload", "name_class") == {
        ("late", "outside"): 1,
        ("front", "service"): 1,
    }
    assert bench.values("flowatlas_dns_latency_seconds_count", "source_workload") == {("late",): 1, ("front",): 1}
    assert bench.reader.committed


class Waits(threading.Event):
    """A stop that waits for nothing and notes how long each wait would have been; it comes after so many."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.waited: list[float] = []
        self._most = most

    def wait(self, timeout: float | None = None) -> bool:
        self.waited.append(timeout or 0.0)
        if len(self.waited) == self._most:
            self.set()
        return self.is_set()


def test_steps_rest_while_the_bus_is_empty_and_never_while_it_holds_more() -> None:
    bench = Bench(*([message(batch("node1", seq, [flow(FRONT_A, DATABASE, 5432)]))] for seq in range(3)))
    bench.engine._config = replace(bench.engine._config, window_s=60.0)
    stop = Waits(most=20)
    assert bench.engine.run(stop) == 0
    assert stop.waited[:2] == [0.0, 0.0]  # behind the third poll it is empty
    assert all(0 <= waited <= engine_module.REST_SECONDS for waited in stop.waited)
    assert any(waited > 0 for waited in stop.waited[2:])
    assert bench.values("flowatlas_pipeline_rows_total", "table") == {("flows",): 3}


@pytest.mark.parametrize(
    ("waiting", "took_s", "expected"),
    [
        (0, 0.3, 11.0),  # a window after it began
        (0, 0.8, 11.3),  # counting gets half a window
        (5_000, 0.05, 11.0),
        (5_000, 0.3, 13.0),  # it takes a tenth of the time
        (5_000, 3.0, 18.0),  # but five windows are the most
    ],
)
def test_publishing_is_due_each_window_and_less_often_while_the_bus_is_far_ahead(
    monkeypatch: pytest.MonkeyPatch, waiting: int, took_s: float, expected: float
) -> None:
    bench = Bench()
    bench.engine._config = replace(bench.engine._config, window_s=1.0)
    monkeypatch.setattr(bench.engine._reader, "lag", lambda: {"flowatlas.flows.v1": waiting})
    assert bench.engine._next_due(10.0, 10.0 + took_s) == pytest.approx(expected)
