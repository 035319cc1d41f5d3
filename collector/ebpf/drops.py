"""What the kernel has dropped: `drops.bpf.c`, loaded and read.

Its two tables take turns, as the flow program's do: `take` returns every drop counted before it was called, and none
twice.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from typing import Final

import numpy as np
import numpy.typing as npt

from . import libbpf
from .loaded import Loaded, per_cpu_sums, refusal
from .reasons import HARMLESS, read_reasons

OBJECT: Final = "drops.bpf.o"
CHUNK: Final = 8_192
REASONS: Final = 256
"""Numbers that can be ignored; those of subsystems are larger."""

DROP: Final = np.dtype(
    [
        ("source", ">u8", (2,)),
        ("destination", ">u8", (2,)),
        ("source_port", ">u2"),
        ("destination_port", ">u2"),
        ("reason", "u4"),
        ("netns", "u4"),  # 0 where the packet had neither an interface nor a socket
        ("protocol", "u1"),
        ("zero", "u1", (3,)),
    ]
)
COUNT: Final = np.dtype([("packets", "u8"), ("bytes", "u8")])
_MISSED: Final = np.dtype("u8")


class DropHooks:
    """The hook and its tables. Constructing attaches. Raises HookError where the kernel refuses."""

    def __init__(self, table_drops: int) -> None:
        self._loaded = Loaded(OBJECT, dict.fromkeys(("drops_a", "drops_b"), table_drops))
        try:
            self.reasons: Mapping[int, str] = read_reasons()
            """The kernel's names of reasons, by number."""
            self._tables = [self._loaded.map_fd(name) for name in ("drops_a", "drops_b")]
            self._active = self._loaded.map_fd("active")
            self._missed = self._loaded.map_fd("missed")
            self._ignore()
            self._switch()
            self._loaded.attach("dropped")
        except OSError as error:
            self.close()
            raise refusal(error) from error
        except Exception:
            self.close()
            raise
        self._missed_before = 0

    def take(self) -> tuple[npt.NDArray[np.void], npt.NDArray[np.void]]:
        """Arrays of DROP and COUNT of equal length: what was dropped since the last call. Raises OSError."""
        self._switch()
        return libbpf.take_all(self._tables[0], DROP, COUNT, CHUNK)

    def take_missed(self) -> int:
        """Dropped packets for which the table had no room, since the last call. Raises OSError."""
        before, self._missed_before = self._missed_before, int(per_cpu_sums(self._missed, 1, _MISSED)[0])
        return self._missed_before - before

    def close(self) -> None:
        """Detach and unload; safe to call twice."""
        self._loaded.close()

    def _ignore(self) -> None:
        ignored = self._loaded.map_fd("ignored")
        for number, name in self.reasons.items():
            if name in HARMLESS and number < REASONS:
                slot, one = ctypes.c_uint32(number), ctypes.c_uint64(1)
                libbpf.call("bpf_map_update_elem", ignored, ctypes.byref(slot), ctypes.byref(one), 0)

    def _switch(self) -> None:
        """Put the other table in place. Returns when no program uses the one before: the kernel waits for them."""
        slot, table = ctypes.c_uint32(0), ctypes.c_uint32(self._tables[0])
        libbpf.call("bpf_map_update_elem", self._active, ctypes.byref(slot), ctypes.byref(table), 0)
        self._tables.reverse()
