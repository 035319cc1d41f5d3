"""Keys in files, and what batches are signed with."""

from __future__ import annotations

import hashlib
import hmac
import logging
from pathlib import Path

import pytest

from collector.errors import ConfigError
from collector.metrics import Metrics
from collector.nodekeys import MAC, KeyFile, Signer, derived, mac_of
from collector.schema import unpack_records
from collector.sinks.files import FileSink
from tests.pipeline.batches_for_tests import batch

ROOT = bytes(range(32))


def written(path: Path, *lines: str) -> Path:
    """A file put in the place of what was there, as secrets are."""
    new = path.with_suffix(".new")
    new.write_text("".join(f"{line}\n" for line in lines))
    return new.rename(path)


def test_keys_and_macs_are_those_that_anybody_can_work_out() -> None:
    """The key is what `printf 'flowatlas node node-1' | openssl dgst -sha256 -mac HMAC -macopt hexkey:...` prints."""
    key = derived(ROOT, "node-1")
    assert key.hex() == "8bd23840e21e66f0f80e7997ade81d25fdd826151314bcb3251eca23e14db0b1"
    one = batch(node="node-1")
    told = one.headers()
    covered = [told[name] for name in ("schema", "table", "node", "epoch", "seq", "rows", "bytes")]
    expected = hmac.new(key, b"\0".join([*covered, one.value]), hashlib.sha256).hexdigest()
    assert mac_of(key, told, one.value) == expected[:32].encode()


def test_each_node_has_a_key_of_its_own() -> None:
    keys = {derived(root, node) for root in (ROOT, ROOT[::-1]) for node in ("a", "b", "a.b", "ab")}
    assert len(keys) == 8


@pytest.mark.parametrize(
    "content", ["", "12", "z" * 64, "é" * 64, "0" * 63, "0" * 64 + "\n" + "1" * 64, "0" * 65, "0" * 128]
)
def test_what_is_no_key_is_refused_and_told_without_it(content: str, tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(content)
    with pytest.raises(ConfigError, match=r"^node_key: .*/key: wants one key, 64 hexadecimal digits") as error:
        Signer(path)
    assert not content or content not in str(error.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^node_key: .*/absent: No such file"):
        Signer(tmp_path / "absent")


def test_a_key_that_is_replaced_is_used_and_one_that_is_damaged_is_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = written(tmp_path / "key", "00" * 32)
    file = KeyFile(path, "node_key")
    assert file.keys() == (bytes(32),)
    written(path, "ff" * 32)
    assert file.keys() == (b"\xff" * 32,)
    written(path, "damaged")
    with caplog.at_level(logging.ERROR):
        assert [file.keys() for _ in range(3)] == [(b"\xff" * 32,)] * 3
    path.unlink()
    assert file.keys() == (b"\xff" * 32,)
    assert ["what was read before stays in force" in record.message for record in caplog.records] == [True, True]
    written(path, "11" * 32)
    assert file.keys() == (b"\x11" * 32,)


def test_a_segment_has_the_batchs_headers_and_the_mac(tmp_path: Path) -> None:
    signer = Signer(written(tmp_path / "key", derived(ROOT, "node1").hex()))
    sink = FileSink(f"file://{tmp_path}/bus", "node1", Metrics(), 1 << 20, headers=signer.headers)
    sink.start()
    sent = batch(node="node1")
    sink.send(sent)
    (segment,) = (tmp_path / "bus" / sent.topic / "node1").glob("*.seg")
    ((headers, value),) = unpack_records(segment.read_bytes())
    mac = headers.pop(MAC)
    assert (headers, value) == (sent.headers(), sent.value)
    assert mac == mac_of(derived(ROOT, "node1"), headers, value)
