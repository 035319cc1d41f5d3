"""One consistent set of metrics, rendered at most once however many ask for it.

Nothing here knows HTTP. The invariant: whoever reads gets the bytes of one publication as a whole.
"""

from __future__ import annotations

import gzip
import threading
from collections.abc import Sequence

from ..aggregate.samples import Samples
from .exposition import Renderer

_GZIP_LEVEL = 1


class Publication:
    """The metrics published last. `publish` replaces them; `text` and `gzipped` render them when first asked."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._renderer = Renderer()
        self._pending: Sequence[Samples] = ()
        self._text: bytes | None = b""
        self._gzipped: bytes | None = None

    def publish(self, metrics: Sequence[Samples]) -> None:
        """Let `metrics` be what readers see from now on; costs nothing until somebody reads."""
        with self._lock:
            self._pending = metrics
            self._text = self._gzipped = None

    def text(self) -> bytes:
        """The exposition text."""
        with self._lock:
            return self._rendered()

    def gzipped(self) -> bytes:
        """The exposition text, compressed."""
        with self._lock:
            if self._gzipped is None:
                self._gzipped = gzip.compress(self._rendered(), _GZIP_LEVEL, mtime=0)
            return self._gzipped

    def _rendered(self) -> bytes:
        if self._text is None:
            self._text = self._renderer.render(self._pending)
        return self._text
