"""Names from DNS answers: what this client had just been given, while the answer was valid."""

from __future__ import annotations

import time

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.schema import NO_ANSWER
from pipeline.attribution import attribute
from pipeline.attribution.dnsnames import DnsNames
from pipeline.bus import Message
from pipeline.decode import decode
from tests.pipeline.attribution.cluster import Flow
from tests.pipeline.attribution.dns_answers import FRONT, SECOND, SITE, Answer, batch_of
from tests.pipeline.attribution.frames import frame_of
from tests.pipeline.small_cluster import small_cluster

SNAPSHOT = small_cluster()
OTHER = "10.0.2.5"
MIRROR = "2001:db8::7"


def decoded(answers: list[Answer]) -> pl.DataFrame:
    batch = batch_of(answers)
    return decode(Message(batch.topic, batch.node, 0, batch.key, batch.headers(), batch.value)).frame


def flow(at: float, src: str = FRONT, dst: str = SITE) -> Flow:
    return Flow("node-a", src, dst, dst, src, 443, 6, 443, int(at * SECOND))


def named(names: DnsNames, *flows: Flow) -> list[tuple[str | None, str | None]]:
    frame = frame_of(flows)
    joined = names.join(attribute(frame, SNAPSHOT), SNAPSHOT)
    assert joined["row"].to_list() == frame["row"].to_list()
    return joined.select("dns_name", "dns_given").rows()


def learnt(*answers: Answer, grace: int = 0, merge_rows: int = 1) -> DnsNames:
    names = DnsNames(grace_ns=grace * SECOND, merge_rows=merge_rows)
    names.add(decoded(list(answers)))
    return names


def test_a_name_is_given_from_the_answer_on_until_its_time_is_over() -> None:
    names = learnt(Answer("site.example", at=5), grace=2)
    flows = [flow(4.9), flow(5), flow(16.9), flow(17)]
    assert named(names, *flows) == [(None, None), *[("site.example", "exact")] * 2, (None, None)]


def test_both_families_and_only_what_is_beyond_the_cluster() -> None:
    inside = "10.0.2.7"
    names = learnt(*(Answer("site.example", at=0, address=address) for address in (SITE, MIRROR, inside)))
    told = named(names, flow(1), flow(1, dst=MIRROR), flow(1, dst=inside), flow(1, dst="203.0.113.8"))
    assert told == [("site.example", "exact"), ("site.example", "exact"), (None, None), (None, None)]


def test_of_two_names_the_one_given_last_is_inferred() -> None:
    names = learnt(Answer("one.example", at=0, ttl=100), Answer("two.example", at=5, ttl=10))
    assert named(names, flow(3), flow(7), flow(50)) == [
        ("one.example", "exact"),
        ("two.example", "inferred"),
        ("one.example", "exact"),
    ]


def test_another_clients_name_is_inferred_where_all_agree() -> None:
    names = learnt(Answer("one.example", at=0), Answer("two.example", at=5, client="10.0.2.7"))
    assert named(names, flow(3, src=OTHER), flow(7, src=OTHER), flow(7)) == [
        ("one.example", "inferred"),
        (None, None),  # two names, and nobody saw which one was asked for
        ("one.example", "exact"),
    ]


def test_questions_without_an_address_give_no_name() -> None:
    names = learnt(
        Answer("gone.example", at=0, address="", rcode=3), Answer("slow.example", 0, address="", rcode=NO_ANSWER)
    )
    assert len(names) == 0
    assert named(names, flow(1)) == [(None, None)]


def test_no_names_are_known_at_first() -> None:
    assert named(DnsNames(), flow(1)) == [(None, None)]
    assert named(DnsNames()) == []


def test_a_client_that_asks_again_and_again_is_one_answer() -> None:
    names = learnt(*(Answer("site.example", at=at) for at in range(0, 100, 5)))
    assert len(names) == 1
    assert named(names, flow(104), flow(106)) == [("site.example", "exact"), (None, None)]


def test_memory_is_bounded_and_the_longest_valid_stay() -> None:
    names = DnsNames(grace_ns=0, max_answers=5, merge_rows=1)
    names.add(
        decoded([Answer(f"{number}.example", at=0, address=f"203.0.113.{number}", ttl=number) for number in range(20)])
    )
    assert len(names) == 5
    assert named(names, flow(0.5, dst="203.0.113.19"), flow(0.5, dst="203.0.113.2")) == [
        ("19.example", "exact"),
        (None, None),
    ]


answers_strategy = st.lists(
    st.builds(
        Answer,
        name=st.sampled_from(["a.example", "b.example"]),
        at=st.integers(0, 12),
        client=st.sampled_from([FRONT, OTHER]),
        address=st.sampled_from([SITE, MIRROR]),
        ttl=st.integers(0, 6),
    ),
    max_size=8,
)
flows_strategy = st.lists(
    st.builds(
        flow,
        st.integers(0, 24).map(lambda half: half / 2),
        st.sampled_from([FRONT, OTHER]),
        st.sampled_from([SITE, MIRROR]),
    ),
    max_size=5,
)


@settings(deadline=None, max_examples=100)
@given(answers_strategy, flows_strategy, st.sampled_from([1, 3, 100]))
def test_names_equal_a_look_at_every_answer(answers: list[Answer], flows: list[Flow], merge_rows: int) -> None:
    """Which names are valid, and whether one is given, does not depend on when answers are merged."""
    names = DnsNames(grace_ns=SECOND, merge_rows=merge_rows)
    for answer in answers:
        names.add(decoded([answer]))
    for one, (name, how) in zip(flows, named(names, *flows), strict=True):
        valid = [
            a for a in answers if a.address == one.dst and a.at * SECOND <= one.start < (a.at + a.ttl + 1) * SECOND
        ]
        own = {a.name for a in valid if a.client == one.src}
        every = {a.name for a in valid}
        if own:
            assert name in own
            assert how == ("exact" if len(own) == 1 else "inferred")
        elif len(every) == 1:
            assert (name, how) == (next(iter(every)), "inferred")
        else:
            assert (name, how) == (None, None)


@pytest.mark.parametrize("clients", [10_000])
def test_one_address_that_everybody_asks_for_costs_no_product(clients: int) -> None:
    """Flows times clients would be 200 million rows."""
    everybody = [f"10.{60 + n // 65536}.{n // 256 % 256}.{n % 256}" for n in range(clients)]
    names = DnsNames(merge_rows=1)
    names.add(decoded([Answer("site.example", at=0, client=client) for client in everybody]))
    began = time.process_time()
    told = named(names, *[flow(1, src=OTHER)] * 20_000)
    assert set(told) == {("site.example", "inferred")}
    assert time.process_time() - began < 5
