"""Epochs: whole, numbered, in a ring that a compacted topic can be kept by, and bounded."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from collector.schema import KNOWN_TABLES, MAX_INFLATED_BYTES, MAX_MESSAGE_BYTES, Batch, parse_headers
from pipeline.inventory.watch import journal as journal_module
from pipeline.inventory.watch.bodies import Known, Seen
from pipeline.inventory.watch.journal import KEPT_NS, RING, Journal
from pipeline.inventory.watch.kinds import KINDS, Served
from pipeline.inventory.watch.objects import Change, Objects
from tests.pipeline.inventory.watch.state_log import of_batches, rows_of

PODS = Served(next(kind for kind in KINDS if kind.name == "Pod"), "v1")
NOW = 1_790_000_000_000_000_000


def change(name: str, op: str = "put", time_ns: int = NOW, body: str = "{}") -> Change:
    return Change(time_ns, op, PODS, Known("default", name, f"uid-{name}", body.encode()))  # type: ignore[arg-type]


def test_an_epoch_is_everything_then_synced_then_changes_and_a_mark() -> None:
    journal = Journal("watcher")
    first = journal.begin(NOW, [change("a", time_ns=NOW - 5), change("b", time_ns=NOW - 9)])
    then = journal.extend([change("a", "delete", NOW + 1), change("c", time_ns=NOW + 2)], NOW - 3)
    log = of_batches([*first, *then])
    assert log.synced == [NOW]
    assert log.names("Pod") == {"b", "c"}
    assert log.marked_ns == NOW - 3
    assert [row["time"] for row in rows_of(first[0].value)] == [NOW - 5, NOW - 9]
    assert [b.seq for b in (*first, *then)] == [0, 1, 2]
    assert parse_headers(first[0].headers(), KNOWN_TABLES).node == "watcher"


def test_nothing_to_say_is_no_batch_and_a_mark_never_goes_back() -> None:
    journal = Journal("watcher")
    journal.begin(NOW, [])
    assert journal.extend([], None) == []
    assert rows_of(journal.extend([], NOW)[0].value)[0]["time"] == NOW
    assert rows_of(journal.extend([], NOW - 50)[0].value)[0]["time"] == NOW


def test_an_empty_cluster_is_synced_too() -> None:
    assert of_batches(Journal("w").begin(NOW, [])).synced == [NOW]


def test_batches_fit_into_messages_whatever_the_bodies_are() -> None:
    noise = random.Random(7)
    bodies = [f'"{noise.randbytes(150_000).hex()}"' for _ in range(30)]  # compress to half
    small = [change(f"s{n}", body="x" * 40) for n in range(45_000)]
    batches = Journal("w").begin(NOW, [*(change(f"b{n}", body=body) for n, body in enumerate(bodies)), *small])
    assert all(len(batch.value) < MAX_MESSAGE_BYTES for batch in batches)
    assert all(sum(len(row["body"]) for row in rows_of(b.value)) < MAX_INFLATED_BYTES for b in batches)
    assert len(of_batches(batches).state) == 45_030


def test_a_clock_that_goes_back_makes_no_older_epoch() -> None:
    journal = Journal("w")
    journal.begin(NOW, [])
    assert journal.begin(NOW - 10**12, [])[0].epoch == NOW + 1


def test_segments_may_go_only_once_a_newer_epoch_is_synced() -> None:
    journal = Journal("w")
    assert {batch.oldest_kept for batch in journal.begin(NOW, [change("a")])[:-1]} == {0}
    assert journal.extend([], NOW)[0].oldest_kept == NOW - KEPT_NS
    later = NOW + 2 * KEPT_NS
    puts, synced = journal.begin(later, [change("a")])
    assert puts.oldest_kept == NOW - KEPT_NS
    assert synced.oldest_kept == later


def test_a_clock_that_was_set_back_makes_an_epoch_due_whose_times_have_come() -> None:
    journal = Journal("w")
    journal.begin(NOW, [])
    journal.extend([], NOW - 5)
    assert not journal.is_ahead(NOW)
    now = NOW - 10**12
    assert journal.is_ahead(now)
    log = of_batches([*journal.begin(now, [change("a", time_ns=NOW)]), *journal.extend([], now - 5)])
    assert (log.marked_ns, log.synced, log.state["Pod", "default", "a"]["time"]) == (now - 5, [NOW + 1], now)
    assert not journal.is_ahead(now)


def test_an_epoch_is_newer_than_what_stands_in_the_folder_which_goes_when_others_have_stood_long_enough() -> None:
    """Another watcher's clock was a year ahead."""
    ahead = NOW + 365 * 24 * 3600 * 10**9
    journal = Journal("w", ahead)
    epochs = [journal.begin(NOW + turn * KEPT_NS * 2 // 3, [])[-1] for turn in range(4)]
    assert [batch.epoch for batch in epochs] == [ahead + 1, ahead + 2, ahead + 3, ahead + 4]
    assert [(batch.oldest_kept or 0) > ahead for batch in epochs] == [False, False, True, True]
    assert epochs[-1].oldest_kept == ahead + 3


def compacted(batches: Iterator[Batch]) -> Iterator[dict[bytes, Batch]]:
    """What a topic holds that keeps the last batch of each key, after each batch."""
    held: dict[bytes, Batch] = {}
    for batch in batches:
        held.pop(batch.key, None)
        held[batch.key] = batch
        yield held


def test_a_compacted_topic_holds_a_synced_epoch_whole_at_any_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Played on a small ring: whatever is kept of older epochs, the newest that is synced has no gap."""
    monkeypatch.setattr(journal_module, "RING", 40)
    monkeypatch.setattr(journal_module, "_BATCH_BYTES", 4_000)
    objects = Objects()
    for number in range(16):
        objects.put(PODS, Known("default", f"p{number}", "u", b"x" * 2_000), NOW)

    def played() -> Iterator[Batch]:
        journal = Journal("w")
        now = NOW
        yield from journal.begin(now, objects.all())
        for tick in range(1, 300):
            now += 250_000_000
            if journal.is_full(objects.count()):
                yield from journal.begin(now, objects.all())
            objects.put(PODS, Known("default", "p0", "u", str(tick).encode()), now)
            yield from journal.extend(objects.changes(), now)

    objects.changes()
    sizes = []
    synced: set[tuple[int, int]] = set()
    for held in compacted(played()):
        newest = list(held.values())[-1]
        if any(row["op"] == "synced" for row in rows_of(newest.value)):
            synced.add((newest.epoch, newest.seq))
        sizes.append(len(held))
        epochs: dict[int, list[Batch]] = {}
        for batch in held.values():
            epochs.setdefault(batch.epoch, []).append(batch)
        whole = []
        for batches in epochs.values():
            batches.sort(key=lambda batch: batch.seq)
            if [batch.seq for batch in batches] == list(range(len(batches))):
                whole.append(any((batch.epoch, batch.seq) in synced for batch in batches))
        if len(sizes) > 9:
            assert any(whole)
    assert max(sizes) == 40


def test_the_ring_goes_on_where_it_was_after_a_restart() -> None:
    """By the clock: about a slot each quarter of a second, so what an earlier life said last is overwritten last."""
    first = Journal("w").begin(NOW, [])[0]
    again = Journal("w").begin(NOW + 10 * 60 * 10**9, [])[0]
    assert first.slot is not None
    assert again.slot is not None
    assert (again.slot - first.slot) % RING == 4 * 600
    assert first.key == f"w/{first.slot}".encode()
    assert first.partition == 0


def test_a_new_epoch_is_due_by_batches_or_by_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "LEAST_CHANGES", 10)
    journal = Journal("w")
    journal.begin(NOW, [])
    journal.extend([change(str(n)) for n in range(9)], NOW)
    assert not journal.is_full(0)
    journal.extend([change("last")], NOW)
    assert journal.is_full(2)
    assert not journal.is_full(3)
    journal.begin(NOW, [])
    monkeypatch.setattr(journal_module, "RING", 8)
    for _ in range(3):
        assert not journal.is_full(10**6)
        journal.extend([], NOW)
    assert journal.is_full(10**6)


def test_a_delete_of_another_object_of_the_name_is_none() -> None:
    objects = Objects()
    objects.put(PODS, Known("default", "a", "new", b"{}"), NOW)
    objects.delete(PODS, Seen("default", "a", "old", "1"), NOW)
    objects.delete(PODS, Seen("default", "b", "new", "1"), NOW)
    assert objects.count() == 1
    objects.delete(PODS, Seen("default", "a", "new", "2"), NOW)
    assert [one.op for one in objects.changes()] == ["put", "delete"]
