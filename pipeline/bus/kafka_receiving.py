"""What brokers answer is received in pieces as large as the kernel has them.

kafka-python (3.0.12) asks a socket for 4 KiB at a time, a system call and a piece of memory for each. Of an answer of
5 MiB that is a tenth of what reading and cutting it costs. The client has no public way to say otherwise. The
invariant: whatever is not plainly bytes (an end, an error, nothing there yet) is the client's own affair, as before.
"""

from __future__ import annotations

from typing import Any, Final

from kafka.net.transport import KafkaSSLTransport

PIECE_BYTES: Final = 256 * 1024


def receive_large_pieces(consumer: Any) -> None:
    """Have the connections that the consumer makes from now on receive so. TLS has records of 16 KiB at most, and is
    left alone."""
    manager = consumer._manager
    build = manager._build_transport

    async def built(*arguments: Any, **named: Any) -> Any:
        transport = await build(*arguments, **named)
        if not isinstance(transport, KafkaSSLTransport):
            _receive_large_pieces(transport)
        return transport

    manager._build_transport = built


def _receive_large_pieces(transport: Any) -> None:
    sock, receive_small = transport._sock, transport._sock_recv

    def receive() -> tuple[bytes, Exception | None]:
        try:
            piece = sock.recv(PIECE_BYTES)
        except OSError:
            piece = b""
        return (piece, None) if piece else receive_small()

    transport._sock_recv = receive
