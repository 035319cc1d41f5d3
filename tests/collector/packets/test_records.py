"""Capture files of either format: what is read from whole ones, and from those that end too soon."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from collector.errors import ConfigError
from collector.packets.records import CutShortError
from collector.sources.pcap import contents, decoded
from tests.collector.packets.captures import interface, ng_block, old_packet, packet, pcap, section, simple_packet
from tests.collector.packets.frames import ETHER, TCP4, UDP6

FRAME = bytes(ETHER / TCP4)
OTHER = bytes(ETHER / UDP6)
RAW = 101


def protocols(data: bytes) -> list[int]:
    found = contents(data, "capture")
    assert found.damage is None
    return found.inner.protocol.repeat(found.inner.packets.astype(int)).tolist()


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("magic", [0xA1B2C3D4, 0xA1B23C4D, 0xA1B2CD34])
def test_pcap_of_either_byte_order_and_any_variant(order: str, magic: int) -> None:
    assert protocols(pcap([FRAME, OTHER, FRAME], order=order, magic=magic)) == [6, 6, 17]


@pytest.mark.parametrize("order", ["<", ">"])
def test_pcapng_of_either_byte_order(order: str) -> None:
    blocks = [section(order), interface(order=order), packet(FRAME, order=order), old_packet(OTHER, order=order)]
    assert protocols(b"".join(blocks)) == [6, 17]


def test_each_pcapng_packet_has_the_link_type_of_its_interface() -> None:
    blocks = [section(), interface(1), interface(RAW), packet(bytes(UDP6), 1), packet(FRAME, 0)]
    assert protocols(b"".join(blocks)) == [17, 6]


def test_sections_follow_each_other_and_number_their_interfaces_anew() -> None:
    first = [section("<"), interface(1), packet(FRAME)]
    second = [section(">"), interface(RAW, order=">"), packet(bytes(UDP6), order=">")]
    assert protocols(b"".join([*first, *second])) == [6, 17]


def test_pcapng_blocks_without_a_packet_are_passed_over() -> None:
    assert protocols(b"".join([section(), interface(), ng_block(5, b"statistics.."), packet(FRAME)])) == [6]


def test_a_simple_packet_is_as_long_as_it_was_or_as_the_snap_length_lets_it() -> None:
    cut = FRAME[:37]
    blocks = [section(), interface(snap_length=len(cut)), simple_packet(cut, len(FRAME))]
    found = contents(b"".join(blocks), "capture")
    assert found.unread == {"transport_cut": 1}
    assert protocols(b"".join([section(), interface(), simple_packet(FRAME, len(FRAME))])) == [6]


def test_a_packet_of_an_interface_that_nobody_described_is_of_an_unknown_link_type() -> None:
    assert contents(b"".join([section(), packet(FRAME)]), "capture").no_flow == {"link_type": 1}


def test_a_capture_without_packets_holds_no_flow() -> None:
    assert protocols(pcap([])) == []
    assert protocols(section()) == []


def test_more_packets_than_fit_one_block_are_all_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("pcap", "pcapng"):
        monkeypatch.setattr(f"collector.packets.{module}.BLOCK_PACKETS", 2)
    for data in (pcap([FRAME] * 5), b"".join([section(), interface(), *[packet(FRAME)] * 5])):
        assert len(list(decoded(data, "capture"))) == 3
        assert protocols(data) == [6] * 5


@pytest.mark.parametrize("data", [b"", b"\x1f\x8b\x08\x00 compressed", b"GET / HTTP/1.1\r\n", b"\xd4\xc3"])
def test_what_is_no_capture_is_refused_by_name(data: bytes) -> None:
    with pytest.raises(ConfigError, match="some file: offset 0: neither pcap nor pcapng"):
        contents(data, "some file")


def as_pcap() -> tuple[bytes, list[int]]:
    data = pcap([FRAME, OTHER])
    return data, [24, 24 + 16 + len(FRAME), len(data)]


def as_pcapng() -> tuple[bytes, list[int]]:
    blocks = [section(), interface(), packet(FRAME), packet(OTHER)]
    starts = [sum(map(len, blocks[:number])) for number in range(len(blocks) + 1)]
    return b"".join(blocks), starts[1:]


@pytest.mark.parametrize("make", [as_pcap, as_pcapng])
def test_a_file_cut_anywhere_gives_what_was_whole_and_the_offset_of_what_is_not(
    make: Callable[[], tuple[bytes, list[int]]],
) -> None:
    data, ends = make()
    packets_at = {end: max(0, number - (len(ends) - 3)) for number, end in enumerate(ends)}
    for length in range(4, len(data)):
        found = contents(data[:length], "capture")
        last = max((end for end in ends if end <= length), default=0)
        assert found.packets == packets_at.get(last, 0)
        if length in ends:
            assert found.damage is None
        else:
            assert found.damage is not None
            offset = last if last or make is as_pcapng else length
            assert found.damage.startswith(f"capture: offset {offset}: ")


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (ng_block(5, b"")[:4] + b"\x08\0\0\0", "a block of 8 bytes"),
        (ng_block(5, b"")[:4] + b"\x0d\0\0\0 and more than that", "a block of 13 bytes"),
        (packet(FRAME)[:20] + b"\xff\0\0\0" + packet(FRAME)[24:], "a packet of 255 bytes in a block of 88"),
        (section()[:8] + b"none" + section()[12:], "a section without its byte order"),
        (ng_block(6, b""), "a block header is cut short"),
    ],
)
def test_a_pcapng_block_that_contradicts_itself_ends_the_reading(bad: bytes, said: str) -> None:
    good = b"".join([section(), interface(), packet(FRAME)])
    blocks = decoded(good + bad, "capture")
    assert next(blocks).packets == 1
    with pytest.raises(CutShortError, match=f"offset {len(good)}: {said}"):
        next(blocks)
