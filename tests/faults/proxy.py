"""A TCP proxy that misbehaves when told: it stalls, resets connections in the middle, or leaves them half open.

The invariant: bytes that it passes on are unchanged and in order.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from types import TracebackType
from typing import Self

_RESET = struct.pack("ii", 1, 0)


class Proxy:
    """Listens on a loopback port of its own and dials `target` (HOST:PORT), which may be set after the start."""

    def __init__(self, port: int = 0) -> None:
        self.target = ""
        self._listener = socket.create_server(("127.0.0.1", port))
        self._pairs: list[_Pair] = []
        self._lock = threading.Lock()
        self._flowing = threading.Event()
        self._flowing.set()
        self.accepted = 0

    @property
    def address(self) -> str:
        """`127.0.0.1:PORT`."""
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, name="proxy", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.resume()
        self.reset()

    def stall(self) -> None:
        """Pass nothing on, either way, until `resume`."""
        self._flowing.clear()

    def resume(self) -> None:
        """Pass on what waited."""
        self._flowing.set()

    def reset(self) -> None:
        """End all connections as a crashed peer does."""
        for pair in self._taken():
            pair.end(reset=True)

    def half_open(self) -> None:
        """Let the connections that there are swallow what they are sent, and never end; new ones work."""
        for pair in self._taken():
            pair.is_deaf = True

    def _taken(self) -> list[_Pair]:
        with self._lock:
            return list(self._pairs)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            host, _, port = self.target.rpartition(":")
            try:
                server = socket.create_connection((host, int(port)), timeout=5)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            pair = _Pair(client, server)
            with self._lock:
                self._pairs = [old for old in self._pairs if not old.is_ended]
                self._pairs.append(pair)
                self.accepted += 1
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self._pass_on, args=(pair, source, sink), daemon=True).start()

    def _pass_on(self, pair: _Pair, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while content := source.recv(65_536):
                self._flowing.wait()
                if not pair.is_deaf:
                    sink.sendall(content)
        if not pair.is_deaf:  # its end is not told either
            pair.end()


class _Pair:
    """Both halves of one connection."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self._halves = (client, server)
        self._lock = threading.Lock()
        self.is_deaf = self.is_ended = False

    def end(self, *, reset: bool = False) -> None:
        """Close both; safe to call twice."""
        with self._lock:
            if self.is_ended:
                return
            self.is_ended = True
        for half in self._halves:
            with contextlib.suppress(OSError):
                if reset:
                    half.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                else:
                    half.shutdown(socket.SHUT_RDWR)
            half.close()
