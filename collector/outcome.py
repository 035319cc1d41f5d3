"""How a connection ended, judged from one look at its conntrack entry. Pure.

The judgements, as net/netfilter/nf_conntrack_proto_tcp.c makes the states:
- `refused`: a TCP reset came back and nothing else. The kernel ends such an entry at once and counts the reset, yet
  does not mark the entry as replied.
- `reset`: TCP, in state CLOSE after it was replied to, whoever sent the reset. Also where the opener never confirmed
  the handshake: health checks that only ask whether somebody listens do that.
- `closed`: TCP, in TIME_WAIT, or at its end in one of the states after a FIN.
- `no_reply`: nothing came back until the end of the entry, or within NO_REPLY_NS of a TCP connection's first packet. A
  reply that comes later does not take it back. One-to-many destinations owe no reply and are never judged so.
- `open`: everything else, also at its end: a protocol without an end, or a TCP entry that the kernel dropped in
  mid-life. Only TCP is ever closed, refused or reset. Without the kernel's accounting a refused connection looks like
  `no_reply`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from .connections import Entries
from .schema import OUTCOMES

NO_REPLY_NS: Final = 3_000_000_000  # past the first two retransmissions of a SYN, at 1 and 3 s

OPEN, CLOSED, REFUSED, RESET, NO_REPLY = (np.uint8(OUTCOMES.index(o)) for o in OUTCOMES)

_TCP: Final = 6
_SEEN_REPLY = np.uint32(2)  # enum ip_conntrack_status
_SYN_SENT, _FIN_WAIT, _TIME_WAIT, _CLOSE = 1, 4, 7, 8  # enum tcp_conntrack


Looked = Entries | Mapping[str, npt.NDArray[Any]]
"""Entries, or the columns of them that are looked at."""


def judge(entries: Looked, ended: npt.NDArray[np.bool_], now_ns: int) -> npt.NDArray[np.uint8]:
    """One code an entry; `ended` says which entries the kernel has given up, `entries["start"]` must be filled in."""
    tcp = entries["protocol"] == _TCP
    state = entries["tcp_state"]
    seen_reply = (entries["status"] & _SEEN_REPLY) != 0
    replied = seen_reply | (entries["reply_packets"] > 0)
    in_close = state == _CLOSE
    overdue = tcp & (state == _SYN_SENT) & (now_ns - entries["start"] >= NO_REPLY_NS)

    is_refused = tcp & replied & ~seen_reply & (in_close | ended)
    is_reset = tcp & seen_reply & in_close
    is_closed = tcp & ((state == _TIME_WAIT) | (ended & (state >= _FIN_WAIT) & (state < _TIME_WAIT)))
    is_no_reply = ~replied & (ended | overdue) & ~_to_many(entries)
    return np.select([is_refused, is_reset, is_closed, is_no_reply], [REFUSED, RESET, CLOSED, NO_REPLY], OPEN)


def _to_many(entries: Looked) -> npt.NDArray[np.bool_]:
    """Multicast of either family, and IPv4's limited broadcast. Subnet broadcasts cannot be told from an address."""
    high, low = entries["dst_hi"], entries["dst_lo"]
    is_v4 = (high == 0) & (low >> np.uint64(32) == 0xFFFF)
    v4 = low & np.uint64(0xFFFF_FFFF)
    is_v4_many: npt.NDArray[np.bool_] = is_v4 & ((v4 >> np.uint64(28) == 0xE) | (v4 == 0xFFFF_FFFF))
    is_v6_many: npt.NDArray[np.bool_] = high >> np.uint64(56) == 0xFF
    return is_v4_many | is_v6_many
