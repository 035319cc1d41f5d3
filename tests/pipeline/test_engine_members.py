"""The engine of a member of a group that counts without snapshots: what it still says of partitions that have gone."""

from __future__ import annotations

from collections.abc import Mapping

from collector.schema import COUNTERS, FLOWS, SCOPES
from pipeline.bus import GroupReader, Holder, Message, Partition
from pipeline.engine import FIRST
from tests.pipeline.engine_bench import FRONT_A, FRONT_B, Bench, ScriptedReader, through_service
from tests.pipeline.shipments import batch, interface, message


class Member(ScriptedReader):
    """A scripted bus whose partitions come and go."""

    held: frozenset[Partition] | None = None
    is_shared, is_leaving, is_recalling = True, False, False

    def attend(self, holder: Holder) -> None: ...

    def notes(self) -> dict[Partition, str]:
        return {}

    def recall(self, spans: Mapping[Partition, tuple[int, int]]) -> None: ...

    def settle(self, version: int) -> None: ...


def read(node: str, address: str, partition: str, seq: int = 0) -> Message:
    """What a node has read of a pod's interface and of its own."""
    pod = {"receive_bytes": 100 + seq, "tcp_established": 3}
    rows = [interface(address, **pod), interface(address, receive_bytes=7, ifindex=3, scope=SCOPES.index("node"))]
    return message(batch(node, seq, rows, COUNTERS), partition=partition)


def both(*more: Message) -> list[Message]:
    flows = [through_service(node=node) for node in ("node-a", "node-b")]
    return [read("node-a", FRONT_A, "0"), read("node-b", FRONT_B, "1"), *flows, *more]


def partitions(*numbers: str) -> frozenset[Partition]:
    return frozenset((table.topic, number) for table in (FLOWS, COUNTERS) for number in numbers)


def test_counters_of_a_node_go_with_its_partition_and_sums_stay() -> None:
    bench = Bench(both(), [], [read("node-b", FRONT_B, "1", seq=1)], kind=Member)
    member = bench.reader
    assert isinstance(member, Member)
    assert isinstance(member, GroupReader)
    shown = ("container_network_receive_bytes_total", "flowatlas_node_network_receive_bytes_total")
    sockets = "container_network_tcp_usage_total"
    member.held = partitions("0", "1")
    bench.engine.step(0)
    bench.engine.publish()
    assert [set(bench.values(name, "node")) for name in (*shown, sockets)] == [{("node-a",), ("node-b",)}] * 3
    summed = bench.values("flowatlas_flow_bytes_total")

    member.held = partitions("0")
    bench.engine.step(0)
    bench.engine.publish()
    assert [set(bench.values(name, "node")) for name in (*shown, sockets)] == [{("node-a",)}] * 3
    assert bench.values("flowatlas_flow_bytes_total") == summed

    member.held = partitions("0", "1")
    bench.engine.step(0)
    bench.engine.publish()
    assert bench.values(shown[0], "node") == {("node-a",): 100, ("node-b",): 101}


def test_of_the_members_of_a_group_one_is_first() -> None:
    bench = Bench(kind=Member)
    member = bench.reader
    assert isinstance(member, Member)
    answers = []
    for held in (None, frozenset(), frozenset({(FLOWS.topic, "1")}), frozenset({FIRST})):
        member.held = held
        answers.append(bench.engine.is_first)
    assert answers == [False, False, False, True]
    assert Bench().engine.is_first, "who has no group is alone"
