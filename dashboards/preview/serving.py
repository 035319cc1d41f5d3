"""The page over HTTP: asked for and drawn anew at each request, at most once in a few seconds."""

from __future__ import annotations

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

from ..prometheus import PrometheusError
from .page import Preview

FRESH_S: Final = 5.0
"""A page younger than this is shown again: a drawing costs the server hundreds of queries."""


class PreviewServer(ThreadingHTTPServer):
    """Serves `/` on `address`; port 0 takes a free one. `serve_forever` until `shutdown`."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], preview: Preview) -> None:
        super().__init__(address, _Handler)
        self._preview = preview
        self._drawing = threading.Lock()
        self._page, self._drawn_s = b"", float("-inf")

    def page(self) -> bytes:
        """The page, drawn anew where it is old. Raises PrometheusError where the server does not answer."""
        with self._drawing:
            if time.monotonic() - self._drawn_s > FRESH_S:
                self._page = self._preview.render(time.time()).encode()
                self._drawn_s = time.monotonic()
            return self._page


class _Handler(BaseHTTPRequestHandler):
    server: PreviewServer

    def do_GET(self) -> None:
        """`/` is the page; there is nothing else."""
        if self.path != "/":
            self._answer(404, "text/plain; charset=utf-8", b"there is only /\n")
            return
        try:
            page = self.server.page()
        except PrometheusError as error:
            self._answer(502, "text/plain; charset=utf-8", f"{error}\n".encode())
            return
        self._answer(200, "text/html; charset=utf-8", page)

    def _answer(self, code: int, kind: str, body: bytes) -> None:
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing on stderr for each request."""
