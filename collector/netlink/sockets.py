"""Netlink sockets: opened in any network namespace, dumped, and drained of events.

A socket belongs to the namespace of the thread that opened it, for as long as it lives. So a namespace is entered only
by a short-lived thread, and no thread of the agent ever has to find its way back.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from ..errors import TransientError
from .messages import NLM_F_DUMP_INTR, NLMSG_DONE, NLMSG_ERROR, Messages

NETLINK_ROUTE = 0
NETLINK_NETFILTER = 12

_NLM_F_REQUEST = 0x1
_NLM_F_DUMP = 0x300
_CLONE_NEWNET = 0x40000000
_SO_RCVBUFFORCE = 33
_DUMP_TIMEOUT_S = 10.0
_DUMP_ATTEMPTS = 3
_PENDING_BYTES = 64 * 1024 * 1024

T = TypeVar("T")


def in_namespace(netns: Path | None, action: Callable[[], T]) -> T:
    """Run `action` in a network namespace, given as a path like /proc/PID/ns/net; None is the namespace of the process.

    Also /proc/sys/net is that namespace's own while `action` runs. Raises OSError where it cannot be entered.
    """
    if netns is None:
        return action()
    outcome: list[T] = []
    failure: list[BaseException] = []

    def enter() -> None:
        try:
            descriptor = os.open(netns, os.O_RDONLY | os.O_CLOEXEC)
            try:
                libc = ctypes.CDLL(None, use_errno=True)  # os.setns exists from Python 3.12 on
                if libc.setns(descriptor, _CLONE_NEWNET) != 0:
                    number = ctypes.get_errno()
                    raise OSError(number, os.strerror(number), str(netns))
            finally:
                os.close(descriptor)
            outcome.append(action())
        except BaseException as error:  # noqa: BLE001 - it is raised again below, in the caller's thread
            failure.append(error)

    thread = threading.Thread(target=enter, name="netns")
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return outcome[0]


def open_socket(protocol: int, groups: int = 0, buffer_bytes: int = 0) -> socket.socket:
    """A bound netlink socket in the calling thread's namespace, listening to the multicast `groups` (a bit mask).

    `buffer_bytes` is forced past the system's limit where the privileges allow it, else asked for.
    """
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
    try:
        if buffer_bytes:
            try:
                sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, buffer_bytes)
            except PermissionError:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
        sock.bind((0, groups))
    except OSError:
        sock.close()
        raise
    return sock


def dump(sock: socket.socket, kind: int, payload: bytes) -> Messages:
    """Ask for everything of one message type and return the messages, without the end mark.

    A dump that the kernel marks as interrupted by a change (NLM_F_DUMP_INTR) is asked for again, twice; the last one is
    returned in any case, so a caller must bear an entry told twice or left out. Raises OSError with the kernel's errno,
    TransientError where the kernel does not answer.
    """
    for _ in range(_DUMP_ATTEMPTS):
        messages, interrupted = _dump_once(sock, kind, payload)
        if not interrupted:
            break
    return messages


def _dump_once(sock: socket.socket, kind: int, payload: bytes) -> tuple[Messages, bool]:
    sock.settimeout(_DUMP_TIMEOUT_S)
    sock.send(struct.pack("=IHHII", 16 + len(payload), kind, _NLM_F_REQUEST | _NLM_F_DUMP, 0, 0) + payload)
    messages, interrupted = Messages(), False
    while True:
        try:
            count = messages.receive(sock)
        except TimeoutError:
            raise TransientError(f"netlink: no answer to dump {kind:#x} within {_DUMP_TIMEOUT_S:g} s") from None
        if not count:
            continue
        kinds, flags = messages.kinds_of_last(count)
        interrupted = interrupted or bool((flags & NLM_F_DUMP_INTR).any())
        if kinds[-1] in (NLMSG_DONE, NLMSG_ERROR):
            number = messages.error_of_last()
            messages.drop_last(1)
            if number:
                raise OSError(number, os.strerror(number))
            return messages, interrupted


def receive_pending(sock: socket.socket) -> tuple[Messages, int]:
    """Receive all events that wait, up to a bounded amount; returns them and how often the kernel reported an overrun.

    After an overrun (ENOBUFS) the events before it are still delivered and those dropped are gone: the caller resyncs.
    """
    sock.setblocking(False)
    messages, overruns = Messages(), 0
    while messages.size_bytes < _PENDING_BYTES:
        try:
            messages.receive(sock)
        except BlockingIOError:
            break
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            overruns += 1
    return messages, overruns
