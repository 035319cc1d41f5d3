"""What the sockets of this node tell of their TCP connections: `tcp.bpf.c`, loaded and read.

Reading it costs the kernel a walk over all sockets, so the walk rests for LOOK_REST times as long as it worked: at most
about 1 % of a processor, however many sockets there are. Who waited for a processor meanwhile has not worked. The
invariant is the program's: what was sent again and a connect time are in one observation alone, or counted as missed.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from typing import Final

import numpy as np
import numpy.typing as npt

from . import libbpf
from .loaded import Loaded, iterate, per_cpu_sums, refusal

OBJECT: Final = "tcp.bpf.o"
LOOK_REST: Final = 100
CHUNK: Final = 16_384

UNKNOWN, OPENER, ANSWERER = 0, 1, 2
"""Values of `role`. Unknown: the connection is older than the program."""

OBSERVATION: Final = np.dtype(
    [
        ("since", "u8"),  # CLOCK_MONOTONIC ns: tells connections of the same ends apart; 0 where unknown
        ("local", ">u8", (2,)),  # as the socket has it: an opener's remote end is what it dialled
        ("remote", ">u8", (2,)),
        ("local_port", ">u2"),
        ("remote_port", ">u2"),
        ("netns", "u4"),
        ("connect_us", "u4"),
        ("srtt_us", "u4"),
        ("retransmits", "u4"),
        ("role", "u1"),
        ("is_closed", "u1"),
        ("zero", "u2"),
    ]
)
MISSED_REASONS: Final = ("table_full", "no_memory")
"""Why a socket's words were lost, by index: too many closed between two reads; no memory beside the socket."""
_ENDING: Final = np.dtype([("socket", "u8"), ("time", "u8")])
_COUNT: Final = np.dtype("u8")


class TcpHooks:
    """The hooks and what they keep. Constructing attaches. Raises HookError where the kernel refuses."""

    def __init__(self, most_ended: int) -> None:
        self._loaded = Loaded(OBJECT, {"ended": most_ended})
        try:
            self._ended = self._loaded.map_fd("ended")
            self._missed = self._loaded.map_fd("missed")
            self._look = self._loaded.iterator("look", self._loaded.map_fd("connections"))
            for name in ("states", "resends"):
                self._loaded.attach(name)
            with contextlib.suppress(OSError):  # older sockets are then known from their next event on
                iterate(self._loaded.iterator("adopt"), OBSERVATION)
        except OSError as error:
            self.close()
            raise refusal(error) from error
        self._missed_before = np.zeros(len(MISSED_REASONS), _COUNT)
        self._look_due_s = 0.0

    def take(self) -> npt.NDArray[np.void]:
        """An array of OBSERVATION: of live sockets first, of closed ones after them. Raises OSError."""
        parts = []
        if time.monotonic() >= self._look_due_s:
            began_s = time.thread_time()
            parts.append(iterate(self._look, OBSERVATION))
            worked_s = time.thread_time() - began_s
            self._look_due_s = time.monotonic() + LOOK_REST * worked_s
        _, closed = libbpf.take_all(self._ended, _ENDING, OBSERVATION, CHUNK)
        return np.concatenate([*parts, closed])

    def take_missed(self) -> Mapping[str, int]:
        """Observations lost since the last call, by reason. Raises OSError."""
        before, self._missed_before = self._missed_before, per_cpu_sums(self._missed, len(MISSED_REASONS), _COUNT)
        lost = (self._missed_before - before).tolist()
        return {reason: count for reason, count in zip(MISSED_REASONS, lost, strict=True) if count}

    def close(self) -> None:
        """Detach and unload; safe to call twice."""
        self._loaded.close()
