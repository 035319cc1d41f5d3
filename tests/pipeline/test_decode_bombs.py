"""Small messages that would like to be large: refused at once, in a process that stays small."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]

PROGRAM: Final = """
import json, resource, sys, time
import numpy as np, pyarrow as pa, zstandard
from collector.schema import BatchError, MAX_INFLATED_BYTES
from pipeline.decode import decode
from tests.pipeline.batches_for_tests import batch, message, sealed, stream_message, stream_of

GOOD = batch(rows=5)
FLOWS = pa.ipc.open_stream(stream_of(GOOD)).read_next_batch()

def zeros(size, declared=True):
    compressor = zstandard.ZstdCompressor().compressobj(size=size if declared else -1)
    chunk = bytes(1 << 20)
    return b"".join([*(compressor.compress(chunk) for _ in range(size >> 20)), compressor.flush()])

def ipc(batch, **options):
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue())

def arrow_bomb():
    # columns of 4,000,000 rows of zeros and empty text: 650 MB in Arrow's own zstd, some 100 KiB in ours
    rows = 4_000_000
    def zeros(kind):
        nothing = pa.py_buffer(bytes((rows + 1) * (4 if kind == pa.string() else kind.bit_width // 8)))
        return pa.Array.from_buffers(kind, rows, [None, nothing, *[pa.py_buffer(b"")] * (kind == pa.string())])
    arrays = [zeros(field.type) for field in FLOWS.schema]
    return stream_message(ipc(pa.RecordBatch.from_arrays(arrays, schema=FLOWS.schema), compression="zstd"), GOOD)

def declared_length():
    # a buffer length that claims a terabyte
    stream = bytearray(stream_of(GOOD))
    at = stream.index((40).to_bytes(8, "little"))
    stream[at:at + 8] = (1 << 40).to_bytes(8, "little")
    return stream_message(bytes(stream), GOOD)

def many_columns():
    sink = pa.BufferOutputStream()
    pa.ipc.new_stream(sink, pa.schema([(f"c{i}", pa.int8()) for i in range(100_000)])).close()
    return stream_message(bytes(sink.getvalue()), GOOD)

CASES = {
    "declared": lambda: message(GOOD, value=sealed(zeros(1 << 30))),
    "undeclared": lambda: message(GOOD, value=sealed(zeros(1 << 30, declared=False))),
    "window": lambda: message(GOOD, value=sealed(bytes.fromhex("28b52ffd8088 64000000 230300") + b"x")),
    "largest allowed": lambda: message(GOOD, value=sealed(zeros(MAX_INFLATED_BYTES))),
    "inside arrow": arrow_bomb,
    "declared inside arrow": declared_length,
    "columns": many_columns,
}
decode(message(GOOD))
bad = CASES[sys.argv[1]]()
# the peak so far is the making's: start the measure anew
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")
def peak():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))
before = peak()
began = time.process_time()
try:
    decode(bad)
    reason = ""
except BatchError as error:
    reason = error.reason
seconds = time.process_time() - began
print(json.dumps({"reason": reason, "seconds": seconds, "grown_kib": peak() - before, "size": len(bad.value)}))
"""


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ("declared", "inflate"),
        ("undeclared", "inflate"),
        ("window", "ipc"),
        ("largest allowed", "ipc"),
        ("inside arrow", "ipc"),
        ("declared inside arrow", "ipc"),
        ("columns", "ipc"),
    ],
)
def test_a_bomb_takes_little_memory_and_time(case: str, reason: str) -> None:
    command = [sys.executable, "-c", PROGRAM, case]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    told = json.loads(result.stdout)
    assert told["reason"] == reason
    assert told["size"] <= 1024 * 1024
    assert told["grown_kib"] < 64 * 1024
    assert told["seconds"] < 0.5  # 50 ms where the machine is quiet
