"""How long a connection lives and how it ended, judged from what was seen of it. Pure.

Columns are those of `tracking`: times in ns of CLOCK_MONOTONIC, flags of all packets of either end.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from ..outcome import judge
from .layout import FIN, RST, SYN
from .live import Columns, Flags

SECOND_NS: Final = 1_000_000_000
QUIET_NS: Final = SECOND_NS // 5
"""A TCP connection whose end was seen has ended after this much silence, so that its last packets are in its row."""
UNSURE_NS: Final = SECOND_NS // 5
"""How long a first row waits for the backend: longer than a packet takes from one interface of the node to another."""
KEPT_NS: Final = 5 * SECOND_NS
"""How long an ended connection is remembered, so that a packet that comes late is none of a new one."""
TCP_IDLE_NS: Final = 24 * 3600 * SECOND_NS
SHORT_IDLE_NS: Final = 30 * SECOND_NS  # as conntrack's timeouts of UDP and ICMP
TCP_UNREPLIED_IDLE_NS: Final = 120 * SECOND_NS  # of SYN_SENT
STREAM_IDLE_NS: Final = 120 * SECOND_NS  # of UDP that was answered and went on for more than STREAM_NS
STREAM_NS: Final = 2 * SECOND_NS

TCP, UDP = 6, 17
SYN_SENT, ESTABLISHED, FIN_WAIT, TIME_WAIT, CLOSE = 1, 3, 4, 7, 8  # enum tcp_conntrack
_SEEN_REPLY = np.uint32(2)  # enum ip_conntrack_status


def state_of(live: Columns) -> npt.NDArray[np.uint8]:
    """The state in which conntrack would be (enum tcp_conntrack); of other protocols 0.

    But for one: where both ends have ended their streams a reset takes nothing back. A packet that was sent again and
    finds its socket gone is answered so; conntrack knows its last state alone, and is in CLOSE then.
    """
    both, either = live["sent"] & live["answered"], live["sent"] | live["answered"]
    state = np.where(~live["is_replied"] & ((live["sent"] & SYN) != 0), np.uint8(SYN_SENT), np.uint8(ESTABLISHED))
    state[(either & FIN) != 0] = FIN_WAIT
    state[(either & RST) != 0] = CLOSE
    state[(both & FIN) != 0] = TIME_WAIT
    state[live["protocol"] != TCP] = 0
    return state


def idle_limit(live: Columns) -> npt.NDArray[np.int64]:
    """After how much silence a connection whose end was not seen counts as ended, in ns."""
    is_tcp, is_stream = live["protocol"] == TCP, live["last"] - live["first"] > STREAM_NS
    kind = is_tcp * np.uint8(2) + (live["is_replied"] & (is_tcp | is_stream))
    limits: npt.NDArray[np.int64] = _LIMITS[kind]
    return limits


_LIMITS: Final = np.array([SHORT_IDLE_NS, STREAM_IDLE_NS, TCP_UNREPLIED_IDLE_NS, TCP_IDLE_NS], np.int64)


def outcome_of(live: Columns, state: npt.NDArray[np.uint8], ended: Flags, now_ns: int) -> npt.NDArray[np.uint8]:
    """As `outcome.judge` judges a conntrack entry in the same state."""
    is_answered = live["is_replied"] & ((live["protocol"] != TCP) | ((live["answered"] & ~np.uint32(RST)) != 0))
    entries = {name: live[name] for name in ("protocol", "dst_hi", "dst_lo")}
    entries["start"], entries["tcp_state"], entries["reply_packets"] = live["first"], state, live["is_replied"]
    entries["status"] = np.where(is_answered, _SEEN_REPLY, np.uint32(0))
    return judge(entries, ended, now_ns)
