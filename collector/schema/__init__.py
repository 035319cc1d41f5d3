"""The wire contract between collectors and the pipeline: tables, batches, headers and bus records.

`tables` declares what travels, `batches` how a batch is named and what its headers say, `encoding` and `wire` the form
of its bytes, `records` how it lies in a file, `folders` how the folder of that file is made to last. Columns of numpy
are encoded here; the pipeline decodes them in `pipeline.decode`, where foreign bytes are validated. Whoever reads or
sends takes the names below from this package.

Addresses are two unsigned 64-bit halves in network order; IPv4 is the mapped address `::ffff:a.b.c.d`.

From version 2 on, columns travel in the form that compresses best (`wire`), which the reader takes back
(`pipeline.rows`), and rows lie in an order that puts the like together, which means nothing.
"""

from .batches import (
    MAX_INFLATED_BYTES,
    MAX_MESSAGE_BYTES,
    MAX_ROWS,
    NODE_NAME,
    Batch,
    BatchError,
    BatchName,
    parse_headers,
)
from .encoding import MAGIC, PREFIX, Column, encode, filled, frame_of, ordered
from .folders import make_folder, sync_folder
from .records import RECORD, RECORD_MAGIC, pack_record, unpack_records
from .tables import (
    APP_PROTOCOLS,
    COUNTERS,
    DNS,
    DROPS,
    FLOWS,
    KNOWN_TABLES,
    NO_ANSWER,
    OLDEST_VERSION,
    OUTCOMES,
    PATH_CUT,
    SCOPES,
    SOCKET_COLUMNS,
    STATE,
    STATE_OPS,
    TABLES,
    TCP_STATES,
    TIME_UNIT_NS,
    UTF8,
    VERSION,
    Table,
)

__all__ = [
    "APP_PROTOCOLS",
    "COUNTERS",
    "DNS",
    "DROPS",
    "FLOWS",
    "KNOWN_TABLES",
    "MAGIC",
    "MAX_INFLATED_BYTES",
    "MAX_MESSAGE_BYTES",
    "MAX_ROWS",
    "NODE_NAME",
    "NO_ANSWER",
    "OLDEST_VERSION",
    "OUTCOMES",
    "PATH_CUT",
    "PREFIX",
    "RECORD",
    "RECORD_MAGIC",
    "SCOPES",
    "SOCKET_COLUMNS",
    "STATE",
    "STATE_OPS",
    "TABLES",
    "TCP_STATES",
    "TIME_UNIT_NS",
    "UTF8",
    "VERSION",
    "Batch",
    "BatchError",
    "BatchName",
    "Column",
    "Table",
    "encode",
    "filled",
    "frame_of",
    "make_folder",
    "ordered",
    "pack_record",
    "parse_headers",
    "sync_folder",
    "unpack_records",
]
