"""One consistent set of metrics, rendered at most once a format however many ask for it.

Nothing here knows HTTP. The invariant: whoever reads gets the bytes of one publication as a whole.
"""

from __future__ import annotations

import gzip
import threading
from collections.abc import Sequence

from ..aggregate.samples import Samples
from .exposition import Format, Renderer

_GZIP_LEVEL = 1


class Publication:
    """The metrics published last. `publish` replaces them; `text` and `gzipped` render them when first asked."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._renderer = Renderer()
        self._pending: Sequence[Samples] = ()
        self._text: dict[Format, bytes] = {}
        self._gzipped: dict[Format, bytes] = {}

    def publish(self, metrics: Sequence[Samples]) -> None:
        """Let `metrics` be what readers see from now on; costs nothing until somebody reads."""
        with self._lock:
            self._pending = metrics
            self._text, self._gzipped = {}, {}

    def text(self, form: Format = "text") -> bytes:
        """The exposition text."""
        with self._lock:
            return self._rendered(form)

    def gzipped(self, form: Format = "text") -> bytes:
        """The exposition text, compressed."""
        with self._lock:
            if form not in self._gzipped:
                self._gzipped[form] = gzip.compress(self._rendered(form), _GZIP_LEVEL, mtime=0)
            return self._gzipped[form]

    def _rendered(self, form: Format) -> bytes:
        if form not in self._text:
            self._text[form] = self._renderer.render(self._pending, form)
        return self._text[form]
