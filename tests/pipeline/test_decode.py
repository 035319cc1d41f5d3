"""Sound batches come out as they went in; each lie is refused by its own reason."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
import zstandard

import pipeline.arrow_stream
import pipeline.arrow_streams
import pipeline.blocks
import pipeline.bus.files
import pipeline.bus.kafka
import pipeline.bus.kafka_records
import pipeline.columns
import pipeline.decode
import pipeline.envelope
import pipeline.nodekeys
import pipeline.rows
from collector.schema import (
    COUNTERS,
    FLOWS,
    KNOWN_TABLES,
    MAX_INFLATED_BYTES,
    MAX_MESSAGE_BYTES,
    MAX_ROWS,
    TABLES,
    UTF8,
    VERSION,
    BatchError,
    Table,
    batches,
    encode,
    encoding,
    records,
    unpack_records,
)
from pipeline import catalog
from pipeline.arrow_stream import SCHEMAS
from pipeline.bus import Message
from pipeline.decode import MAX_TEXT_BYTES, decode, merged
from pipeline.envelope import open_batch
from tests.pipeline.batches_for_tests import batch, columns, counters, message, sealed, stream_message, stream_of


def reason_of(bad: Message) -> str:
    with pytest.raises(BatchError) as caught:
        decode(bad)
    return caught.value.reason


@pytest.mark.parametrize("table", TABLES.values(), ids=lambda t: t.name)
@pytest.mark.parametrize("rows", [0, 1, 1000, MAX_ROWS])
def test_a_sound_batch_comes_out_as_it_went_in(table: Table, rows: int) -> None:
    content = columns(table, rows, seed=rows)
    decoded = decode(message(batch(table.name, node="node1", rows=rows, **content)))
    assert (decoded.name.node, decoded.name.table, decoded.name.rows) == ("node1", table.name, rows)
    frame = decoded.frame
    assert frame.columns == [*table.columns, "node"]
    assert frame.schema["node"] == pl.Categorical
    assert frame["node"].cast(pl.String).to_list() == ["node1"] * rows
    for name, kind in table.columns.items():
        assert frame.schema[name] == (pl.String if kind == UTF8 else pl.Series(np.zeros(0, kind)).dtype)
        expected = content[name] // 1000 * 1000 if name in table.relative and kind == "int64" else content[name]
        assert frame[name].to_list() == list(expected)


def test_extreme_numbers_are_exact() -> None:
    biggest = np.full(2, 2**62 - 1, dtype=np.uint64)
    zero = np.zeros(2, dtype=np.uint64)
    good = batch(rows=2, bytes=biggest, reply_bytes=zero, packets=np.full(2, 2**64 - 1, dtype=np.uint64))
    assert decode(message(good)).frame["bytes"].to_list() == [2**62 - 1] * 2


@pytest.mark.parametrize("block_bytes", [1, 10**6])
def test_numbers_of_any_width_come_out_in_any_order(monkeypatch: pytest.MonkeyPatch, block_bytes: int) -> None:
    """What high bytes the batches before have had, in the same block or in others, is nothing to go by."""
    monkeypatch.setattr(pipeline.blocks, "BLOCK_BYTES", block_bytes)
    numbers = [0x0102030405060708 >> 8 * cut for cut in (0, 7, 3, 8, 2, 6, 1, 5, 4, 0)]
    sent = [batch(rows=2, seq=seq, bytes=np.array([0, number], np.uint64)) for seq, number in enumerate(numbers)]
    rows = merged([open_batch(message(each)) for each in sent])
    assert rows.frame["bytes"].to_list() == [number for pair in zip([0] * 10, numbers, strict=True) for number in pair]


def test_a_sum_that_wraps_around_is_no_sum() -> None:
    wrapping = np.full(2, 2**63, dtype=np.uint64)  # adds up to 0 in 64 bits
    bad = batch(rows=2, bytes=wrapping, reply_bytes=np.zeros(2, dtype=np.uint64))
    headers = {**bad.headers(), "bytes": b"0"}
    assert reason_of(message(bad, headers=headers)) == "bytes"


GOOD = batch(rows=5)
HEADERS = GOOD.headers()


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"flaw": "segment"}, "segment"),
        ({"value": bytes(MAX_MESSAGE_BYTES + 1)}, "oversized"),
        ({"headers": {}}, "headers"),
        ({"headers": {**HEADERS, "rows": b"-1"}}, "headers"),
        ({"headers": {**HEADERS, "node": b"../up"}}, "headers"),
        ({"headers": {**HEADERS, "table": b"secrets"}}, "table"),
        ({"headers": {**HEADERS, "schema": b"3"}}, "schema_version"),
        ({"topic": COUNTERS.topic}, "table"),
        ({"key": b"node2"}, "node"),
        ({"headers": {**HEADERS, "node": b"node2"}}, "node"),
        ({"headers": {**HEADERS, "rows": b"%d" % (MAX_ROWS + 1)}}, "rows"),
        ({"headers": {**HEADERS, "rows": b"4"}}, "rows"),
        ({"headers": {**HEADERS, "bytes": b"1"}}, "bytes"),
        ({"headers": {**HEADERS, "table": b"counters"}, "topic": COUNTERS.topic}, "schema"),
        ({"value": b""}, "truncated"),
        ({"value": b"XXXX" + GOOD.value[4:]}, "magic"),
        ({"value": GOOD.value[:5] + b"\x09" + GOOD.value[6:]}, "schema_version"),
        ({"value": GOOD.value[:-1]}, "checksum"),
        ({"value": GOOD.value + b"\0"}, "checksum"),
    ],
)
def test_a_lie_around_the_frame_is_refused(changed: dict[str, Any], reason: str) -> None:
    assert reason_of(message(GOOD, **changed)) == reason


def frame(content: bytes, **settings: Any) -> bytes:
    return zstandard.ZstdCompressor(level=1, **settings).compress(content)


STREAM = stream_of(GOOD)


@pytest.mark.parametrize(
    ("compressed", "reason"),
    [
        (b"", "inflate"),
        (b"no zstd at all", "inflate"),
        (frame(STREAM, write_content_size=False), "inflate"),
        (frame(STREAM)[:-4], "inflate"),
        (frame(STREAM) + b"\0", "inflate"),
        (frame(STREAM) + frame(STREAM), "inflate"),
        (b"\x50\x2a\x4d\x18\x04\0\0\0skip" + frame(STREAM), "inflate"),
        (frame(bytes(MAX_INFLATED_BYTES + 1)), "inflate"),
        (frame(b""), "inflate"),
        (frame(bytes(MAX_INFLATED_BYTES)), "ipc"),
        (frame(STREAM + b"\0" * 8), "ipc"),
        (frame(STREAM + STREAM), "ipc"),
        (frame(STREAM[:-16]), "ipc"),
    ],
)
def test_a_lie_of_the_frame_is_refused(compressed: bytes, reason: str) -> None:
    assert reason_of(message(GOOD, value=sealed(compressed))) == reason


def ipc(*batches: pa.RecordBatch, schema: pa.Schema | None = None, **options: Any) -> bytes:
    sink = pa.BufferOutputStream()
    writer = pa.ipc.new_stream(sink, schema or batches[0].schema, options=pa.ipc.IpcWriteOptions(**options))
    for one in batches:
        writer.write_batch(one)
    writer.close()
    return bytes(sink.getvalue())


FLOW_BATCH = pa.ipc.open_stream(STREAM).read_next_batch()


def with_column(name: str, values: pa.Array) -> pa.RecordBatch:
    arrays = [values if field.name == name else FLOW_BATCH.column(field.name) for field in FLOW_BATCH.schema]
    return pa.RecordBatch.from_arrays(arrays, schema=SCHEMAS["flows", VERSION])


def test_a_batch_that_pyarrow_wrote_is_as_good() -> None:
    assert decode(stream_message(ipc(FLOW_BATCH), GOOD)).frame.equals(decode(message(GOOD)).frame)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: ipc(FLOW_BATCH, compression="zstd"), "ipc"),
        (lambda: ipc(FLOW_BATCH, compression="lz4"), "ipc"),
        (lambda: ipc(FLOW_BATCH, metadata_version=pa.ipc.MetadataVersion.V4), "ipc"),
        (lambda: ipc(FLOW_BATCH, FLOW_BATCH), "ipc"),
        (lambda: ipc(schema=FLOW_BATCH.schema), "ipc"),
        (lambda: ipc(FLOW_BATCH.select(FLOW_BATCH.schema.names[::-1])), "schema"),
        (lambda: ipc(FLOW_BATCH.select(FLOW_BATCH.schema.names[:-1])), "schema"),
        (lambda: ipc(FLOW_BATCH.replace_schema_metadata({"a": "b"})), "schema"),
        (lambda: ipc(FLOW_BATCH.cast(pa.schema([f.with_nullable(True) for f in FLOW_BATCH.schema]))), "schema"),
        (lambda: ipc(with_column("bytes", pa.array([1, 2, 3, 4, None], pa.uint64()))), "values"),
        (lambda: ipc(pa.record_batch([pa.array(["x"]).dictionary_encode()], names=["a"])), "schema"),
        (lambda: ipc(schema=pa.schema([(f"c{i}", pa.int8()) for i in range(100_000)])), "ipc"),
        (lambda: ipc(schema=pa.schema([("c", nested(20))])), "schema"),
        (lambda: ipc(schema=pa.schema([("c", nested(500))])), "ipc"),
    ],
)
def test_a_lie_of_the_stream_is_refused(make: Callable[[], bytes], reason: str) -> None:
    assert reason_of(stream_message(make(), GOOD)) == reason


def nested(depth: int) -> pa.DataType:
    kind = pa.int8()
    for _ in range(depth):
        kind = pa.list_(kind)
    return kind


@pytest.mark.parametrize(
    ("column", "value"),
    [("time", -1), ("start", -1), ("start", -(2**63)), ("outcome", 5), ("opened", 2), ("closed", 255)],
)
def test_a_flow_out_of_range_is_refused(column: str, value: int) -> None:
    values = np.zeros(3, dtype=FLOWS.columns[column])
    values[1] = value
    changed: dict[str, Any] = {column: values}
    assert reason_of(message(batch(rows=3, **changed))) == "values"


@pytest.mark.parametrize(
    "changed",
    [
        {"scope": np.array([3], dtype=np.uint8)},
        {"time": np.array([-1])},
        {"interface": ["x" * (MAX_TEXT_BYTES + 1)]},
        {"pod_uid": ["é" * MAX_TEXT_BYTES]},
    ],
)
def test_a_counter_out_of_range_is_refused(changed: dict[str, Any]) -> None:
    assert reason_of(message(counters(rows=1, **changed))) == "values"


@pytest.mark.parametrize("name", [name for table in TABLES.values() for name in table.repeated])
def test_text_on_a_row_that_is_none_is_refused(name: str) -> None:
    (table,) = (table for table in TABLES.values() if name in table.repeated)
    good = batch(table.name, rows=5)
    one = pa.ipc.open_stream(stream_of(good)).read_next_batch()
    places = one.schema.get_field_index(f"{name}_row")
    for last, reason in ((4, ""), (5, "values"), (2**32 - 1, "values")):
        values = pa.array([0, 0, 0, 0, last], pa.uint32())
        changed = one.set_column(places, one.schema.field(places), values)
        told = stream_message(ipc(changed), good)
        if reason:
            assert reason_of(told) == reason
        else:
            assert decode(told).frame[name].to_list()[-1] == one.column(name).to_pylist()[last]


def test_a_connection_that_began_in_no_year_is_refused() -> None:
    age = pa.array(np.full(5, -(2**62)), pa.int64())
    assert reason_of(stream_message(ipc(with_column("start", age)), GOOD)) == "values"


def test_text_that_is_not_utf8_is_refused() -> None:
    good = counters(rows=1, interface=["ABCD"])
    stream = stream_of(good)
    assert stream.count(b"ABCD") == 1
    assert reason_of(stream_message(stream.replace(b"ABCD", b"\xff\xfe\xfd\xfc"), good)) == "ipc"


def test_the_catalogue_lists_exactly_the_reasons_that_can_be_given() -> None:
    """Those of the sources, as literals beside the raise, and those that a bus gives as a flaw."""
    metric = catalog.BY_NAME["flowatlas_pipeline_quarantined_batches_total"]
    listed = set(re.findall(r"[a-z_0-9]+", metric.help.partition("by reason: ")[2]))
    given: set[str] = set()
    for module in (
        batches,
        encoding,
        records,
        pipeline.envelope,
        pipeline.nodekeys,
        pipeline.blocks,
        pipeline.arrow_streams,
        pipeline.decode,
        pipeline.rows,
        pipeline.columns,
        pipeline.arrow_stream,
    ):
        given |= set(re.findall(r'BatchError\(\s*"(\w+)"', inspect.getsource(module)))
    for module in (pipeline.bus.files, pipeline.bus.kafka, pipeline.bus.kafka_records):
        given |= set(re.findall(r'(?:flaw\b[^"\n]*|_flaw = )"(\w+)"', inspect.getsource(module)))
    assert given == listed


def test_a_batch_of_the_version_before_is_read() -> None:
    """Recorded when that version was written; what it lacks is 0 and empty."""
    recorded = Path(__file__).parents[1] / "data" / "wire" / "version-1.segment"
    frames = {}
    for headers, value in unpack_records(recorded.read_bytes()):
        table = KNOWN_TABLES[headers["table"].decode()]
        plain = Message(table.topic, "1", 0, headers["node"], headers, value)
        frames[table.name] = decode(plain, KNOWN_TABLES).frame
        assert frames[table.name].columns == [*table.columns, "node"]
    assert set(frames) == {"flows", "counters", "dns", "state"}
    assert frames["flows"].select(*FLOWS.added).unique().rows() == [(0, 0, 0, 0, "", "", "")]
    assert frames["flows"].schema == decode(message(GOOD)).frame.schema


def test_a_version_that_headers_and_prefix_do_not_agree_on_is_refused() -> None:
    assert reason_of(message(GOOD, headers={**HEADERS, "schema": b"1"})) == "schema_version"


def test_more_rows_than_allowed_are_never_encoded() -> None:
    with pytest.raises(ValueError, match="at most"):
        encode(FLOWS, columns(FLOWS, MAX_ROWS + 1))
