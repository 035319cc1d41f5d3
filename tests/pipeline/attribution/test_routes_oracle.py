"""Routes of whole batches equal a slow, obvious reading of the rules, one row at a time."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.attribution import attribute, with_structs
from pipeline.inventory.models import Resource
from pipeline.inventory.snapshot import build
from tests.pipeline.attribution.cluster import Flow
from tests.pipeline.attribution.frames import frame_of
from tests.pipeline.inventory.objects import node, pod, service
from tests.pipeline.inventory.routing_objects import NGINX, ingress, ingress_class

PROXY, STRANGER = "10.8.0.1", "10.8.0.2"
SERVICES = {"web": ("10.0.0.1", "10.8.1.1"), "api": ("10.0.0.2", "10.8.1.2"), "web-too": ("10.0.0.3", "10.8.1.1")}
"""Address and backend; two Services have one backend."""
HOSTS = ("", "a.example", "b.example", "*.example", "*.b.example")
PATHS = ("/", "/a", "/a/b", "/ab")
ASKED_HOSTS = (None, "a.example", "b.example", "c.example", "x.b.example", "elsewhere.test", "A.EXAMPLE:80")
ASKED_PATHS = (None, "/", "/a", "/a/b/c", "/ab", "/abc")


@dataclass(frozen=True)
class Rule:
    """One Ingress with one rule."""

    number: int
    host: str
    path: str
    service: str
    is_exact: bool

    @property
    def name(self) -> str:
        return f"rule-{self.number}"

    def object(self) -> Resource:
        path_type = "Exact" if self.is_exact else "Prefix"
        return ingress(self.name, (self.host, self.path, self.service, 80), path_type=path_type)


@dataclass(frozen=True)
class Asked:
    """A connection and what its request said."""

    source: str
    service: str
    is_direct: bool
    host: str | None
    path: str | None

    def flow(self) -> Flow:
        address, backend = SERVICES[self.service]
        if self.is_direct:
            return Flow("n1", self.source, backend, backend, self.source, 8080, 6, 8080)
        return Flow("n1", self.source, address, backend, self.source, 80, 6, 8080)


CLUSTER: tuple[Resource, ...] = (
    node("n1", "192.0.2.1"),
    pod("proxy", PROXY, namespace="edge", labels=NGINX, on="n1"),
    pod("stranger", STRANGER, on="n1"),
    pod("web-1", "10.8.1.1", labels={"app": "web"}, on="n1"),
    pod("api-1", "10.8.1.2", labels={"app": "api"}, on="n1"),
    *(
        service(name, ip, ports=[{"port": 80, "targetPort": 8080}], selector={"app": name.removesuffix("-too")})
        for name, (ip, _) in SERVICES.items()
    ),
    ingress_class(),
)

rules = st.lists(
    st.tuples(st.sampled_from(HOSTS), st.sampled_from(PATHS), st.sampled_from(sorted(SERVICES)), st.booleans()),
    max_size=6,
).map(lambda drawn: [Rule(number, *told) for number, told in enumerate(drawn)])
questions = st.lists(
    st.builds(
        Asked,
        source=st.sampled_from([PROXY, PROXY, STRANGER]),
        service=st.sampled_from(sorted(SERVICES)),
        is_direct=st.booleans(),
        host=st.sampled_from(ASKED_HOSTS),
        path=st.sampled_from(ASKED_PATHS),
    ),
    min_size=1,
    max_size=8,
)


def expected(asked: Asked, known: list[Rule]) -> set[str]:
    """The names of the rules that the connection may be of."""
    if asked.source != PROXY:
        return set()
    backend = SERVICES[asked.service][1]
    behind = {name for name, (_, own) in SERVICES.items() if own == backend} if asked.is_direct else {asked.service}
    candidates = [rule for rule in known if rule.service in behind]
    if asked.host is None or len(candidates) < 2:
        return {rule.name for rule in candidates}
    host = asked.host.lower().partition(":")[0]
    hosts = [rule.host for rule in candidates if covers(rule.host, host)]
    if not hosts:
        return {rule.name for rule in candidates}
    best = max(hosts, key=lambda known_host: (known_host == host, len(known_host)))
    of_host = [rule for rule in candidates if rule.host == best]
    fitting = [rule for rule in of_host if asked.path is not None and matches(rule, asked.path)]
    if not fitting:
        return {rule.name for rule in of_host}
    first = max(fitting, key=lambda rule: (rule.is_exact, len(rule.path)))
    return {r.name for r in fitting if (r.is_exact, r.path) == (first.is_exact, first.path)}


def covers(host: str, asked: str) -> bool:
    return host in {"", asked} or (host.startswith("*.") and asked.endswith(host[1:]))


def matches(rule: Rule, path: str) -> bool:
    if rule.is_exact:
        return path == rule.path
    wanted = [part for part in rule.path.split("/") if part]
    return path.split("/")[1 : 1 + len(wanted)] == wanted


@settings(deadline=None, max_examples=150)
@given(rules, questions)
def test_candidates_are_those_of_a_reading_row_by_row(known: list[Rule], asked: list[Asked]) -> None:
    snapshot = build([*CLUSTER, *(rule.object() for rule in known)])
    frame = frame_of([item.flow() for item in asked]).with_columns(
        server_name=pl.Series([item.host for item in asked], dtype=pl.String),
        path=pl.Series([item.path for item in asked], dtype=pl.String),
    )
    for item, row in zip(
        asked, with_structs(attribute(frame, snapshot).lazy(), snapshot).collect().to_dicts(), strict=True
    ):
        alone, several = row["ingress"], row["ingress_candidates"]
        assert alone is None or several is None
        found = {told["name"] for told in [*([alone] if alone else []), *(several or [])]}
        assert found == expected(item, known), (item, known)
        assert (row["reason"] == "ambiguous_route") <= (several is not None)
        if not item.is_direct:
            assert row["service"]["name"] == item.service
