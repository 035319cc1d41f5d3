"""What travels: the tables, their columns and the values that stand for words. Data alone.

A table's columns are declared once, here, and read by whoever makes, sends, decodes, attributes or keeps rows. The
invariant: a version adds columns at the end of tables, and tables; it takes none away.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

VERSION: Final = 2
"""What is written."""
OLDEST_VERSION: Final = 1
"""The oldest that is still read; columns that it lacks are read as 0 and ""."""

TIME_UNIT_NS: Final = 1000
"""What relative times are counted in."""

UTF8: Final = "utf8"
"""Column type of text; every other column type is a numpy dtype string."""


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
"""Questions to DNS and what they were answered, as the client's node saw them."""

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
