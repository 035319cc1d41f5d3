"""A connected TCP socket that counts the payload it carries, in the clear or under TLS.

The counts are of bytes written to and read from the socket: under TLS they hold the records and the handshake, so they
compare with what the network carried.
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import socket
import ssl
import struct
import termios
import time
from collections.abc import Callable
from typing import TypeVar

CHUNK = 65536
TCP_INFO_BYTES_RETRANS = 208
"""Offset of tcpi_bytes_retrans (u64) in struct tcp_info, include/uapi/linux/tcp.h."""
TCP_CLOSE = 7
"""tcpi_state, the first byte of struct tcp_info, of a connection that is over."""
ACKNOWLEDGED_LIMIT_S = 2.0
T = TypeVar("T")


class Channel:
    """A connection in the clear."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.sent_bytes = 0
        self.received_bytes = 0
        self.sent_again_bytes = 0
        """Payload that the kernel had to send again; known once the connection is closed."""

    def send(self, data: bytes) -> None:
        """Write everything."""
        self._write(data)

    def receive(self) -> bytes:
        """What has arrived, at least one byte; empty at the end of the stream."""
        return self._read()

    def finish(self) -> None:
        """Say that nothing more will be sent, and read what the peer still sends until it ends too."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)
        self.drain()

    def drain(self) -> None:
        """Read until the peer ends, and end nothing before it."""
        while self.receive():
            pass

    def close(self) -> None:
        """Close in order, once the peer has acknowledged everything: until then the kernel may send something again."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)
        if self.socket.fileno() >= 0:
            self._wait_acknowledged()
        self._note_retransmissions()
        self.socket.close()

    def abort(self) -> None:
        """Close by a reset."""
        self._note_retransmissions()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def _wait_acknowledged(self) -> None:
        deadline = time.monotonic() + ACKNOWLEDGED_LIMIT_S
        unacknowledged = array.array("i", [0])
        while time.monotonic() < deadline:
            fcntl.ioctl(self.socket, termios.TIOCOUTQ, unacknowledged)  # bytes, and one for the end of the stream
            is_over = self.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == TCP_CLOSE
            if is_over or not unacknowledged[0]:
                return
            time.sleep(0.001)

    def _note_retransmissions(self) -> None:
        if self.socket.fileno() >= 0:
            info = self.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_BYTES_RETRANS + 8)
            (self.sent_again_bytes,) = struct.unpack_from("=Q", info, TCP_INFO_BYTES_RETRANS)

    def _write(self, data: bytes) -> None:
        self.socket.sendall(data)
        self.sent_bytes += len(data)

    def _read(self) -> bytes:
        data = self.socket.recv(CHUNK)
        self.received_bytes += len(data)
        return data


class TLSChannel(Channel):
    """A connection under TLS; the handshake is made by the constructor."""

    def __init__(self, connection: socket.socket, context: ssl.SSLContext, server_name: str | None = None) -> None:
        super().__init__(connection)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._incoming, self._outgoing, server_side=server_name is None, server_hostname=server_name
        )
        self._drive(self._tls.do_handshake)

    def send(self, data: bytes) -> None:
        """Write everything."""
        self._drive(lambda: self._tls.write(data))

    def receive(self) -> bytes:
        """What has arrived, at least one byte; empty at the end of the stream."""
        try:
            return self._drive(lambda: self._tls.read(CHUNK))
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return b""

    def finish(self) -> None:
        """Close the TLS session, then the stream, and read what the peer still sends."""
        with contextlib.suppress(ssl.SSLError):
            self._tls.unwrap()
        with contextlib.suppress(OSError):
            self._flush()
            self.socket.shutdown(socket.SHUT_WR)
        while self._read():
            pass

    def drain(self) -> None:
        """Read until the peer ends the session and the stream, and end nothing before it."""
        super().drain()
        while self._read():
            pass

    def _drive(self, step: Callable[[], T]) -> T:
        while True:
            try:
                result = step()
            except ssl.SSLWantReadError:
                self._flush()
                if data := self._read():
                    self._incoming.write(data)
                else:
                    self._incoming.write_eof()
            else:
                self._flush()
                return result

    def _flush(self) -> None:
        if data := self._outgoing.read():
            self._write(data)
