"""The wire contract between collectors and the pipeline: tables, batches, headers and bus records.

A batch is `MAGIC | version | crc32c | one zstd frame around a plain Arrow IPC stream`. It holds the rows of one table,
seen by one node. It is encoded here (numpy columns in); the pipeline decodes it in `pipeline.decode`, where foreign
bytes are validated. The invariant: a batch is named by (node, epoch, seq) and that name is never used for other rows.

Addresses are two unsigned 64-bit halves in network order; IPv4 is the mapped address `::ffff:a.b.c.d`.

From version 2 on, columns travel in the form that compresses best (`collector.wire`), which the reader takes back
(`pipeline.rows`), and rows lie in an order that puts the like together, which means nothing.
"""

from __future__ import annotations

import functools
import io
import json
import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import google_crc32c
import numpy as np
import zstandard

from .text import Text

VERSION: Final = 2
"""What is written. A version adds columns at the end of tables, and tables; it takes none away."""
OLDEST_VERSION: Final = 1
"""The oldest that is still read; columns that it lacks are read as 0 and ""."""
MAGIC: Final = b"FLWA"
PREFIX: Final = struct.Struct("<4sHHI")  # magic, version, reserved (0), crc32c of what follows
MAX_ROWS: Final = 20_000
_LEVEL: Final = 3  # of zstd: a twentieth less than 1 for a fifth of the time more
MAX_INFLATED_BYTES: Final = 8 * 1024 * 1024
MAX_MESSAGE_BYTES: Final = 1024 * 1024

TIME_UNIT_NS: Final = 1000
"""What relative times are counted in."""

UTF8: Final = "utf8"
"""Column type of text; every other column type is a numpy dtype string."""

Column = np.ndarray[Any, Any] | Sequence[str]


@dataclass(frozen=True, slots=True)
class Table:
    """One kind of batch. `columns` maps a column's name to `UTF8` or to a numpy dtype string, in wire order."""

    name: str
    topic: str
    columns: Mapping[str, str]
    bytes_columns: tuple[str, ...] = ()
    """Columns whose sum is the batch's `bytes` header: what loss accounting is measured in."""
    added: Mapping[str, int] = field(default_factory=dict)
    """The version in which a column came, of those that came after the first: the last ones of `columns`."""
    relative: Mapping[str, str] = field(default_factory=dict)
    """Columns that travel as another column less their own value: of unsigned ones modulo 2**bits, of times (int64) in
    whole microseconds. The other column has the same type and is not relative itself."""
    planes: tuple[str, ...] = ()
    """Columns whose bytes travel apart: the lowest byte of every row, then the next of every row, and so on."""
    repeated: tuple[str, ...] = ()
    """Columns of text whose values travel once: the first rows of the batch hold what there is, the others "", and
    the row of its value is, for each row, in the column `NAME_row`, behind all others."""
    order: tuple[str, str] | None = None
    """Columns of 32 low bits each by which rows are best ordered, the more telling first."""

    def columns_of(self, version: int) -> Mapping[str, str]:
        """The columns that a batch of this version has."""
        return {name: kind for name, kind in self.columns.items() if self.added.get(name, 1) <= version}

    def wire_columns(self, version: int) -> Mapping[str, str]:
        """The columns as they travel in this version: `relative`, `planes` and `repeated` came with version 2."""
        rows = {f"{name}_row": "uint32" for name in self.repeated} if version > 1 else {}
        return {**self.columns_of(version), **rows}


FLOWS: Final = Table(
    name="flows",
    topic="flowatlas.flows.v1",
    columns={
        "start": "int64",  # ns since the epoch, UTC, in whole us: when the connection began
        "time": "int64",  # ns since the epoch, UTC: when this observation was made
        "flow_id": "uint64",  # names the connection on this node; stable over its observations; counted up
        "src_hi": "uint64",  # who opened the connection, as it addressed itself
        "src_lo": "uint64",
        "dst_hi": "uint64",  # what it dialled: a Service address, a pod, anything
        "dst_lo": "uint64",
        "backend_hi": "uint64",  # who answers, after destination NAT; equals dst without NAT
        "backend_lo": "uint64",
        "nat_src_hi": "uint64",  # whom the backend sees, after source NAT; equals src without NAT
        "nat_src_lo": "uint64",
        "src_port": "uint16",
        "dst_port": "uint16",
        "backend_port": "uint16",
        "nat_src_port": "uint16",
        "protocol": "uint8",  # IANA number
        "outcome": "uint8",  # one of OUTCOMES
        "opened": "uint8",  # 1 on the first observation of a connection and 0 on later ones: its sum counts connections
        "closed": "uint8",  # 1 on the last observation
        "packets": "uint64",  # from src to backend since the previous observation
        "bytes": "uint64",  # the same, IP headers included, link headers not
        "reply_packets": "uint64",  # from backend to src
        "reply_bytes": "uint64",
        "connect_us": "uint32",  # from SYN to SYN-ACK, where the opener is; on one row of a connection, 0 where unknown
        "srtt_us": "uint32",  # the smoothed round-trip time when this row was made; 0 where unknown
        "retransmits": "uint32",  # segments that either end, as far as it is on this node, has sent again meanwhile
        # the head of what the connection carries: on the first row after it was seen, else 0 and ""
        "app_protocol": "uint8",  # one of APP_PROTOCOLS
        "server_name": UTF8,  # TLS server name or HTTP host, without port, lower case
        "method": UTF8,  # of the first HTTP/1 request
        "path": UTF8,  # its path, never its query; ends with PATH_CUT where it goes on
    },
    bytes_columns=("bytes", "reply_bytes"),
    added=dict.fromkeys(("connect_us", "srtt_us", "retransmits", "app_protocol", "server_name", "method", "path"), 2),
    relative={
        "start": "time",
        **{f"backend_{part}": f"dst_{part}" for part in ("hi", "lo", "port")},
        **{f"nat_src_{part}": f"src_{part}" for part in ("hi", "lo", "port")},
    },
    planes=(
        *("start", "flow_id", "packets", "bytes", "reply_packets", "reply_bytes"),
        *("connect_us", "srtt_us", "src_lo", "backend_lo"),
    ),
    repeated=("server_name", "method", "path"),
    order=("dst_lo", "src_lo"),
)

TCP_STATES: Final = (
    *("established", "synsent", "synrecv", "finwait1", "finwait2", "timewait"),
    *("close", "closewait", "lastack", "listen", "closing"),
)
"""States of TCP sockets as cAdvisor spells them, in the order of the kernel's numbers, from 1 (net/tcp_states.h)."""

SOCKET_COLUMNS: Final = tuple(f"{family}_{state}" for family in ("tcp", "tcp6") for state in TCP_STATES)
"""Columns of COUNTERS that count sockets: of IPv4, and of IPv6, which may speak IPv4 too."""

COUNTERS: Final = Table(
    name="counters",
    topic="flowatlas.counters.v1",
    columns={
        "time": "int64",  # ns since the epoch, UTC
        "scope": "uint8",  # one of SCOPES
        "netns": "uint64",  # inode of the network namespace; 0 where it is the node's own
        "ifindex": "uint32",
        "interface": UTF8,  # as named inside its namespace
        "addr_hi": "uint64",  # the pod's first global address; 0, 0 where there is none
        "addr_lo": "uint64",
        "pod_uid": UTF8,  # from the cgroup path; empty where unknown
        # cumulative since the interface appeared, from the point of view of the namespace that holds it
        "receive_bytes": "uint64",
        "receive_packets": "uint64",
        "receive_errors": "uint64",
        "receive_packets_dropped": "uint64",
        "transmit_bytes": "uint64",
        "transmit_packets": "uint64",
        "transmit_errors": "uint64",
        "transmit_packets_dropped": "uint64",
        # sockets of the pod by family and state, on the row of its first interface; 0 elsewhere, and of nodes
        **dict.fromkeys(SOCKET_COLUMNS, "uint32"),
    },
    bytes_columns=("receive_bytes", "transmit_bytes"),
    added=dict.fromkeys(SOCKET_COLUMNS, 2),
)

DNS: Final = Table(
    name="dns",
    topic="flowatlas.dns.v1",
    columns={
        "time": "int64",  # ns since the epoch, UTC: when the answer passed, or when it was waited for no more
        "client_hi": "uint64",  # who asked, as it addressed itself: what FLOWS.src of its connections is
        "client_lo": "uint64",
        "server_hi": "uint64",  # whom it asked, as it dialled: as a rule the address of the DNS Service
        "server_lo": "uint64",
        "protocol": "uint8",  # IANA number of what carried it: 17 or 6
        "question": UTF8,  # the name asked for: lower case, no final dot, odd bytes as `\DDD` (RFC 4343)
        "type": "uint16",  # of the question, by IANA's numbers: 1 A, 28 AAAA, 33 SRV, ...
        "rcode": "uint8",  # of the answer; NO_ANSWER where none came
        "latency_ns": "uint64",  # from question to answer; 0 where the question was not seen
        "exchanges": "uint8",  # 1 on the first row of an exchange and 0 on others: its sum counts exchanges
        "answer_hi": "uint64",  # one row an address that the name leads to, through its aliases; 0, 0 where to none
        "answer_lo": "uint64",
        "ttl_s": "uint32",  # the least on the way from the name to the address
    },
    repeated=("question",),
)
"""Questions to DNS and what they were answered, as the client's node saw them. No collector sends them yet."""

DROPS: Final = Table(
    name="drops",
    topic="flowatlas.drops.v1",
    columns={
        "time": "int64",  # ns since the epoch, UTC: when the counts were taken
        "src_hi": "uint64",  # as in the packet where it was dropped
        "src_lo": "uint64",
        "dst_hi": "uint64",
        "dst_lo": "uint64",
        "src_port": "uint16",
        "dst_port": "uint16",
        "protocol": "uint8",  # IANA number
        "reason": UTF8,  # the kernel's name of it (enum skb_drop_reason), lower case, without the common prefix
        "packets": "uint64",  # since the row before of the same addresses, ports, protocol and reason
        "bytes": "uint64",  # the same, IP headers included
    },
    bytes_columns=("bytes",),
    repeated=("reason",),
)
"""Packets that the kernel of a node has dropped, by its own reason."""

NO_ANSWER: Final = 255
"""Value of `DNS.rcode` of a question that nobody answered; the codes on the wire end at 15."""

STATE: Final = Table(
    name="state",
    topic="flowatlas.state.v1",
    columns={
        "time": "int64",  # ns since the epoch, UTC: when the watcher knew
        "op": "uint8",  # one of STATE_OPS
        "api_version": UTF8,
        "kind": UTF8,
        "namespace": UTF8,  # "" of a cluster-wide kind
        "name": UTF8,
        "uid": UTF8,
        "body": UTF8,  # of a put: the object as JSON, cut to the fields that `pipeline.inventory.models` reads
    },
)
"""Changes of the cluster's objects, sent by the watcher of the cluster, which stands where others have a node's name.

An epoch begins with a put of every object that there is, then `synced`; what an earlier epoch knew and this one has not
put by then was deleted meanwhile. After that come changes in order. So the newest epoch that is synced is the state of
the cluster alone, and older ones are history. The puts before `synced` carry the time since when the watcher knows the
object as it is, so their times are in no order; after it, neither the times of changes nor those of marks go back, and
a mark's is a little earlier than those of the changes around it. Where a batch of an epoch is missing, its marks are
worth nothing any more: the watcher begins a new epoch as soon as it knows.

The watcher begins a new epoch now and then, so that old ones can go: from a folder by `Batch.oldest_kept`, from a
compacted topic by its keys, `NODE/SLOT` with slots that go round in a ring longer than what the newest synced epoch
has. On Kafka all batches are in partition 0: their order is total."""

STATE_OPS: Final = ("put", "delete", "synced", "mark")
"""Values of `STATE.op`, by index. `mark`: every change before `time` has been sent."""

TABLES: Final[Mapping[str, Table]] = {t.name: t for t in (FLOWS, COUNTERS, DNS, DROPS)}
"""What nodes send, by name. STATE is apart: whole processes of it read other topics."""

KNOWN_TABLES: Final[Mapping[str, Table]] = {**TABLES, STATE.name: STATE}
"""Every table that there is, by name."""

OUTCOMES: Final = ("open", "closed", "refused", "reset", "no_reply")
"""Values of `FLOWS.outcome`, by index: still open, or of a protocol without an end, or told already; ended in order;
answered by a reset before it was established; ended by a reset after; never answered. Any but the first is on one row
of a connection alone, so that counting rows counts failures."""

APP_PROTOCOLS: Final = ("", "tls", "http1", "http2")
"""Values of `FLOWS.app_protocol`, by index: unknown; TLS, by its ClientHello; HTTP/1, by its request line; HTTP/2
without TLS, by its preface."""

PATH_CUT: Final = "…"
"""Ends a value of `FLOWS.path` where the path goes on; no path holds it, for those of requests are ASCII."""

SCOPES: Final = ("pod", "node", "overlay")
"""Values of `COUNTERS.scope`, by index: a pod's interface, from inside the pod; the node's uplink; a tunnel device."""

NODE_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?\Z")
"""RFC 1123 subdomain, as Kubernetes names its nodes. Also what makes a node name safe as a folder's name."""


class BatchError(ValueError):
    """A batch that must not be used. `reason` is a short constant word, fit for a metric label."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Batch:
    """One encoded batch and its name. `byte_sum` is the sum of the table's `bytes_columns`."""

    table: str
    node: str
    epoch: int
    seq: int
    rows: int
    byte_sum: int
    value: bytes
    slot: int | None = None
    """On a compacted topic: a later batch of the same slot takes this one's place."""
    oldest_kept: int | None = None
    """In a folder: segments of this table and node of earlier epochs may go now, and no others. None: by size."""

    @property
    def topic(self) -> str:
        """Where batches of this table go on the bus."""
        return KNOWN_TABLES[self.table].topic

    @property
    def key(self) -> bytes:
        """The Kafka key: batches of one node keep their order in one partition; with a slot, `NODE/SLOT`."""
        return self.node.encode() if self.slot is None else f"{self.node}/{self.slot}".encode()

    @property
    def partition(self) -> int | None:
        """The Kafka partition; None leaves the choice to the key. Batches with slots have one, to stay in order."""
        return None if self.slot is None else 0

    def headers(self) -> dict[str, bytes]:
        """The message headers. All are ASCII text; numbers are decimal."""
        fields: dict[str, Any] = {
            "schema": VERSION,
            "table": self.table,
            "node": self.node,
            "epoch": self.epoch,
            "seq": self.seq,
            "rows": self.rows,
            "bytes": self.byte_sum,
        }
        return {name: str(value).encode() for name, value in fields.items()}


@dataclass(frozen=True, slots=True)
class BatchName:
    """What the headers claim of a batch; `parse_headers` makes it from untrusted bytes."""

    schema: int
    table: str
    node: str
    epoch: int
    seq: int
    rows: int
    byte_sum: int


def parse_headers(headers: Mapping[str, bytes], tables: Mapping[str, Table] = TABLES) -> BatchName:
    """Read untrusted headers.

    Raises BatchError with reason `headers` where one is missing or malformed, `table` for one that `tables` lacks,
    `schema_version` for one that this reader does not know.
    """
    try:
        text = {
            k: bytes(headers[k]).decode("ascii") for k in ("schema", "table", "node", "epoch", "seq", "rows", "bytes")
        }
        numbers = {k: int(text[k]) for k in ("schema", "epoch", "seq", "rows", "bytes")}
    except (KeyError, TypeError, UnicodeDecodeError, ValueError) as error:
        raise BatchError("headers", f"{type(error).__name__} {str(error)[:80]}") from None
    if not NODE_NAME.match(text["node"]) or any(not 0 <= n < 2**63 for n in numbers.values()):
        raise BatchError("headers", "a node's name or a number is out of range")
    _check_version(numbers["schema"])
    if text["table"] not in tables:
        raise BatchError("table", text["table"][:40])
    byte_sum = numbers.pop("bytes")
    return BatchName(table=text["table"], node=text["node"], byte_sum=byte_sum, **numbers)


def encode(table: Table, columns: Mapping[str, Column]) -> bytes:
    """Encode equal-length columns, one for each of `table.columns`, into one batch value.

    Numeric columns are numpy arrays of exactly the table's dtype; text columns are sequences of str, best `Text`.
    Rows keep their order. What is less than a microsecond of relative times is lost.
    Raises ValueError for wrong names, dtypes or lengths, or for more than MAX_ROWS rows: these are our own mistakes.
    """
    import nanoarrow as na
    from nanoarrow.ipc import StreamWriter

    from .wire import wire_form

    if list(columns) != list(table.columns):
        raise ValueError(f"{table.name}: columns {list(columns)} are not {list(table.columns)}")
    rows = {len(column) for column in columns.values()}
    if len(rows) != 1 or max(rows) > MAX_ROWS:
        raise ValueError(f"{table.name}: column lengths {sorted(rows)}; one length of at most {MAX_ROWS} is wanted")
    for name, kind in table.columns.items():
        column = columns[name]
        if kind != UTF8 and (not isinstance(column, np.ndarray) or column.dtype != np.dtype(kind)):
            raise ValueError(f"{table.name}.{name}: {getattr(column, 'dtype', type(column))} is not {kind}")
    fields, whole = _arrow_types(tuple(table.wire_columns(VERSION).items()))
    children = []
    for name, wired in wire_form(table, columns).items():
        buffers = [np.ascontiguousarray(wired)] if isinstance(wired, np.ndarray) else wired.buffers()
        children.append(na.c_array_from_buffers(fields[name], len(wired), [None, *buffers], null_count=0))
    array = na.c_array_from_buffers(whole, rows.pop(), [None], null_count=0, children=children)
    stream = io.BytesIO()
    with StreamWriter.from_writable(stream) as writer:
        writer.write_array(array)
    frame = zstandard.ZstdCompressor(level=_LEVEL, write_content_size=True).compress(stream.getbuffer())
    return PREFIX.pack(MAGIC, VERSION, 0, google_crc32c.value(frame)) + frame


@functools.cache
def _arrow_types(columns: tuple[tuple[str, str], ...]) -> tuple[dict[str, Any], Any]:
    """Arrow's type of each of these columns, and of a row of them."""
    import nanoarrow as na

    fields = {
        name: na.string(nullable=False) if kind == UTF8 else getattr(na, kind)(nullable=False) for name, kind in columns
    }
    return {name: na.c_schema(field) for name, field in fields.items()}, na.c_schema(na.struct(fields))


def filled(table: Table, columns: Mapping[str, Column]) -> dict[str, Column]:
    """All of a table's columns in order, from those that are known: the others are 0 and ""."""
    rows = len(next(iter(columns.values())))
    return {
        name: columns[name] if name in columns else Text.empty(rows) if kind == UTF8 else np.zeros(rows, kind)
        for name, kind in table.columns.items()
    }


def ordered(table: Table, columns: Mapping[str, Column]) -> dict[str, Column]:
    """The same rows in the order in which they take the fewest bytes. Of a table without such an order, as they are."""
    if table.order is None:
        return dict(columns)
    first, second = (np.asarray(columns[name]).astype(np.uint64) for name in table.order)
    order = np.argsort(first << np.uint64(32) | second & np.uint64(0xFFFFFFFF), kind="stable")
    return {
        name: column[order] if isinstance(column, np.ndarray) else Text.of(column).take(order)
        for name, column in columns.items()
    }


def _check_version(version: int) -> None:
    if not OLDEST_VERSION <= version <= VERSION:
        raise BatchError("schema_version", f"{version}, this reader knows {OLDEST_VERSION} to {VERSION}")


def frame_of(value: bytes, version: int = VERSION) -> bytes:
    """Check a batch value's prefix and checksum and return its zstd frame; `version` is what its headers say.

    Raises BatchError with reason `truncated`, `magic`, `schema_version` or `checksum`, in that order of checking.
    """
    if len(value) < PREFIX.size:
        raise BatchError("truncated", f"{len(value)} bytes")
    magic, written, _, checksum = PREFIX.unpack_from(value)
    if magic != MAGIC:
        raise BatchError("magic", repr(magic))
    if written != version:
        raise BatchError("schema_version", f"{written}, the headers say {version}")
    frame = value[PREFIX.size :]
    if google_crc32c.value(frame) != checksum:
        raise BatchError("checksum")
    return frame


# --- records: how a message lies in a segment file of the file:// bus ---

RECORD: Final = struct.Struct("<4sII")  # magic, length of the JSON headers, length of the value
RECORD_MAGIC: Final = b"FLWR"


def pack_record(headers: Mapping[str, bytes], value: bytes) -> bytes:
    """One message as it lies in a segment file: fixed prefix, headers as JSON, value."""
    text = json.dumps({k: v.decode("ascii") for k, v in headers.items()}, separators=(",", ":")).encode()
    return RECORD.pack(RECORD_MAGIC, len(text), len(value)) + text + value


def unpack_records(segment: bytes) -> Iterator[tuple[dict[str, bytes], bytes]]:
    """The (headers, value) pairs of a segment file. Raises BatchError `segment` at the first byte that is not ours."""
    offset = 0
    while offset < len(segment):
        if len(segment) - offset < RECORD.size:
            raise BatchError("segment", f"{len(segment) - offset} bytes are left at offset {offset}")
        magic, header_length, value_length = RECORD.unpack_from(segment, offset)
        start = offset + RECORD.size
        end = start + header_length + value_length
        if magic != RECORD_MAGIC or end > len(segment):
            raise BatchError("segment", f"no record at offset {offset}")
        try:
            headers = json.loads(segment[start : start + header_length])
            pairs = {str(k): str(v).encode("ascii") for k, v in headers.items()}
        except (ValueError, AttributeError, RecursionError):
            raise BatchError("segment", f"bad headers at offset {start}") from None
        yield pairs, segment[start + header_length : end]
        offset = end
