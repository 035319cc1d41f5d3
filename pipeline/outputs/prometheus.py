"""The HTTP server of the pipeline: /metrics, /healthz, /readyz, and what others answer under paths of their own.

Whom it answers, and whether over TLS, is the affair of a guard that it is given.

It serves what was published and computes nothing about flows. The invariant: neither slow nor many clients hold up the
pipeline: each connection serves one request, within a time limit, and beyond a number of them the answer is 503, unless
one of them keeps its request to itself.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Final, Protocol, Self

from ..errors import ConfigError
from .exposition import CONTENT_TYPES, Format
from .pages import Page
from .publication import Publication

MAX_CONNECTIONS: Final = 32
CONNECTION_SECONDS: Final = 30.0
"""A connection is cut after this time, whatever it was doing: Prometheus itself gives up a scrape after 10 s."""
SILENT_SECONDS: Final = 3.0
"""Who has not said for so long what it wants makes room for others."""

Response = tuple[HTTPStatus, dict[str, str], bytes | Page]
"""Status, headers and body; of a page the text."""

_BUSY: Final = b"HTTP/1.0 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n"
_TEXT: Final = "text/plain; charset=utf-8"


class Guard(Protocol):
    """Who may ask, and over what: asked anew for each connection and request."""

    @property
    def headers(self) -> Mapping[str, str]:
        """To be added to every answer."""

    @property
    def refusal(self) -> tuple[Mapping[str, str], bytes]:
        """Headers and body of the answer to who is not authorized."""

    def context(self) -> ssl.SSLContext | None:
        """The TLS context of the next connection; None: it is in plain text."""

    def admits(self, certificate: object) -> bool:
        """Whether the client that has shown this certificate (`SSLSocket.getpeercert`) may ask."""

    def authorizes(self, path: str, authorization: str) -> bool:
        """Whether a request for `path` with this Authorization header may be answered."""


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
            everywhere = "::" if socket.has_dualstack_ipv6() else "0.0.0.0"  # noqa: S104 - when asked for
            found = socket.getaddrinfo(host or everywhere, port, type=socket.SOCK_STREAM)
            family, _, _, _, bound = found[0]
            limits = self._max_connections, self._connection_seconds
            self._server = _Server(family, bound, self._answer, self._guard, *limits)
        except OSError as error:
            raise ConfigError(f"pipeline.listen: {host}:{port}: {error.strerror or error}") from None
        self._is_over.clear()
        serve = partial(self._server.serve_forever, poll_interval=0.25)
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


class _Handler(BaseHTTPRequestHandler):
    """One request of one connection."""

    server: _Server
    server_version = "flowatlas"
    sys_version = ""

    def parse_request(self) -> bool:
        """Read what is asked for."""
        is_sound = super().parse_request()
        self.server.hear(self.connection)
        return is_sound

    def do_GET(self) -> None:
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

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the inherited name
        """Say nothing: scrapes come every few seconds."""


@dataclass(slots=True)
class _Connection:
    """One that is open."""

    opened_s: float
    speaks: socket.socket
    """What speaks on it: the socket of TLS once there is one."""
    is_silent: bool = True
    """Until its request has been read."""

    def cut(self) -> None:
        """End it; its thread sees the end and leaves."""
        with contextlib.suppress(OSError):
            self.speaks.shutdown(socket.SHUT_RDWR)


class _Server(ThreadingHTTPServer):
    """A threading server that bounds how many connections are open, and for how long."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(
        self,
        family: int,
        address: Any,
        answer: Answer,
        guard: Guard | None,
        max_connections: int,
        connection_seconds: float,
    ) -> None:
        self.address_family = family
        self.answer = answer
        self.guard = guard
        self._max_connections = max_connections
        self._connection_seconds = connection_seconds
        self._open: dict[socket.socket, _Connection] = {}
        self._lock = threading.Lock()
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        """Bind without looking the host's name up, which may take seconds where DNS is away."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)  # `::` is every IPv4 address too
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve the connection in a thread, or say 503 where there are too many."""
        request.settimeout(self._connection_seconds)
        with self._lock:
            now_s = time.monotonic()
            has_room = len(self._open) < self._max_connections or self._made_room(now_s)
            if has_room:
                self._open[request] = _Connection(now_s, request)
        if has_room:
            super().process_request(request, client_address)
        else:
            request.settimeout(0)
            with contextlib.suppress(OSError):
                request.send(_BUSY)
            self.shutdown_request(request)

    def _made_room(self, now_s: float) -> bool:
        """Whether one could be cut that has been silent for long, the oldest first."""
        for key, connection in self._open.items():
            if connection.is_silent and connection.opened_s <= now_s - SILENT_SECONDS:
                connection.cut()
                del self._open[key]
                return True
        return False

    def hear(self, speaks: socket.socket) -> None:
        """The request of a connection has been read."""
        with self._lock:
            for connection in self._open.values():
                connection.is_silent &= connection.speaks is not speaks

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Answer in the connection's thread, where TLS may take its time."""
        context = self.guard.context() if self.guard is not None else None
        if self.guard is None or context is None:
            super().finish_request(request, client_address)
            return
        with context.wrap_socket(request, server_side=True, do_handshake_on_connect=False) as secure:
            with self._lock:
                if request not in self._open:  # it has made room meanwhile
                    return
                self._open[request].speaks = secure
            secure.do_handshake()
            if self.guard.admits(secure.getpeercert()):
                super().finish_request(secure, client_address)
            with contextlib.suppress(OSError):
                secure.shutdown(socket.SHUT_WR)

    def shutdown_request(self, request: Any) -> None:
        """Close the connection and forget it."""
        with self._lock:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Several times a second: cut connections that are open for too long."""
        self.cut(older_than_s=self._connection_seconds)

    def cut(self, older_than_s: float) -> None:
        """End connections that were opened `older_than_s` ago or before."""
        limit = time.monotonic() - older_than_s
        with self._lock:
            for connection in self._open.values():
                if connection.opened_s <= limit:
                    connection.cut()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that went away; the next scrape tells whether we are well."""


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
