"""The state of manifest files: as of a dump at first, then as it was when a change was seen."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipeline.inventory import manifests, snapshot
from pipeline.inventory.addresses import parse, text
from pipeline.inventory.snapshot import Snapshot
from pipeline.inventory.spans import BEGINNING, END
from pipeline.outputs.meters import Meters
from pipeline.state import ManifestState
from tests.pipeline.small_cluster import OBJECTS, pod, service

LAB = Path(__file__).parents[2] / "deploy" / "lab" / "manifests"
SEEN = 1_772_366_400_000_000_000
SECOND = 1_000_000_000
ADDRESS = "10.0.1.9"


def write(file: Path, *objects: dict[str, Any]) -> None:
    file.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": [*OBJECTS, *objects]}))


class Looked:
    """A state whose looks the test makes."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("pipeline.state.LOOK_SECONDS", float("inf"))
        self.source = ManifestState(path)
        self.meters = Meters()
        self.snapshot()

    def look(self, time_ns: int) -> None:
        """Two, the second at the instant."""
        self.source.look(time_ns - SECOND)
        self.source.look(time_ns)

    def snapshot(self) -> Snapshot:
        return self.source(self.meters).snapshot

    def holders(self, address: str) -> list[tuple[str, int, int]]:
        high, low = parse(address)
        known = self.snapshot()
        rows = known.addresses.filter(pl.col("addr_hi") == high, pl.col("addr_lo") == low).sort("since")
        names = known.endpoints["name"]
        return [(names[row["endpoint_id"]], row["since"], row["until"]) for row in rows.iter_rows(named=True)]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    write(tmp_path / "state.json", pod("early", "node-a", ADDRESS))
    return tmp_path / "state.json"


@pytest.fixture
def looked(file: Path, monkeypatch: pytest.MonkeyPatch) -> Looked:
    return Looked(file, monkeypatch)


def test_what_the_first_look_finds_has_always_been_so(looked: Looked) -> None:
    assert looked.holders(ADDRESS) == [("early", BEGINNING, END)]
    assert looked.source(looked.meters).known_until == END


def test_an_address_passes_to_the_pod_that_a_later_look_finds(looked: Looked, file: Path) -> None:
    write(file, pod("later", "node-a", ADDRESS))
    looked.look(SEEN)
    assert looked.holders(ADDRESS) == [("early", BEGINNING, SEEN), ("later", SEEN, END)]


def test_what_vanished_is_gone_since_it_was_seen(looked: Looked, file: Path) -> None:
    write(file)
    looked.look(SEEN)
    assert looked.holders(ADDRESS) == [("early", BEGINNING, SEEN)]
    assert looked.snapshot().objects["Pod"] == 3


def test_services_without_slices_are_resolved_by_their_selectors_from_look_to_look(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a dump that is read once: `kubectl get all` has no EndpointSlices."""
    labels = {"app": "late"}
    late = {**pod("late-0", "node-a", "10.0.1.20")}
    late["metadata"] = {**late["metadata"], "labels": labels}
    called = service("late", "10.96.0.20", 80, selector=labels)
    write(file, called, late)
    looked = Looked(file, monkeypatch)
    held = looked.snapshot().backends.select(text("addr_hi", "addr_lo"), "port", "since", "until")
    dump, _ = manifests.load(file)
    assert held.rows() == [("10.0.1.20", 80, BEGINNING, END)]
    assert snapshot.build(dump).backends.select(text("addr_hi", "addr_lo"), "port", "since", "until").equals(held)
    write(file, called)
    looked.look(SEEN)
    assert looked.snapshot().backends["until"].to_list() == [SEEN]


def test_a_policy_that_comes_begins_an_epoch(looked: Looked, file: Path) -> None:
    policy = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "deny", "namespace": "shop"},
        "spec": {"podSelector": {}},
    }
    write(file, pod("early", "node-a", ADDRESS), policy)
    looked.look(SEEN)
    epochs = looked.source(looked.meters).epochs
    assert [(epoch.since_ns, len(epoch.objects)) for epoch in epochs] == [(BEGINNING, 0), (SEEN, 1)]


def test_nothing_new_leaves_the_snapshot_the_same_object(looked: Looked, file: Path) -> None:
    before = looked.snapshot()
    write(file, pod("early", "node-a", ADDRESS))  # another file, which says the same
    looked.look(SEEN)
    assert looked.snapshot() is before


def test_an_object_that_is_refused_later_is_counted_named_once_and_kept(
    looked: Looked, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    good, bad = service("front", "10.96.0.5", 80), service("front", "10.96.0.5", 80)
    bad["spec"]["ports"] = [{"port": "many"}]
    write(file, good, bad)
    with caplog.at_level(logging.WARNING):
        looked.look(SEEN)
        looked.look(SEEN + SECOND)
    assert looked.source(looked.meters).refused == {"Service": 1}
    (line,) = caplog.messages
    assert "state.json" in line
    assert "Service shop/front" in line
    write(file, good)
    looked.look(SEEN + 2 * SECOND)
    assert looked.source(looked.meters).refused == {}


def test_calls_look_now_and_then_and_are_not_held_up(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a look lasts, the state is what was known."""
    monkeypatch.setattr("pipeline.state.LOOK_SECONDS", 0.0)
    may_end, looks = threading.Event(), threading.Semaphore(0)
    source = ManifestState(file)
    source(Meters())
    look = source._files.look

    def slow() -> bool:
        looks.release()
        assert may_end.wait(90)
        return look()

    monkeypatch.setattr(source._files, "look", slow)
    write(file, pod("later", "node-a", ADDRESS), service("cache", "10.96.0.9", 6379))
    source(Meters())
    assert looks.acquire(timeout=90)
    assert source(Meters()).snapshot.objects["Service"] == 2
    may_end.set()
    deadline = time.monotonic() + 90
    while source(Meters()).snapshot.objects["Service"] == 2:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    source.stop()


def named(known: Snapshot, frame: pl.DataFrame, ids: Iterable[str] = ("endpoint_id",)) -> Counter[tuple[Any, ...]]:
    """The rows of a frame, with what they are of in place of its id."""
    ends = known.endpoints.select("id", pl.concat_str("kind", "namespace", "name", separator="/").alias("end"))
    for column in ids:
        frame = frame.with_columns(pl.col(column).replace_strict(ends["id"], ends["end"], default=None))
    return Counter(frame.rows())


def test_at_first_it_is_the_snapshot_of_a_dump(monkeypatch: pytest.MonkeyPatch) -> None:
    """The lab's objects are of every kind."""
    dump = snapshot.build(manifests.load(LAB)[0])
    state = Looked(LAB, monkeypatch).snapshot()
    assert named(state, state.endpoints, ["id"]) == named(dump, dump.endpoints, ["id"])
    assert named(state, state.addresses) == named(dump, dump.addresses)
    for name in ("ranges", "objects"):
        one, other = getattr(state, name), getattr(dump, name)
        assert one.equals(other) if isinstance(one, pl.DataFrame) else one == other
    assert {name: frame.rows() for name, frame in state.tracked.items()} == {
        name: frame.rows() for name, frame in dump.tracked.items()
    }
