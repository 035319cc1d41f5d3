"""The kinds that a server has: which come, go, change their version, are forbidden, or cannot be asked for."""

from __future__ import annotations

import dataclasses

from tests.pipeline.inventory.watch import fake_api
from tests.pipeline.inventory.watch.fake_api import FakeApi, pod, status, wait_for
from tests.pipeline.inventory.watch.runs import watching


def test_a_kind_that_appears_is_picked_up_and_one_that_goes_is_forgotten(fake: FakeApi) -> None:
    fake.put("HTTPRoute", "shop")
    with watching(fake) as run:
        assert run.settled().names("HTTPRoute") == set()
        fake.served["HTTPRoute"] = fake_api.ALL["HTTPRoute"]
        log = run.until(lambda log: log.names("HTTPRoute") == {"shop"})
        assert len(log.epochs) == 1
        run.settled()
        del fake.served["HTTPRoute"]
        fake.cut()
        run.until(lambda log: log.names("HTTPRoute") == set())
        run.settled()
        fake.served["HTTPRoute"] = fake_api.ALL["HTTPRoute"]
        run.until(lambda log: log.names("HTTPRoute") == {"shop"})


def test_a_kind_in_a_better_version_is_the_same_objects(fake: FakeApi) -> None:
    kind = fake_api.ALL["HTTPRoute"].kind
    old = dataclasses.replace(fake_api.ALL["HTTPRoute"], version="v1beta1")
    fake.objects[old] = {("default", "shop"): fake.put("HTTPRoute", "shop")}
    fake.served["old"] = old
    with watching(fake) as run:
        log = run.settled()
        assert log.state["HTTPRoute", "default", "shop"]["api_version"].endswith("/v1beta1")
        fake.served["HTTPRoute"] = fake_api.ALL["HTTPRoute"]
        log = run.until(lambda log: log.changes)
        assert [(row["op"], row["api_version"]) for row in log.changes] == [("put", f"{kind.group}/v1")]
        run.settled()


def test_an_optional_kind_that_is_forbidden_or_broken_stops_nothing(fake: FakeApi) -> None:
    for kind in ("HTTPRoute", "Gateway"):
        fake.served[kind] = fake_api.ALL[kind]
    fake.fault(status(403), "/gateways", times=10**6)
    fake.fault(status(500), "/httproutes", times=10**6)
    pod(fake, "pod-0")
    with watching(fake) as run:
        assert run.settled().names("Pod") == {"pod-0"}
        fake.put("Gateway", "edge", spec={"gatewayClassName": "any"})
        fake.faults.clear()
        run.until(lambda log: log.names("Gateway") == {"edge"})


def test_what_is_known_of_an_optional_kind_stays_while_it_is_forbidden(fake: FakeApi) -> None:
    """A role that is taken away and given back takes no route and no policy with it."""
    fake.served["HTTPRoute"] = fake_api.ALL["HTTPRoute"]
    fake.put("HTTPRoute", "kept")
    fake.put("HTTPRoute", "gone")
    with watching(fake) as run:
        run.settled()
        fake.fault(status(403), "/httproutes", times=10**6)
        fake.cut()
        wait_for(lambda: run.counts.of("errors_total", "HTTPRoute", "forbidden") > 2)
        pod(fake, "pod-0")
        log = run.settled()
        assert log.names("HTTPRoute") == {"kept", "gone"}, "what may not be read is not gone"
        assert log.names("Pod") == {"pod-0"}, "and stops nothing"
        assert run.counts.gauges["current", "HTTPRoute"] == 0.0
        fake.delete("HTTPRoute", "gone")
        fake.faults.clear()
        run.until(lambda log: log.names("HTTPRoute") == {"kept"})


def test_a_kind_that_is_needed_and_forbidden_is_waited_for(fake: FakeApi) -> None:
    fake.fault(status(403), "/pods", times=10**6)
    with watching(fake) as run:
        wait_for(lambda: run.counts.of("errors_total", "Pod", "forbidden") > 2)
        assert run.kept.batches == []
        fake.faults.clear()
        run.settled()


def test_discovery_that_fails_is_tried_again(fake: FakeApi) -> None:
    fake.fault(status(503), "/apis", times=3)
    with watching(fake) as run:
        run.settled()
        assert run.counts.of("errors_total", "", "server") >= 1
