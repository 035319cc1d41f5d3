"""The agent's HTTP server: the Prometheus client's WSGI application behind a guard, and what probes ask.

Imported where it is asked for. What clients can take of the agent is bounded by `webconnections`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, make_wsgi_app

from .progress import Progress
from .webconnections import CONNECTION_SECONDS, POLL_SECONDS, Bound, BoundedHandler, BoundedServer, bound
from .webguard import WebGuard

MAX_CONNECTIONS: Final = 16

_Start = Callable[..., Any]
_Application = Callable[[Mapping[str, Any], _Start], Iterable[bytes]]


def serve(
    host: str, port: int, registry: CollectorRegistry, guard: WebGuard | None, progress: Progress
) -> tuple[Any, threading.Thread]:
    """Serve the registry's metrics in a thread until the server's `shutdown`; no host means every address.

    Raises OSError."""
    server = _Server(bound(host, port), guard)
    application = _probed(make_wsgi_app(registry), progress)
    server.set_app(_guarded(application, guard) if guard else application)
    thread = threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": POLL_SECONDS}, name="metrics", daemon=True
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


class _Handler(BoundedHandler, WSGIRequestHandler):
    server: _Server


class _Server(BoundedServer, WSGIServer):
    """Serves an application."""

    def __init__(self, at: Bound, guard: WebGuard | None) -> None:
        super().__init__(at, _Handler, guard, MAX_CONNECTIONS, CONNECTION_SECONDS)

    def server_bind(self) -> None:
        """Bind, and tell applications where."""
        super().server_bind()
        self.setup_environ()
