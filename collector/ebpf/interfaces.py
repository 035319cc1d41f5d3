"""The program on every interface that it belongs on: put there as interfaces appear, forgotten as they go.

A thread of its own listens to the kernel's link events, so that a new pod's first packets are counted; it also looks
every RESCAN_S, should an event have been lost. What cannot be attached is said once and counted at no interface.
"""

from __future__ import annotations

import errno
import logging
import os
import selectors
import socket
import threading
from collections import Counter
from collections.abc import Set
from pathlib import Path
from typing import Final

from ..errors import TransientError
from ..links import Points, capture_paths
from ..metrics import Metrics
from ..netlink import NETLINK_ROUTE, in_namespace, open_socket, receive_pending
from .program import Program

_log = logging.getLogger(__name__)

RESCAN_S: Final = 5.0
_LINK_GROUP: Final = 1 << 0  # RTNLGRP_LINK is 1
_GONE: Final = (errno.ENODEV, errno.ENXIO)


class Interfaces:
    """Keeps a program on the interfaces of one network namespace, from `start` to `stop`."""

    def __init__(self, program: Program, metrics: Metrics, netns: Path | None) -> None:
        self._program = program
        self._metrics = metrics
        self._netns = netns
        self._uplinks: set[int] = set()
        self._refused: set[int] = set()
        self._sockets: tuple[socket.socket, socket.socket] | None = None
        self._wake: int | None = None
        self._thread: threading.Thread | None = None

    @property
    def uplinks(self) -> Set[int]:
        """The interfaces that are or were the node's own, by index."""
        return self._uplinks

    def start(self) -> None:
        """Attach to what is there, then follow. Raises OSError, TransientError."""
        self._sockets = in_namespace(
            self._netns, lambda: (open_socket(NETLINK_ROUTE), open_socket(NETLINK_ROUTE, _LINK_GROUP))
        )
        self._look()
        waker, self._wake = os.pipe2(os.O_CLOEXEC)
        self._thread = threading.Thread(target=self._follow, args=(waker,), name="interfaces", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop following and detach everywhere; safe to call twice."""
        if self._thread is not None and self._wake is not None:
            os.close(self._wake)
            self._thread.join()
            self._thread = self._wake = None
        for sock in self._sockets or ():
            sock.close()
        self._sockets = None
        try:
            in_namespace(self._netns, self._program.detach_all)
        except OSError:  # the namespace has gone, and its interfaces with it
            self._program.detach_all()

    def _follow(self, waker: int) -> None:
        assert self._sockets is not None  # noqa: S101 - start has set it
        _, events = self._sockets
        with selectors.DefaultSelector() as selector:
            selector.register(waker, selectors.EVENT_READ)
            selector.register(events, selectors.EVENT_READ)
            while all(key.fd != waker for key, _ in selector.select(RESCAN_S)):
                try:
                    receive_pending(events)
                    self._look()
                except (OSError, TransientError) as error:
                    _log.warning("ebpf: interfaces cannot be listed, trying again: %s", error)
        os.close(waker)

    def _look(self) -> None:
        """Attach to what is new and detach from what has gone."""
        assert self._sockets is not None  # noqa: S101 - start has set it
        flaws: Counter[str] = Counter()
        points, passed = capture_paths(self._sockets[0], flaws)
        for reason, count in flaws.items():
            self._metrics.add("malformed_messages_total", count, reason=reason)
        self._refused &= points.keys()
        self._uplinks |= {ifindex for ifindex, kind in points.items() if kind == "node"}
        self._program.tell_passed((points.keys() - self._refused) | passed)
        in_namespace(self._netns, lambda: self._change(points))
        self._metrics.set("attached_interfaces", len(self._program.attached))

    def _change(self, points: Points) -> None:
        """New ones first: to ask whether the others are still there takes a lock of the kernel's for each."""
        before = dict(self._program.attached)
        for ifindex, kind in before.items():
            if points.get(ifindex) != kind:
                self._program.detach(ifindex)
        self._attach(points)
        for ifindex in before.keys() & self._program.attached.keys():
            if not self._program.holds(ifindex):
                self._program.detach(ifindex)
        self._attach(points)

    def _attach(self, points: Points) -> None:
        for ifindex in points.keys() - self._program.attached.keys() - self._refused:
            try:
                self._program.attach(ifindex, points[ifindex])
            except OSError as error:
                if error.errno not in _GONE:
                    self._refused.add(ifindex)
                    _log.warning(
                        "ebpf: interface %d cannot be attached to, its traffic is not seen: %s", ifindex, error
                    )
