"""No bytes make the decoder raise, and no packet goes missing, whatever is in it."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from collector.packets.kinds import LINK_TYPES, Kind
from collector.sources.pcap import Contents, contents
from tests.collector.packets.captures import interface, packet, pcap, section
from tests.collector.packets.frames import CASES

KNOWN_LINKS = [number for number, kind in enumerate(LINK_TYPES.tolist()) if kind != Kind.UNKNOWN_LINK]
WHOLE = pcap([case.frame for case in CASES if case.link_type == 1])
WHOLE_NG = b"".join([section(), interface(), *(packet(case.frame) for case in CASES if case.link_type == 1)])


def conserved(found: Contents) -> bool:
    """Every packet is in a flow of each layer, or counted under a reason."""
    missing = sum(found.no_flow.values())
    return all(int(layer.packets.sum()) + missing == found.packets for layer in (found.outer, found.inner))


@st.composite
def mutated(draw: st.DrawFn) -> tuple[int, bytes]:
    """A sound frame with some bytes overwritten, cut short or made longer."""
    case = draw(st.sampled_from(CASES))
    data = bytearray(case.frame)
    for at in draw(st.lists(st.integers(0, len(data) - 1), max_size=6)):
        data[at] = draw(st.sampled_from([0, 1, 4, 6, 0x45, 0x60, 0x7F, 0x80, 0xFF]) | st.integers(0, 255))
    return case.link_type, bytes(data[: draw(st.integers(0, len(data)))] + draw(st.binary(max_size=8)))


@given(st.sampled_from(KNOWN_LINKS), st.lists(st.binary(max_size=120), max_size=5))
def test_any_bytes_under_any_link_type(link_type: int, frames: list[bytes]) -> None:
    found = contents(pcap(frames, link_type), "capture")
    assert found.packets == len(frames)
    assert conserved(found)


@settings(max_examples=400)
@given(mutated())
def test_damaged_frames(frame: tuple[int, bytes]) -> None:
    link_type, data = frame
    found = contents(pcap([data], link_type), "capture")
    assert found.packets == 1
    assert conserved(found)


@given(st.sampled_from([WHOLE, WHOLE_NG]), st.lists(st.tuples(st.integers(4, len(WHOLE) - 1), st.binary(max_size=9))))
def test_damaged_files(whole: bytes, damage: list[tuple[int, bytes]]) -> None:
    data = bytearray(whole)
    for at, what in damage:
        data[at : at + len(what)] = what
    assert conserved(contents(bytes(data), "capture"))


@settings(max_examples=50)
@given(st.lists(mutated(), min_size=2, max_size=20))
def test_a_damaged_packet_does_not_touch_its_neighbours(frames: list[tuple[int, bytes]]) -> None:
    ethernet = [data for link_type, data in frames if link_type == 1]
    together = contents(pcap(ethernet), "capture")
    alone = [contents(pcap([data]), "capture") for data in ethernet]
    for layer in ("outer", "inner"):
        parts = [getattr(found, layer) for found in alone]
        assert int(getattr(together, layer).bytes.sum()) == sum(int(part.bytes.sum()) for part in parts)
        assert int(getattr(together, layer).packets.sum()) == sum(int(part.packets.sum()) for part in parts)
    assert together.no_flow == sum((found.no_flow for found in alone), type(together.no_flow)())  # type: ignore[call-overload]
