"""A server pod's program: `python -m deploy.lab.workloads.server --name NS/POD --journal FILE PROTOCOL:PORT ...`.

Protocols: `http` and `https` answer /.../bytes/N with N bytes and /.../reset with a reset; `echo` greets and repeats;
`sink` reads until the end; `udp-sink` never answers. Who speaks first says the pod's own name and the address it was
reached at, so the client learns its backend by the backend's own word. Every connection is in the journal twice, as it
is accepted and as it ends.
"""

from __future__ import annotations

import argparse
import itertools
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable
from typing import Any, TextIO

from .channel import Channel, TLSChannel

HEAD_LIMIT = 16384


class Journal:
    """One JSON object a line, written at once."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._lock = threading.Lock()

    def write(self, **fields: Any) -> None:
        """Append one line."""
        with self._lock:
            self._file.write(json.dumps(fields) + "\n")
            self._file.flush()


Asked = dict[str, str]
"""What the first request of a connection asked for; empty where nothing that can be asked in words was."""


def serve_http(channel: Channel, word: str, asked: Asked) -> None:
    """Answer requests until one asks to close or the stream ends."""
    buffer = b""
    while True:
        while b"\r\n\r\n" not in buffer:
            data = channel.receive()
            if not data or len(buffer) > HEAD_LIMIT:
                return
            buffer += data
        head, _, buffer = buffer.partition(b"\r\n\r\n")
        request, *lines = head.decode("latin-1").split("\r\n")
        fields = {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
        remaining = int(fields.get("content-length", 0)) - len(buffer)
        while remaining > 0:
            data = channel.receive()
            if not data:
                return
            remaining -= len(data)
        buffer = b""
        target = request.split()[1]
        asked.setdefault("host", fields.get("host", ""))
        asked.setdefault("path", target)
        if target.endswith("/reset"):
            channel.abort()
            raise ConnectionResetError
        size = int(target.rpartition("/bytes/")[2] or 0) if "/bytes/" in target else 2
        close = fields.get("connection", "").lower() == "close" or request.endswith("HTTP/1.0")
        answer = f"HTTP/1.1 200 OK\r\nX-Served-By: {word}\r\nContent-Length: {size}\r\n"
        answer += f"Connection: {'close' if close else 'keep-alive'}\r\n\r\n"
        channel.send(answer.encode("latin-1") + b"x" * size)
        if close:
            return


def serve_echo(channel: Channel, word: str, asked: Asked) -> None:
    """Greet, then repeat everything."""
    channel.send(f"{word}\n".encode())
    while data := channel.receive():
        channel.send(data)


def serve_sink(channel: Channel, word: str, asked: Asked) -> None:
    """Read until the end and say nothing."""
    while channel.receive():
        pass


HANDLERS: dict[str, Callable[[Channel, str, Asked], None]] = {
    "http": serve_http,
    "https": serve_http,
    "echo": serve_echo,
    "sink": serve_sink,
}


class Server:
    """Everything one pod serves."""

    def __init__(self, name: str, journal: Journal, context: ssl.SSLContext | None) -> None:
        self._name = name
        self._journal = journal
        self._context = context
        self._numbers = itertools.count()

    def listen(self, protocol: str, address: str, port: int) -> None:
        """Serve one port on threads of its own."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        if protocol == "udp-sink":
            sink = socket.socket(family, socket.SOCK_DGRAM)
            sink.bind((address, port))
            threading.Thread(target=self._swallow, args=(sink, port)).start()
        else:
            listener = socket.create_server((address, port), family=family, backlog=256)
            threading.Thread(target=self._accept, args=(listener, protocol)).start()

    def _swallow(self, sink: socket.socket, port: int) -> None:
        while True:
            data, peer = sink.recvfrom(65536)
            self._journal.write(
                event="datagram", peer=peer[:2], port=port, received_bytes=len(data), time_ns=time.time_ns()
            )

    def _accept(self, listener: socket.socket, protocol: str) -> None:
        while True:
            connection, peer = listener.accept()
            threading.Thread(target=self._serve, args=(connection, peer, protocol), daemon=True).start()

    def _serve(self, connection: socket.socket, peer: tuple[Any, ...], protocol: str) -> None:
        number, local = next(self._numbers), connection.getsockname()
        opened_ns = time.time_ns()
        self._journal.write(event="accepted", number=number)
        channel = Channel(connection)
        outcome = "closed"
        asked: Asked = {}
        try:
            if protocol == "https":
                assert self._context is not None
                channel = TLSChannel(connection, self._context)
            HANDLERS[protocol](channel, f"{self._name} {local[0]} {local[1]}", asked)
            if protocol == "https":
                channel.finish()
        except OSError:  # a reset by either side; a TLS error is one as well
            outcome = "reset"
        finally:
            channel.close()
        self._journal.write(
            event="ended",
            number=number,
            peer=peer[:2],
            local=local[:2],
            outcome=outcome,
            asked=asked,
            received_bytes=channel.received_bytes,
            sent_bytes=channel.sent_bytes,
            sent_again_bytes=channel.sent_again_bytes,
            opened_ns=opened_ns,
            closed_ns=time.time_ns(),
        )


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", required=True, help="NAMESPACE/POD, said in every answer")
    parser.add_argument("--journal", required=True, help="file to append to")
    parser.add_argument("--address", default="", help="listen here only, of IPv4")
    parser.add_argument("--address-v6", help="listen here too")
    parser.add_argument("--certificate", help="PEM with key, for https")
    parser.add_argument("ports", nargs="+", metavar="PROTOCOL:PORT")
    options = parser.parse_args()
    context = None
    if options.certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(options.certificate)
    with open(options.journal, "a", encoding="ascii") as file:  # noqa: PTH123 pathlib costs every pod its import time
        server = Server(options.name, Journal(file), context)
        for port in options.ports:
            protocol, _, number = port.partition(":")
            if options.address_v6:  # first: the lab waits for IPv4's
                server.listen(protocol, options.address_v6, int(number))
            server.listen(protocol, options.address, int(number))
        threading.Event().wait()


if __name__ == "__main__":
    main()
