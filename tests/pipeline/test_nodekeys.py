"""What is not of the node that it names is set aside, and takes nobody's place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from collector.errors import ConfigError
from collector.nodekeys import MAC, derived, mac_of
from collector.schema import Batch, BatchError
from pipeline.bus import Message
from pipeline.config import PipelineConfig
from pipeline.intake import Intake
from pipeline.nodekeys import NodeKeys
from pipeline.outputs.meters import Meters
from tests.collector.test_nodekeys import ROOT, written
from tests.pipeline.batches_for_tests import batch, message

OTHER_ROOT = ROOT[::-1]


def signed(source: Batch, by: str | None = None, root: bytes = ROOT) -> Message:
    """A batch with the MAC of a node's key: its own, unless `by` is another."""
    key = derived(root, by or source.node)
    return message(source, headers={**source.headers(), MAC: mac_of(key, source.headers(), source.value)})


def header(**changed: bytes) -> Callable[[Message], Message]:
    return lambda one: replace(one, headers={**one.headers, **changed})


@pytest.fixture
def roots(tmp_path: Path) -> Path:
    return written(tmp_path / "root", ROOT.hex())


@pytest.mark.parametrize(
    "change",
    [
        header(epoch=b"2"),
        header(seq=b"1"),
        header(rows=b"11"),
        header(bytes=b"1"),
        header(schema=b"1"),
        header(table=b"counters"),
        header(seq=b"00"),
        header(mac=b""),
        header(mac=b"0" * 32),
        header(mac=b"\xff" * 32),
        lambda one: replace(one, value=one.value + b"\0"),
        lambda one: replace(one, headers={**one.headers, MAC: one.headers[MAC][:-2]}),
        lambda one: replace(one, headers={**one.headers, MAC: one.headers[MAC].upper()}),
    ],
)
def test_whatever_is_changed_is_forged(change: Callable[[Message], Message], roots: Path) -> None:
    keys, sound = NodeKeys(roots), signed(batch(node="node1", seq=10))
    keys.check(sound, "node1")
    with pytest.raises(BatchError, match=r"^forged: in the name of node1$"):
        keys.check(change(sound), "node1")


def test_no_other_node_and_no_other_root_will_do(roots: Path) -> None:
    keys = NodeKeys(roots)
    for one in (signed(batch(node="node1"), by="node2"), signed(batch(node="node1"), root=OTHER_ROOT)):
        with pytest.raises(BatchError, match=r"^forged"):
            keys.check(one, "node1")
    with pytest.raises(BatchError, match=r"^unsigned"):
        keys.check(message(batch(node="node1")), "node1")


def test_a_root_is_replaced_while_both_hold(roots: Path) -> None:
    keys = NodeKeys(roots)
    old, new = signed(batch(node="node1")), signed(batch(node="node1", seq=1), root=OTHER_ROOT)
    written(roots, OTHER_ROOT.hex(), ROOT.hex())
    keys.refresh()
    keys.check(old, "node1")
    keys.check(new, "node1")
    written(roots, OTHER_ROOT.hex())
    keys.refresh()
    keys.check(new, "node1")
    with pytest.raises(BatchError, match=r"^forged"):
        keys.check(old, "node1")


def test_who_speaks_for_another_is_set_aside_and_stands_in_nobodys_way(roots: Path) -> None:
    own = [signed(batch(node="node1", seq=seq)) for seq in range(3)]
    lie = signed(batch(node="node1", seq=1, rows=3), by="node2")
    anybodys = message(batch(node="node1", seq=2, rows=5))
    others = signed(batch(node="node2"))
    meters = Meters()
    intake = Intake(meters, keys=NodeKeys(roots))
    names = [
        (name.node, name.seq)
        for chunk in intake.take([own[0], lie, anybodys, others, own[1], own[2]])
        for rows in chunk
        for name in rows.names
    ]
    assert names == [("node1", 0), ("node2", 0), ("node1", 1), ("node1", 2)]
    assert list(intake.refused) == [(lie, "forged"), (anybodys, "unsigned")]
    assert not meters.duplicates


def test_without_a_root_key_nodes_are_believed() -> None:
    lie = signed(batch(node="node1"), by="node2")
    assert [rows.names[0].node for chunk in Intake(Meters()).take([lie]) for rows in chunk] == ["node1"]


def test_many_names_are_not_remembered_for_ever(roots: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.nodekeys._MOST_KNOWN", 3)
    keys = NodeKeys(roots)
    for number in [*range(10), *range(10)]:
        keys.check(signed(batch(node=f"node{number}")), f"node{number}")
        assert len(keys._known) <= 3


def test_a_pipeline_without_its_key_does_not_begin(tmp_path: Path) -> None:
    config = PipelineConfig(f"file://{tmp_path}/bus", tmp_path, root_key=tmp_path / "absent")
    assert config.root_key is not None
    with pytest.raises(ConfigError, match=r"^pipeline\.root_key: .*No such file"):
        NodeKeys(config.root_key)
