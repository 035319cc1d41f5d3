"""The lab's sockets say what the kernel sent again when nothing more can be."""

from __future__ import annotations

import socket

import pytest

from deploy.lab.workloads.channel import Channel

PAYLOAD = b"x" * 40_000


def test_closing_waits_until_the_peer_has_acknowledged_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """The peer has room for a part of it, and reads on while the other end waits."""
    waits: list[int] = []
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as peer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        peer.connect(listener.getsockname())
        accepted, _ = listener.accept()
        channel = Channel(accepted)
        monkeypatch.setattr("time.sleep", lambda _: waits.append(len(peer.recv(len(PAYLOAD)))))
        channel.send(PAYLOAD)
        channel.close()
        left = 0
        while data := peer.recv(len(PAYLOAD)):
            left += len(data)
    assert sum(waits) > 0
    assert sum(waits) + left == len(PAYLOAD)


def test_closing_what_the_peer_has_reset_waits_for_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as peer:
        accepted, _ = listener.accept()
        channel = Channel(accepted)
        channel.send(PAYLOAD)
        Channel(peer).abort()
        channel.close()
    assert accepted.fileno() == -1
