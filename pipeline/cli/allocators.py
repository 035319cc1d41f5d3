"""What allocators keep of memory that is free: little, in a process that runs for long.

Polars (jemalloc), Arrow (mimalloc) and the C library (an arena a thread) each keep what they had once, for the next
time: a third of what a pipeline would hold. The first two are told by the environment, which each reads when it is
first used, so this comes before either is imported. The invariant: what a user has set stays as it is.

Sources: jemalloc(3) for the decay of pages; Arrow C++, "Environment Variables"; mallopt(3).
"""

from __future__ import annotations

import ctypes
from collections.abc import MutableMapping
from typing import Final

SETTINGS: Final = {
    "_RJEM_MALLOC_CONF": "dirty_decay_ms:500,muzzy_decay_ms:0,narenas:1",
    "ARROW_DEFAULT_MEMORY_POOL": "system",
}
"""By the variable of Polars' and of Arrow's allocator: threads share one arena, and what is free goes back to the
kernel after half a second; the C library's allocator, instead of one more that keeps its own."""
ARENAS: Final = "MALLOC_ARENA_MAX"
_M_ARENA_MAX: Final = -8
"""mallopt's name for it (malloc.h)."""


def give_back(environ: MutableMapping[str, str]) -> None:
    """Let this process's allocators keep little, where `environ` (the process's own) does not say otherwise."""
    for name, setting in SETTINGS.items():
        environ.setdefault(name, setting)
    if ARENAS not in environ:
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # not every C library has it
        if mallopt is not None:
            mallopt(_M_ARENA_MAX, 1)
