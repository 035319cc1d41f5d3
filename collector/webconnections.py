"""What the HTTP servers of agent and pipeline have in common: how many connections are open, for how long, over what.

The invariant: however many clients there are, and however slow, they have a few threads and descriptors of the process,
and none of them for long; and others find a place as long as who has one says what it wants.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from socketserver import ThreadingMixIn
from typing import Any, Final, Protocol

CONNECTION_SECONDS: Final = 30.0
"""A connection is cut after this time, whatever it was doing: Prometheus itself gives up a scrape after 10 s."""
SILENT_SECONDS: Final = 3.0
"""Who has not said for so long what it wants makes room for others, where there is none."""
POLL_SECONDS: Final = 0.25
"""How often `serve_forever` looks for connections that are open for too long."""

Bound = tuple[int, Any]
"""Address family and address, as sockets take them."""


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


def bound(host: str, port: int) -> Bound:
    """Where to listen; no host means every address of both families. Raises OSError."""
    everywhere = "::" if socket.has_dualstack_ipv6() else "0.0.0.0"  # noqa: S104 - when asked for
    family, _, _, _, address = socket.getaddrinfo(host or everywhere, port, type=socket.SOCK_STREAM)[0]
    return family, address


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


class BoundedServer(ThreadingMixIn, HTTPServer):
    """A thread a connection, over TLS where `guard` says so; one request each, of a BoundedHandler."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(
        self,
        at: Bound,
        handler: type[BoundedHandler],
        guard: Guard | None,
        max_connections: int,
        connection_seconds: float,
    ) -> None:
        self.address_family, address = at
        self.guard = guard
        self._max_connections = max_connections
        self._connection_seconds = connection_seconds
        self._open: dict[socket.socket, _Connection] = {}
        """The oldest first."""
        self._lock = threading.Lock()
        super().__init__(address, handler)

    def server_bind(self) -> None:
        """Bind without looking the host's name up, which may take seconds where DNS is away."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)  # `::` is every IPv4 address too
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve the connection in a thread, or refuse it where there are too many."""
        request.settimeout(self._connection_seconds)
        now_s = time.monotonic()
        with self._lock:
            has_room = len(self._open) < self._max_connections or self._made_room(now_s)
            if has_room:
                self._open[request] = _Connection(now_s, request)
        if has_room:
            super().process_request(request, client_address)
        else:
            self.refuse(request)
            self.shutdown_request(request)

    def refuse(self, request: socket.socket) -> None:
        """Say to one too many what there is to say; it must not wait."""

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
        limit_s = time.monotonic() - older_than_s
        with self._lock:
            for connection in self._open.values():
                if connection.opened_s <= limit_s:
                    connection.cut()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that went away; the next scrape tells whether we are well."""

    def _made_room(self, now_s: float) -> bool:
        """Whether one could be cut that has been silent for long."""
        for key, connection in self._open.items():
            if connection.is_silent and connection.opened_s <= now_s - SILENT_SECONDS:
                connection.cut()
                del self._open[key]
                return True
        return False


class BoundedHandler(BaseHTTPRequestHandler):
    """One request of one connection of a BoundedServer."""

    server: BoundedServer

    def parse_request(self) -> bool:
        """Read what is asked for."""
        is_sound = super().parse_request()
        self.server.hear(self.connection)
        return is_sound

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the inherited name
        """Say nothing: scrapes come every few seconds."""
