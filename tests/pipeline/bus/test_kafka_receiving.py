"""Pieces of answers; tests/integration/test_bus_kafka.py has a real broker."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from kafka import errors
from kafka.net.transport import KafkaSSLTransport, KafkaTCPTransport

from pipeline.bus.kafka_receiving import PIECE_BYTES, receive_large_pieces

SMALL = 4096
"""What the client asks for by itself."""


class Socket:
    """A socket that notes how much was asked for."""

    def __init__(self, inner: socket.socket) -> None:
        self._inner = inner
        self.asked: list[int] = []

    def recv(self, size: int) -> bytes:
        self.asked.append(size)
        return self._inner.recv(size)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, Socket]]:
    theirs, ours = socket.socketpair()
    ours.setblocking(False)
    with theirs, ours:
        yield theirs, Socket(ours)


def connected(transport: Any) -> Any:
    """The transport, as a consumer's connections are made."""

    async def build(node: str, timeout_at: float | None = None) -> Any:
        assert (node, timeout_at) == ("node", 3.0)
        return transport

    manager = SimpleNamespace(_build_transport=build)
    receive_large_pieces(SimpleNamespace(_manager=manager))
    return asyncio.run(manager._build_transport("node", timeout_at=3.0))


def test_what_is_there_is_received_in_one_piece(pair: tuple[socket.socket, Socket]) -> None:
    theirs, ours = pair
    transport = connected(KafkaTCPTransport(None, ours))
    theirs.sendall(bytes(10 * SMALL))
    assert transport._sock_recv() == (bytes(10 * SMALL), None)
    assert ours.asked == [PIECE_BYTES]


def test_where_nothing_is_there_the_client_waits(pair: tuple[socket.socket, Socket]) -> None:
    _, ours = pair
    assert connected(KafkaTCPTransport(None, ours))._sock_recv() == (b"", None)


def test_an_end_and_an_error_are_the_clients_own(pair: tuple[socket.socket, Socket]) -> None:
    theirs, ours = pair
    transport = connected(KafkaTCPTransport(None, ours))
    theirs.sendall(b"last")
    theirs.close()
    assert transport._sock_recv() == (b"last", None)
    nothing, ended = transport._sock_recv()
    assert (nothing, type(ended)) == (b"", errors.KafkaConnectionError)
    ours._inner.close()
    nothing, broken = transport._sock_recv()
    assert (nothing, type(broken)) == (b"", errors.KafkaConnectionError)


def test_tls_is_left_alone(pair: tuple[socket.socket, Socket]) -> None:
    transport = KafkaSSLTransport.__new__(KafkaSSLTransport)
    assert connected(transport) is transport
    assert "_sock_recv" not in vars(transport)
