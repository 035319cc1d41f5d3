"""Contents side by side are what each frame holds alone; a frame that is not exactly one of its size is refused."""

from __future__ import annotations

import numpy as np
import pytest
import zstandard
from msgspec.structs import replace

from collector.schema import BatchError
from pipeline import blocks
from pipeline.blocks import inflated
from pipeline.envelope import Opened, open_batch
from tests.pipeline.batches_for_tests import batch, message

OPENED = open_batch(message(batch(rows=5)))


def with_content(content: bytes, *, size: int | None = None, write_checksum: bool = False) -> Opened:
    frame = zstandard.ZstdCompressor(level=1, write_checksum=write_checksum).compress(content)
    return replace(OPENED, frame=frame, size=len(content) if size is None else size)


def reason_of(*opened: Opened) -> str:
    with pytest.raises(BatchError) as caught:
        list(inflated(opened))
    return caught.value.reason


def test_contents_lie_side_by_side_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of several blocks of zstd (128 KiB each), of one value repeated, of checked ones, and of any size."""
    random = np.random.default_rng(0)
    contents = [random.bytes(size) for size in (1, 63, 64, 65, 128, 1000, 400_000)]
    contents += [b"x" * 100, bytes(300_000), b"ab" * 200_000]
    opened = [with_content(content, write_checksum=number % 2 == 0) for number, content in enumerate(contents)]
    for block_bytes in (1, 500, 10**6, 10**9):
        monkeypatch.setattr(blocks, "BLOCK_BYTES", block_bytes)
        found: list[bytes] = []
        for block in inflated(opened):
            assert (block.starts % 64 == 0).all()
            found += [bytes(block.content(number)) for number in range(len(block.batches))]
            assert len(block.batches) == 1 or block.sizes.sum() <= block_bytes
        assert found == contents


@pytest.mark.parametrize("size", [99, 101, 164])
def test_a_content_that_is_not_as_large_as_declared_is_refused(size: int) -> None:
    assert reason_of(OPENED, with_content(bytes(range(100)), size=size)) == "inflate"


@pytest.mark.parametrize("declared", [1, 99, 101, 255])
def test_a_frame_that_lies_about_its_own_size_is_refused(declared: int) -> None:
    honest = with_content(bytes(range(100)))
    assert honest.frame[5] == 100  # of one byte, behind the magic number and the descriptor (RFC 8878, 3.1.1.1)
    frame = honest.frame[:5] + bytes([declared]) + honest.frame[6:]
    assert zstandard.get_frame_parameters(frame).content_size == declared
    assert reason_of(replace(honest, frame=frame, size=declared)) == "inflate"


@pytest.mark.parametrize("write_checksum", [False, True])
@pytest.mark.parametrize("content", [bytes(range(100)), b"x" * 100, bytes(200_000), bytes(range(256)) * 1000])
def test_what_is_not_exactly_one_frame_is_refused(content: bytes, write_checksum: bool) -> None:
    whole = with_content(content, write_checksum=write_checksum)
    skippable = b"\x50\x2a\x4d\x18\x04\0\0\0skip"
    cuts = [whole.frame[:end] for end in range(len(whole.frame))]
    for frame in (*cuts, whole.frame + b"\0", whole.frame * 2, whole.frame + skippable, skippable + whole.frame):
        assert reason_of(replace(whole, frame=frame)) == "inflate"


def test_a_checksum_that_does_not_agree_is_refused() -> None:
    whole = with_content(bytes(1000), write_checksum=True)
    assert reason_of(replace(whole, frame=whole.frame[:-1] + bytes([whole.frame[-1] ^ 1]))) == "inflate"
