"""The watcher against an API server that does what API servers do on bad days. State must be right after each."""

from __future__ import annotations

import dataclasses
import threading
import time
from typing import Any

import httpx2
import pytest

from pipeline.errors import ConfigError
from pipeline.inventory.watch import api, reflector
from tests.pipeline.inventory.watch import fake_api, state_log
from tests.pipeline.inventory.watch.fake_api import FakeApi, pod, says, silent, slow, status, truncated, until, wait_for
from tests.pipeline.inventory.watch.runs import CONFIG, watching


def test_all_there_is_then_every_change(fake: FakeApi) -> None:
    fake.put("Namespace", "shop", namespace="")
    for number in range(3):
        pod(fake, f"pod-{number}")
    with watching(fake) as run:
        log = run.settled()
        assert log.names("Pod") == {"pod-0", "pod-1", "pod-2"}
        assert log.names("Namespace") == {"shop"}
        assert log.changes == []
        pod(fake, "pod-3", "10.0.0.3")
        pod(fake, "pod-0", "10.0.0.9")
        fake.delete("Pod", "pod-1")
        log = run.until(lambda log: len(log.changes) == 3)
        assert log.names("Pod") == {"pod-0", "pod-2", "pod-3"}
        assert log.body("Pod", "pod-0")["status"]["podIP"] == "10.0.0.9"
        assert [row["op"] for row in log.changes] == ["put", "put", "delete"]
        assert all(abs(row["time"] - time.time_ns()) < 60e9 for row in log.changes)
        assert len(log.epochs) == 1


def test_what_is_not_read_of_an_object_makes_no_change(fake: FakeApi) -> None:
    pod(fake, "pod-0")
    with watching(fake) as run:
        run.settled()
        pod(fake, "pod-0", spec={"schedulerName": "another"})
        fake.put("Service", "last")
        log = run.until(lambda log: log.changes)
        assert [row["kind"] for row in log.changes] == ["Service"]


def test_a_list_comes_in_pages(fake: FakeApi) -> None:
    for number in range(1201):
        pod(fake, f"pod-{number}")
    with watching(fake) as run:
        assert len(run.settled().names("Pod")) == 1201
    assert [q.get("continue", "")[-5:] for q in fake.questions("/pods", limit="500")] == ["", "1-500"[-5:], "-1000"]


def test_a_page_that_expired_makes_the_list_begin_again_whole(fake: FakeApi) -> None:
    for number in range(1201):
        pod(fake, f"pod-{number}")
    first = f"{fake.version}-1000"
    fake.fault(status(410), "/pods", continue_=first)
    with watching(fake) as run:
        assert len(run.settled().names("Pod")) == 1201
        assert run.counts.of("relists_total", "Pod", "page_expired") == 1
    assert len([q for q in fake.questions("/pods") if "limit" not in q and "watch" not in q]) == 1


@pytest.mark.parametrize(
    ("strike", "reason"),
    [
        (status(500), "server"),
        (status(503), "server"),
        (status(429, Retry_After="0"), "throttled"),
        (truncated, "connection"),
        (lambda handler: handler.cut(), "connection"),
        (lambda handler: handler.json([]) or True, "malformed"),
    ],
)
def test_a_page_that_fails_is_asked_for_again(fake: FakeApi, strike: Any, reason: str) -> None:
    for number in range(501):
        pod(fake, f"pod-{number}")
    fake.fault(strike, "/pods", times=2)
    fake.fault(strike, "/pods", times=2, continue_=f"{fake.version}-500")
    with watching(fake) as run:
        assert len(run.settled().names("Pod")) == 501
        assert run.counts.of("errors_total", "Pod", reason) == 4
        assert len(run.log.epochs) == 1


def test_nothing_is_said_until_every_kind_is_listed(fake: FakeApi) -> None:
    fake.put("Service", "web")
    fake.fault(status(500), "/services", times=10**6)
    with watching(fake) as run:
        wait_for(lambda: run.counts.of("errors_total", "Service") > 4)
        assert run.kept.batches == []
        fake.faults.clear()
        assert run.settled().names("Service") == {"web"}


def test_a_watch_that_breaks_goes_on_where_it_was(fake: FakeApi) -> None:
    pod(fake, "pod-0")
    with watching(fake) as run:
        run.settled()
        fake.fault(status(500), "/pods", times=3, watch="true")
        fake.cut()
        wait_for(lambda: run.counts.of("errors_total", "Pod") > 0)
        before = run.log.marked_ns
        pod(fake, "pod-1")
        fake.delete("Pod", "pod-0")
        log = run.settled()
        assert log.names("Pod") == {"pod-1"}
        assert log.marked_ns > before
        assert len(log.epochs) == 1
        assert run.counts.of("relists_total", "Pod") == 1, "the first, and no other"


def test_no_mark_while_a_kind_cannot_be_watched(fake: FakeApi) -> None:
    with watching(fake) as run:
        run.settled()
        fake.fault(status(500), "/pods", times=10**6, watch="true")
        fake.cut()
        wait_for(lambda: run.counts.of("errors_total", "Pod", "server") > 3)
        marked = run.log.marked_ns
        fake.put("Service", "web")
        log = run.until(lambda log: log.changes)
        assert log.names("Service") == {"web"}, "changes of other kinds go on"
        time.sleep(0.2)
        assert run.log.marked_ns == marked
        assert run.counts.gauges["current", "Pod"] == 0.0
        fake.faults.clear()
        run.settled()
        assert run.counts.gauges["current", "Pod"] == 1.0


def test_a_version_that_is_gone_makes_a_list_and_what_vanished_is_deleted(fake: FakeApi) -> None:
    for number in range(3):
        pod(fake, f"pod-{number}", f"10.0.0.{number}")
    with watching(fake) as run:
        run.settled()
        fake.fault(status(500), "/pods", times=2, watch="true")
        with fake.changed:
            fake.generation += 1
            fake.changed.notify_all()
        fake.delete("Pod", "pod-1")
        fake.put("Pod", "pod-2", uid="another", status={"podIP": "10.0.0.2", "phase": "Running"})
        pod(fake, "pod-3")
        fake.forget()
        log = run.settled()
        assert log.names("Pod") == {"pod-0", "pod-2", "pod-3"}
        assert run.counts.of("relists_total", "Pod", "expired") >= 1
        said = [(row["op"], row["name"], row["uid"]) for row in log.changes]
        assert sorted(said) == [
            ("delete", "pod-1", "uid-pod-1"),
            ("delete", "pod-2", "uid-pod-2"),
            ("put", "pod-2", "another"),
            ("put", "pod-3", "uid-pod-3"),
        ]
        assert said.index(("delete", "pod-2", "uid-pod-2")) < said.index(("put", "pod-2", "another"))
        assert len(log.epochs) == 1, "what is known stays known meanwhile"


def test_gone_by_status_is_gone_too(fake: FakeApi) -> None:
    with watching(fake) as run:
        run.settled()
        fake.fault(status(410), "/pods", watch="true")
        fake.cut()
        pod(fake, "pod-0")
        assert run.settled().names("Pod") == {"pod-0"}
        assert run.counts.of("relists_total", "Pod", "expired") == 1


def test_events_that_come_twice_are_one_change(fake: FakeApi) -> None:
    fake.repeats = 2
    with watching(fake) as run:
        run.settled()
        pod(fake, "pod-0")
        fake.delete("Pod", "pod-0")
        pod(fake, "pod-0", "10.0.0.2")
        log = run.until(lambda log: len(log.changes) >= 3)
        assert [row["op"] for row in log.changes] == ["put", "delete", "put"]


def test_a_pod_may_come_before_its_owner_and_after_its_slice(fake: FakeApi) -> None:
    """Kinds are told in no order among each other; each is whole all the same."""
    with watching(fake) as run:
        run.settled()
        others_are_told = threading.Event()
        fake.fault(until(others_are_told), "/replicasets", watch="true")
        fake.cut()
        fake.put("EndpointSlice", "web-1", endpoints=[{"addresses": ["10.0.0.1"]}], addressType="IPv4")
        pod(fake, "web-1")
        fake.put("ReplicaSet", "web")
        run.until(lambda log: len(log.changes) == 2)
        others_are_told.set()
        log = run.until(lambda log: len(log.changes) == 3)
        assert log.names("ReplicaSet") == {"web"}
        assert log.changes[-1]["kind"] == "ReplicaSet"
        assert run.settled().names("Pod") == {"web-1"}


def test_a_bookmark_is_where_a_watch_goes_on(fake: FakeApi) -> None:
    """A quiet kind would be too old after a compaction if bookmarks did not move it on."""
    fake.put("Service", "web")
    with watching(fake) as run:
        run.settled()
        for number in range(5):
            pod(fake, f"pod-{number}")
        fake.bookmark_s = 0.05
        version = str(fake.version)
        (services,) = (served for served in fake.served.values() if served.path.endswith("/services"))
        wait_for(lambda: fake.bookmarked.get(services) == int(version))
        fake.forget()
        fake.cut()
        wait_for(lambda: bool(fake.questions("/services", watch="true", resourceVersion=version)))
        run.settled()
        assert run.counts.of("relists_total", "Service") == 1


def test_a_watch_that_does_not_end_as_asked_is_left(fake: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "GRACE_S", 0.2)
    with watching(fake, watch_s=(1.0, 1.0)) as run:
        run.settled()
        fake.fault(silent, "/pods", watch="true")
        fake.cut()
        wait_for(lambda: run.counts.of("errors_total", "Pod", "timeout") >= 1)
        pod(fake, "pod-0")
        assert run.settled().names("Pod") == {"pod-0"}


def test_watches_that_end_as_asked_are_no_failures(fake: FakeApi) -> None:
    with watching(fake, watch_s=(1.0, 1.0)) as run:
        run.settled()
        wait_for(lambda: len(fake.questions("/pods", watch="true")) >= 3)
        pod(fake, "pod-0")
        assert run.settled().names("Pod") == {"pod-0"}
        assert run.counts.of("errors_total") == 0
        assert run.counts.of("relists_total", "Pod") == 1


def test_no_mark_before_what_happened_meanwhile_is_told(fake: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    """A watch that goes on tells it all at once, and not when that is done."""
    monkeypatch.setattr(reflector, "CATCH_UP_SHARE", 6.0)  # the fake is no faster than what happens to it
    for number in range(500):
        pod(fake, f"pod-{number}")
    with watching(fake) as run:
        run.settled()
        fake.fault(status(500), "/pods", times=10**6, watch="true")
        fake.cut()
        wait_for(lambda: run.counts.of("errors_total", "Pod", "server") > 1)
        for turn in range(5):
            for number in range(500):
                pod(fake, f"pod-{number}", f"10.0.{turn}.1")
        pod(fake, "last")
        was_so_ns = time.time_ns()
        fake.faults.clear()
        run.settled()
    rows = [row for batch in run.kept.batches for row in state_log.rows_of(batch.value)]
    last = next(index for index, row in enumerate(rows) if row["name"] == "last")
    marks = [index for index, row in enumerate(rows) if row["op"] == "mark" and row["time"] > was_so_ns]
    assert marks[0] > last


def test_no_mark_while_the_server_does_not_answer(fake: FakeApi) -> None:
    """Its watches stand and are silent, as those of a quiet cluster are."""
    with watching(fake) as run:
        run.settled()
        fake.fault(status(500), "/apis", times=10**6)
        wait_for(lambda: run.counts.of("errors_total", "", "server") > 2)
        marked = run.log.marked_ns
        time.sleep(0.3)
        assert run.log.marked_ns == marked
        fake.faults.clear()
        run.settled()


def test_a_group_that_cannot_be_asked_is_done_without_unless_it_is_needed(fake: FakeApi) -> None:
    fake.served["HTTPRoute"] = fake_api.ALL["HTTPRoute"]
    fake.fault(status(503), "/apis/gateway.networking.k8s.io/v1", times=10**6)
    fake.fault(status(503), "/apis/apps/v1", times=2)
    with watching(fake) as run:
        log = run.settled()
        assert log.epochs
        assert run.counts.of("relists_total", "ReplicaSet", "start") == 1
        assert run.counts.of("relists_total", "HTTPRoute") == 0


def test_a_slow_server_is_waited_for_up_to_a_bound(fake: FakeApi) -> None:
    pod(fake, "pod-0")
    fake.fault(slow(2.5), "/pods", limit="500")
    with watching(fake, patience_s=2.0) as run:
        assert run.settled().names("Pod") == {"pod-0"}
        assert run.counts.of("errors_total", "Pod", "timeout") >= 1


@pytest.mark.parametrize("line", [b"{]\n", b'{"type":"ADDED"}\n', b'{"type":"RENAMED","object":{}}\n'])
def test_a_line_that_is_no_event_makes_a_list(fake: FakeApi, line: bytes) -> None:
    with watching(fake) as run:
        run.settled()
        fake.fault(says(line), "/pods", watch="true")
        fake.cut()
        pod(fake, "pod-0")
        run.until(lambda log: log.names("Pod") == {"pod-0"})
        assert run.counts.of("relists_total", "Pod", "malformed") == 1


def test_half_a_line_at_the_end_is_none(fake: FakeApi) -> None:
    with watching(fake) as run:
        run.settled()
        fake.fault(says(b'{"type":"ADDED","obj'), "/pods", watch="true")
        fake.cut()
        pod(fake, "pod-0")
        run.until(lambda log: log.names("Pod") == {"pod-0"})
        assert run.counts.of("relists_total", "Pod") == 1


def test_a_malformed_object_is_left_out_and_the_others_are_not(fake: FakeApi) -> None:
    pod(fake, "good")
    fake.put("Pod", "bad", status={"podIP": "no address"})
    with watching(fake) as run:
        assert run.settled().names("Pod") == {"good"}
        assert run.counts.of("malformed_objects_total", "Pod") == 1
        fake.put("Pod", "good", status={"podIP": 7})
        log = run.until(lambda log: not log.names("Pod"))
        assert [row["op"] for row in log.changes] == ["delete"], "as if it had been listed so"
        pod(fake, "good")
        run.until(lambda log: log.names("Pod") == {"good"})


def test_what_the_bus_lost_is_made_good_by_a_new_epoch(fake: FakeApi) -> None:
    pod(fake, "pod-0")
    with watching(fake) as run:
        run.settled()
        run.kept.losing = 1
        pod(fake, "pod-1")
        log = run.until(lambda log: len(log.synced) == 2)
        assert log.names("Pod") == {"pod-0", "pod-1"}
        assert run.counts.of("epochs_total", "lost") == 1
        run.settled()


def test_a_restart_says_all_again_and_what_went_meanwhile_is_gone(fake: FakeApi) -> None:
    pod(fake, "pod-0")
    pod(fake, "pod-1")
    with watching(fake) as run:
        run.settled()
    fake.delete("Pod", "pod-0")
    with watching(fake) as again:
        log = again.settled()
    assert log.names("Pod") == {"pod-1"}
    assert log.epochs[0] > run.log.epochs[0]


def test_what_came_just_before_the_stop_is_said(fake: FakeApi) -> None:
    slow_marks = dataclasses.replace(CONFIG, mark_s=1.5)
    with watching(fake) as run:
        run.settled()
    with watching(fake, slow_marks) as run:
        run.until(lambda log: log.synced)
        pod(fake, "pod-0")
        wait_for(lambda: bool(fake.questions("/pods", watch="true")))
        time.sleep(1.0)
    assert run.log.names("Pod") == {"pod-0"}


def test_a_wrong_setting_ends_the_watcher(fake: FakeApi) -> None:
    async def connect() -> httpx2.AsyncClient:
        raise ConfigError("kubeconfig: no such file")

    with pytest.raises(ConfigError, match="no such file"), watching(fake, connect=connect):
        time.sleep(0.3)
