"""State batches to a history: epochs, gaps, repeats, objects that cannot be understood."""

from __future__ import annotations

from typing import Any

import pytest

from collector.schema import STATE
from pipeline.decode import decode
from pipeline.inventory.addresses import text
from pipeline.inventory.feed import Feed
from pipeline.inventory.history import History
from tests.pipeline.inventory.changes import at, holder
from tests.pipeline.shipments import message
from tests.pipeline.small_cluster import node, pod, service
from tests.pipeline.state_batches import Row, delete, mark, put, state, synced

A, B = pod("a", "node-a", "10.0.1.5"), pod("b", "node-a", "10.0.1.6")


class Fed:
    """A feed that is given batches as the bus carries them."""

    def __init__(self) -> None:
        self.feed = Feed(History())

    @property
    def history(self) -> History:
        return self.feed.history

    def give(self, epoch: int, seq: int, *rows: Row, watcher: str = "") -> bool:
        batch = decode(message(state(epoch, seq, rows)), {STATE.name: STATE})
        return self.feed.take(watcher or batch.name.node, batch.name.epoch, batch.name.seq, batch.frame)

    def pods(self) -> set[str]:
        return {item.metadata.name for item in self.history.objects() if item.kind == "Pod"}


@pytest.fixture
def fed() -> Fed:
    return Fed()


def test_an_epoch_is_known_when_it_is_synced_and_changes_follow(fed: Fed) -> None:
    assert fed.give(1, 0, put(at(0), A))
    assert not fed.history.is_synced
    assert fed.give(1, 1, synced(at(1)))
    assert fed.give(1, 2, put(at(2), B), delete(at(3), A), mark(at(4)))
    assert fed.pods() == {"b"}
    assert fed.history.known_until == at(4)
    assert holder(fed.history.snapshot(), "10.0.1.5", at(2.9)) == "a"
    assert holder(fed.history.snapshot(), "10.0.1.5", at(3)) == ""


def test_a_new_epoch_deletes_what_it_does_not_say(fed: Fed) -> None:
    fed.give(1, 0, put(at(0), A), put(at(0), B), synced(at(1)))
    fed.give(2, 0, put(at(0), B))
    assert fed.pods() == {"a", "b"}
    fed.give(2, 1, synced(at(9)))
    assert fed.pods() == {"b"}


def test_what_came_before_and_what_is_over_is_passed_over(fed: Fed) -> None:
    fed.give(1, 0, put(at(0), A), synced(at(1)))
    assert not fed.give(1, 0, put(at(0), A), synced(at(1)))
    fed.give(2, 0, put(at(0), B), synced(at(2)))
    assert not fed.give(1, 1, put(at(3), A))
    assert fed.pods() == {"b"}


def test_after_a_clock_was_set_back_what_comes_last_counts_and_what_the_other_had_told_is_forgotten(
    fed: Fed, caplog: pytest.LogCaptureFixture
) -> None:
    again = pod("c", "node-a", "10.0.1.5")
    fed.give(9, 0, put(at(3600), A), synced(at(3601)), delete(at(3700), A), put(at(3700), again), mark(at(3800)))
    assert fed.give(2, 0, put(at(200), again), put(at(200), B))
    assert fed.pods() == {"b", "c"}
    assert fed.give(2, 1, synced(at(201)))
    assert caplog.messages == ["state: the watcher's clock was set back by 3599.0 s; all is taken as it is told now"]
    assert fed.give(2, 2, mark(at(202)))
    assert (fed.pods(), fed.history.known_until) == ({"b", "c"}, at(202))
    assert holder(fed.history.snapshot(), "10.0.1.5", at(202)) == "c"
    assert not fed.give(9, 1, put(at(3900), A))
    assert not fed.give(1, 5, put(at(100), A))
    assert fed.pods() == {"b", "c"}


def test_a_clock_that_is_a_little_behind_the_former_watchers_forgets_nothing(fed: Fed) -> None:
    fed.give(9, 0, put(at(0), A), synced(at(1)), delete(at(5), A), mark(at(9.9)))
    history = fed.history
    fed.give(8, 0, put(at(9), B), synced(at(9.2)))
    assert fed.history is history
    assert holder(history.snapshot(), "10.0.1.5", at(4)) == "a"


def test_another_watcher_is_told_of_for_its_cluster_takes_the_place_of_the_first(
    fed: Fed, caplog: pytest.LogCaptureFixture
) -> None:
    fed.give(1, 0, put(at(0), A), synced(at(1)), watcher="paris")
    fed.give(2, 0, put(at(2), A), synced(at(2)), watcher="paris")
    assert caplog.messages == []
    fed.give(3, 0, put(at(3), B), synced(at(3)), watcher="oslo")
    assert fed.pods() == {"b"}
    assert caplog.messages == ["state: oslo tells it now, and not paris; a bus carries one cluster"]


def test_an_epoch_without_its_beginning_is_passed_over(fed: Fed) -> None:
    assert not fed.give(1, 7, put(at(0), A), synced(at(1)))
    assert not fed.give(1, 8, put(at(0), B), mark(at(2)))
    assert not fed.history.is_synced
    assert fed.give(2, 0, put(at(3), B), synced(at(3)))
    assert fed.pods() == {"b"}
    assert fed.feed.missing == {}


def test_an_epoch_that_lacks_a_batch_deletes_nothing_by_its_silence(fed: Fed) -> None:
    fed.give(1, 0, put(at(0), A), put(at(0), B), synced(at(1)))
    fed.give(2, 0, put(at(2), A))
    fed.give(2, 2, synced(at(3)), mark(at(4)))
    assert fed.pods() == {"a", "b"}
    assert fed.feed.missing == {"cluster-watcher": 1}
    assert fed.history.known_until == at(4)
    fed.give(3, 0, put(at(5), A), synced(at(5)))
    assert fed.pods() == {"a"}


def broken(whole: dict[str, Any], **changed: Any) -> Row:
    return {**put(at(2), whole), **changed}


@pytest.mark.parametrize(
    "body", ['{"kind": "Pod", "metadata": {"name": "a"}, "status": {"podIP": "10.0.1"}}', "no JSON", '{"a": [' * 10_000]
)
def test_an_object_that_cannot_be_understood_is_refused_and_the_last_good_one_stays(fed: Fed, body: str) -> None:
    fed.give(1, 0, put(at(0), A), synced(at(1)), broken(A, body=body))
    assert fed.feed.refused == {"Pod": 1}
    assert fed.pods() == {"a"}
    fed.give(1, 1, put(at(3), A))
    assert fed.feed.refused == {}


def test_a_row_that_speaks_of_another_object_than_its_body_is_refused(fed: Fed) -> None:
    fed.give(1, 0, synced(at(1)), broken(A, name="c"), broken(A, kind="Node", namespace=""))
    assert fed.feed.refused == {"Node": 1, "Pod": 1}
    assert fed.history.objects() == []


def test_kinds_without_a_model_are_counted(fed: Fed) -> None:
    policy = {"apiVersion": "cilium.io/v2", "kind": "CiliumNetworkPolicy", "metadata": {"name": "x", "namespace": "y"}}
    fed.give(1, 0, put(at(0), policy), put(at(0), service("web", "10.96.0.1", 80)), synced(at(1)))
    assert dict(fed.history.snapshot().objects) == {"CiliumNetworkPolicy": 1, "Service": 1}
    fed.give(1, 1, delete(at(2), policy), put(at(2), node("node-a", "192.0.2.1", "10.0.1.0/24")))
    assert dict(fed.history.snapshot().objects) == {"Node": 1, "Service": 1}


def endpoints(address: str) -> dict[str, Any]:
    """The slice of `web` with one endpoint."""
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "web-1", "namespace": "shop", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4",
        "ports": [{"name": "", "port": 8080}],
        "endpoints": [{"addresses": [address]}],
    }


def test_an_address_with_zeros_before_its_numbers_is_read_as_kubernetes_reads_it(fed: Fed) -> None:
    """The API server lets them in, of whoever may write an EndpointSlice."""
    fed.give(1, 0, put(at(0), service("web", "10.96.0.1", 80)), synced(at(1)), put(at(2), endpoints("010.0.01.005")))
    assert fed.feed.refused == {}
    held = fed.history.snapshot().backends.select(text("addr_hi", "addr_lo"), "port").rows()
    assert held == [("10.0.1.5", 8080)]


def test_a_slice_whose_address_is_none_is_refused_and_the_others_go_on(fed: Fed) -> None:
    fed.give(1, 0, put(at(0), service("web", "10.96.0.1", 80)), synced(at(1)), put(at(2), endpoints("10.0.1")))
    fed.give(1, 1, put(at(3), A))
    assert fed.feed.refused == {"EndpointSlice": 1}
    assert fed.pods() == {"a"}
