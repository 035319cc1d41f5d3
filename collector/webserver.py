"""The agent's HTTP server: the Prometheus client's WSGI application behind a guard, and what probes ask.

Imported where it is asked for. The invariant: however many clients there are, and however slow, they have a few threads
and descriptors of the agent's, and none of them for long; probes find one as long as others say what they want.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from socketserver import ThreadingMixIn
from typing import Any, Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, make_wsgi_app

from .progress import Progress
from .webguard import WebGuard

MAX_CONNECTIONS: Final = 16
CONNECTION_SECONDS: Final = 30.0
"""A connection is cut after this time, whatever it was doing."""
SILENT_SECONDS: Final = 3.0
"""Who has not said for so long what it wants makes room for others, where there is none."""
_POLL_SECONDS: Final = 0.25

_Start = Callable[..., Any]
_Application = Callable[[Mapping[str, Any], _Start], Iterable[bytes]]


def serve(
    host: str, port: int, registry: CollectorRegistry, guard: WebGuard | None, progress: Progress
) -> tuple[Any, threading.Thread]:
    """Serve the registry's metrics in a thread until the server's `shutdown`; no host means every address.

    Raises OSError."""
    everywhere = "::" if socket.has_dualstack_ipv6() else "0.0.0.0"  # noqa: S104 - when asked for
    family, _, _, _, address = socket.getaddrinfo(host or everywhere, port, type=socket.SOCK_STREAM)[0]
    server = _Server(family, address, guard)
    application = _probed(make_wsgi_app(registry), progress)
    server.set_app(_guarded(application, guard) if guard else application)
    thread = threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": _POLL_SECONDS}, name="metrics", daemon=True
    )
    thread.start()
    return server, thread


def _probed(application: _Application, progress: Progress) -> _Application:
    """The application, and answers to probes: 200, or 503 where the loop is stuck or not there yet."""
    probes = {"/healthz": progress.is_going, "/readyz": progress.is_ready}

    def answer(environ: Mapping[str, Any], start: _Start) -> Iterable[bytes]:
        is_well = probes.get(environ.get("PATH_INFO", ""))
        if is_well is None:
            return application(environ, start)
        status, text = ("200 OK", b"ok\n") if is_well() else ("503 Service Unavailable", b"no\n")
        start(status, [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(text)))])
        return [text]

    return answer


def _guarded(application: _Application, guard: WebGuard) -> _Application:
    """The application for those who may ask, with the guard's headers on each answer."""

    def answer(environ: Mapping[str, Any], start: _Start) -> Iterable[bytes]:
        def begin(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
            return start(status, [*guard.headers.items(), *headers], *more)

        if guard.authorizes(environ.get("PATH_INFO", ""), environ.get("HTTP_AUTHORIZATION", "")):
            return application(environ, begin)
        headers, body = guard.refusal
        begin("401 Unauthorized", list(headers.items()))
        return [body]

    return answer


class _Handler(WSGIRequestHandler):
    server: _Server

    def parse_request(self) -> bool:
        """Read what is asked for."""
        is_sound = super().parse_request()
        self.server.hear(self.connection)
        return is_sound

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


class _Server(ThreadingMixIn, WSGIServer):
    """A server with a thread a connection, over TLS where the guard says so."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, family: int, address: Any, guard: WebGuard | None) -> None:
        self.address_family = family
        self._guard = guard
        self._open: dict[socket.socket, _Connection] = {}
        """The oldest first."""
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
        self.setup_environ()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve the connection in a thread, or end it where there are too many."""
        now_s = time.monotonic()
        with self._lock:
            has_room = len(self._open) < MAX_CONNECTIONS or self._made_room(now_s)
            if has_room:
                self._open[request] = _Connection(now_s, request)
        if has_room:
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def _made_room(self, now_s: float) -> bool:
        """Whether one could be cut that has been silent for long."""
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
        request.settimeout(CONNECTION_SECONDS)
        context = self._guard.context() if self._guard is not None else None
        if self._guard is None or context is None:
            super().finish_request(request, client_address)
            return
        with context.wrap_socket(request, server_side=True, do_handshake_on_connect=False) as secure:
            with self._lock:
                if request not in self._open:  # it has made room meanwhile
                    return
                self._open[request].speaks = secure
            secure.do_handshake()
            if self._guard.admits(secure.getpeercert()):
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
        limit_s = time.monotonic() - CONNECTION_SECONDS
        with self._lock:
            for connection in self._open.values():
                if connection.opened_s <= limit_s:
                    connection.cut()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that went away; the next scrape tells whether we are well."""
