"""A proxy before an object store that fails now and then: it says 503, or swallows an answer, and is slow.

It is a process of its own, for who writes to the store may keep all other threads of Python waiting meanwhile. The
invariant: what is passed on is unchanged, and of so many requests of a method so many fail, in any run.
"""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

_HOP = {"connection", "keep-alive", "transfer-encoding"}


class TroubledStore:
    """Before the store at `target`: `share` of the requests fail, half of them when they have been done already."""

    def __init__(self, target: str, share: float, *, slow_s: float = 0.0) -> None:
        self._arguments = [target, str(share), str(slow_s)]
        self.requests: Counter[str] = Counter()
        """How many there were, at the end: `passed`, `refused`, `swallowed`, and the same with the method."""

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "tests.s3_trouble", *self._arguments]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        told, _ = self._process.communicate("", timeout=60)  # the end of its input is the sign
        self.requests.update(json.loads(told))


class _Proxy:
    def __init__(self, target: str, share: float, slow_s: float) -> None:
        self._target = urlsplit(target).netloc
        self._every = round(1 / share)
        self._slow_s = slow_s
        self._seen: Counter[str] = Counter()
        self._lock = threading.Lock()
        self.requests: Counter[str] = Counter()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_any(self) -> None:
                outer._answer(self)

            do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = do_any  # noqa: N815 - http.server's names

            def log_message(self, *_: object) -> None:
                """Nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("content-length") or 0))
        with self._lock:
            self._seen[request.command] += 1
            turn, rest = divmod(self._seen[request.command], self._every)
        time.sleep(self._slow_s)
        if not rest and turn % 2:
            self._count("refused", request)
            self._send(request, 503, {}, b"")
            return
        status, headers, content = self._passed_on(request, body)
        if not rest:
            self._count("swallowed", request)
            request.close_connection = True
            return
        self._count("passed", request)
        self._send(request, status, headers, content)

    def _passed_on(self, request: BaseHTTPRequestHandler, body: bytes) -> tuple[int, dict[str, str], bytes]:
        """With the host that the client has signed."""
        server = http.client.HTTPConnection(self._target, timeout=30)
        try:
            server.putrequest(request.command, request.path, skip_host=True, skip_accept_encoding=True)
            for name, value in request.headers.items():
                if name.lower() not in _HOP:
                    server.putheader(name, value)
            server.endheaders(body or None)
            answer = server.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            server.close()

    def _send(self, request: BaseHTTPRequestHandler, status: int, headers: dict[str, str], content: bytes) -> None:
        request.send_response_only(status)
        is_head = request.command == "HEAD"
        for name, value in headers.items():
            if name.lower() not in _HOP and (is_head or name.lower() != "content-length"):
                request.send_header(name, value)
        if not is_head or "content-length" not in {name.lower() for name in headers}:
            request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        if not is_head:
            with suppress(ConnectionError):  # who reads a part of a file may go before its end
                request.wfile.write(content)

    def _count(self, what: str, request: BaseHTTPRequestHandler) -> None:
        with self._lock:
            self.requests[what] += 1
            self.requests[f"{what} {request.command}"] += 1


def _main() -> None:
    target, share, slow_s = sys.argv[1:]
    proxy = _Proxy(target, float(share), float(slow_s))
    threading.Thread(target=proxy.server.serve_forever, daemon=True).start()
    sys.stdout.write(f"http://127.0.0.1:{proxy.server.server_port}\n")
    sys.stdout.flush()
    sys.stdin.read()
    sys.stdout.write(json.dumps(proxy.requests))


if __name__ == "__main__":
    _main()
