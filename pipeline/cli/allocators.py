"""What allocators keep of memory that is free: little, in a process that runs for long.

Polars and Delta (jemalloc), Arrow (mimalloc) and the C library (an arena a thread) each keep what they had once, for
the next time: a third of what a pipeline would hold. All but the last are told by the environment, which each reads
when it is first used, so this comes before they are imported. What the C library's has between what is in use it gives
back when it is asked to alone: `GivingBack` does. It also spares Python's collector what is there to stay: the
cluster's objects, to walk through which took a tenth of a second each time. The invariant: what a user has set stays as
it is.

Sources: jemalloc(3) for the decay of pages; Arrow C++, "Environment Variables"; mallopt(3), malloc_trim(3); Python's
`gc.freeze`.
"""

from __future__ import annotations

import ctypes
import gc
import threading
from collections.abc import Callable, MutableMapping
from types import TracebackType
from typing import Final, Self

SETTINGS: Final = {
    "_RJEM_MALLOC_CONF": "dirty_decay_ms:500,muzzy_decay_ms:0,narenas:1",
    "ARROW_DEFAULT_MEMORY_POOL": "system",
}
"""By the variable of Polars' and of Arrow's allocator: threads share one arena, and what is free goes back to the
kernel after half a second; the C library's allocator, instead of one more that keeps its own. To let threads keep less
of their own (`tcache_max`) was tried: a pipeline with a history held 15 MB more, not less."""
ARENAS: Final = "MALLOC_ARENA_MAX"
_M_ARENA_MAX: Final = -8
"""mallopt's name for it (malloc.h)."""

GIVING_BACK_SECONDS: Final = 30.0
"""In half an hour there came to be 20 to 60 MB between what was in use, and a few in so many seconds."""
LOADING_SECONDS: Final = 0.1
"""How often to look whether what stays has been loaded."""


def give_back(environ: MutableMapping[str, str]) -> None:
    """Let this process's allocators keep little, where `environ` (the process's own) does not say otherwise."""
    for name, setting in SETTINGS.items():
        environ.setdefault(name, setting)
    if ARENAS not in environ:
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # not every C library has it
        if mallopt is not None:
            mallopt(_M_ARENA_MAX, 1)


class GivingBack:
    """Once `is_loaded`, has Python's collector pass over what is there by then, and from then on lets the C library
    give back what is free, again and again, where its allocator is asked to. It begins and ends by `with`."""

    def __init__(self, is_loaded: Callable[[], bool], every_s: float = GIVING_BACK_SECONDS) -> None:
        self._is_loaded = is_loaded
        self._every_s = every_s
        self._trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # not every C library has it
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._give_back, name="allocators", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _give_back(self) -> None:
        while not self._is_loaded():
            if self._ended.wait(LOADING_SECONDS):
                return
        gc.freeze()
        while self._trim is not None and not self._ended.wait(self._every_s):
            self._trim(ctypes.c_size_t(0))
