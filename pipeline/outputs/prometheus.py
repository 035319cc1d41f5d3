"""The HTTP server of the pipeline: /metrics, /healthz, /readyz, and what others answer under paths of their own.

Whom it answers, and whether over TLS, is the affair of a guard that it is given.

It serves what was published and computes nothing about flows. The invariant: neither slow nor many clients hold up the
pipeline: each connection serves one request, within a time limit, and beyond a number of them the answer is 503, unless
one of them keeps its request to itself.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Mapping
from functools import partial
from http import HTTPStatus
from types import TracebackType
from typing import Final, Self

from collector.webconnections import (
    CONNECTION_SECONDS,
    POLL_SECONDS,
    Bound,
    BoundedHandler,
    BoundedServer,
    Guard,
    bound,
)

from ..errors import ConfigError
from .exposition import CONTENT_TYPES, Format
from .pages import Page
from .publication import Publication

MAX_CONNECTIONS: Final = 32

Response = tuple[HTTPStatus, dict[str, str], bytes | Page]
"""Status, headers and body; of a page the text."""

_BUSY: Final = b"HTTP/1.0 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n"
_TEXT: Final = "text/plain; charset=utf-8"


class PrometheusServer:
    """Serves a publication at (host, port); no host means every address, port 0 a free one.

    `is_ready` answers /readyz, `is_alive` /healthz. `more` answers further paths: a query and the address that asks in,
    status, headers and body out; in the connection's own thread, so it may wait. Without a `guard` everybody is
    answered, in plain text.
    """

    def __init__(
        self,
        address: tuple[str, int],
        publication: Publication,
        is_ready: Callable[[], bool],
        *,
        more: Mapping[str, Callable[[str, str], Response]] | None = None,
        guard: Guard | None = None,
        is_alive: Callable[[], bool] = lambda: True,
        max_connections: int = MAX_CONNECTIONS,
        connection_seconds: float = CONNECTION_SECONDS,
    ) -> None:
        self._address = address
        self._publication = publication
        self._is_ready = is_ready
        self._more = more or {}
        self._guard = guard
        self._is_alive = is_alive
        self._max_connections = max_connections
        self._connection_seconds = connection_seconds
        self._server: _Server | None = None
        self._threads: list[threading.Thread] = []
        self._is_over = threading.Event()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def address(self) -> tuple[str, int]:
        """Where the server listens; the port is the real one once it has started."""
        if self._server is None:
            return self._address
        host, port = self._server.server_address[:2]
        return str(host), int(port)

    def start(self) -> None:
        """Bind and serve in a thread. Raises ConfigError where the address cannot be had."""
        host, port = self._address
        try:
            limits = self._max_connections, self._connection_seconds
            self._server = _Server(bound(host, port), self._answer, self._guard, *limits)
        except OSError as error:
            raise ConfigError(f"pipeline.listen: {host}:{port}: {error.strerror or error}") from None
        self._is_over.clear()
        serve = partial(self._server.serve_forever, poll_interval=POLL_SECONDS)
        prepare = partial(self._publication.prepare, self._is_over)
        self._threads = [
            threading.Thread(target=target, name=name, daemon=True)
            for name, target in (("prometheus", serve), ("pages", prepare))
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop listening and cut what is open; safe to call twice."""
        if self._server is not None:
            self._server.shutdown()
            self._is_over.set()
            self._publication.wake()
            for thread in self._threads:
                thread.join()
            self._server.cut(older_than_s=0.0)
            self._server.server_close()
            self._server = None

    def _answer(self, path: str, query: str, form: Format, takes_gzip: bool, by: str) -> Response:
        match path:
            case "/metrics":
                headers = {"Content-Type": CONTENT_TYPES[form], "Vary": "Accept, Accept-Encoding"}
                if not takes_gzip:
                    return HTTPStatus.OK, headers, self._publication.body(form, by)
                return HTTPStatus.OK, {**headers, "Content-Encoding": "gzip"}, self._publication.gzipped(form, by)
            case "/healthz" if self._is_alive():
                return HTTPStatus.OK, {"Content-Type": _TEXT}, b"ok\n"
            case "/healthz":
                return HTTPStatus.SERVICE_UNAVAILABLE, {"Content-Type": _TEXT}, b"stuck\n"
            case "/readyz" if self._is_ready():
                return HTTPStatus.OK, {"Content-Type": _TEXT}, b"ready\n"
            case "/readyz":
                return HTTPStatus.SERVICE_UNAVAILABLE, {"Content-Type": _TEXT}, b"not ready\n"
            case _ if path in self._more:
                return self._more[path](query, by)
            case _:
                return HTTPStatus.NOT_FOUND, {"Content-Type": _TEXT}, b"there is /metrics, /healthz and /readyz\n"


Answer = Callable[[str, str, Format, bool, str], Response]
"""Of a path and query, in a format, compressed or not, for the address that asks."""


class _Handler(BoundedHandler):
    """One request of one connection."""

    server: _Server
    server_version = "flowatlas"
    sys_version = ""

    def do_GET(self) -> None:  # noqa: N802 - the inherited name
        """Answer a GET."""
        path, _, query = self.path.partition("?")
        guard = self.server.guard
        if guard is not None and not guard.authorizes(path, self.headers.get("Authorization", "")):
            self._send(HTTPStatus.UNAUTHORIZED, *guard.refusal)
            return
        form: Format = "openmetrics" if prefers_openmetrics(self.headers.get("Accept", "")) else "text"
        takes_gzip = accepts_gzip(self.headers.get("Accept-Encoding", ""))
        self._send(*self.server.answer(path, query, form, takes_gzip, str(self.client_address[0])))

    def _send(self, status: HTTPStatus, headers: Mapping[str, str], body: bytes | Page) -> None:
        self.send_response(status)
        for name, value in {**(self.server.guard.headers if self.server.guard else {}), **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(body.length if isinstance(body, Page) else len(body)))
        self.end_headers()
        for piece in body.pieces() if isinstance(body, Page) else (body,):
            self.wfile.write(piece)


class _Server(BoundedServer):
    """Serves what `answer` says."""

    def __init__(
        self, at: Bound, answer: Answer, guard: Guard | None, max_connections: int, connection_seconds: float
    ) -> None:
        self.answer = answer
        super().__init__(at, _Handler, guard, max_connections, connection_seconds)

    def refuse(self, request: socket.socket) -> None:
        """Say that we are busy."""
        request.settimeout(0)
        with contextlib.suppress(OSError):
            request.send(_BUSY)


def accepts_gzip(header: str) -> bool:
    """Whether an Accept-Encoding header names gzip, or everything, and not with quality 0 (RFC 9110, 12.5.3)."""
    qualities = {coding: quality for coding, _, quality in _accepted(header)}
    return qualities.get("gzip", qualities.get("*", 0.0)) > 0


def prefers_openmetrics(header: str) -> bool:
    """Whether an Accept header names OpenMetrics text, of version 1.0.0 or any, and text/plain not with more quality.

    Others, `*/*` among them, get text/plain: they may not know OpenMetrics (RFC 9110, 12.5.1).
    """
    openmetrics = plain = 0.0
    for kind, parameters, quality in _accepted(header):
        if kind == "application/openmetrics-text" and parameters.get("version", "1.0.0") == "1.0.0":
            openmetrics = max(openmetrics, quality)
        elif kind == "text/plain":
            plain = max(plain, quality)
    return openmetrics > 0 and openmetrics >= plain


def _accepted(header: str) -> list[tuple[str, dict[str, str], float]]:
    """What an Accept header lists: each value, its parameters and its quality, 0 where that is no number."""
    accepted = []
    for item in header.lower().split(","):
        value, *rest = (part.strip() for part in item.split(";"))
        pairs = (part.partition("=") for part in rest)
        parameters = {name.strip(): text.strip().strip('"') for name, _, text in pairs}
        try:
            quality = float(parameters.pop("q", "1"))
        except ValueError:
            quality = 0.0
        accepted.append((value, parameters, quality))
    return accepted
