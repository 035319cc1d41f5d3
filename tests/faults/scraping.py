"""Bad scrapers in a process of their own: `python -m tests.faults.scraping HOST PORT`, until it is ended.

Every second a hundred ask at once: most read all, some stop in the middle and stay, some hang up with a reset.
"""

from __future__ import annotations

import select
import socket
import struct
import sys
import time
from contextlib import suppress
from typing import Final

PARALLEL: Final = 100
STUCK_EACH: Final = 2
"""So many of each second's are stuck; they stay for ten seconds."""
RUDE_EACH: Final = 10
STAY: Final = 10
ASK: Final = b"GET /metrics HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n"
RESET: Final = struct.pack("ii", 1, 0)


def main() -> None:
    address = sys.argv[1], int(sys.argv[2])
    stuck: list[socket.socket] = []
    while True:
        began_s = time.monotonic()
        them = []
        for number in range(PARALLEL):
            with suppress(OSError):
                one = socket.create_connection(address, timeout=10)
                one.sendall(ASK)
                if number < STUCK_EACH:
                    stuck.append(one)
                else:
                    them.append(one)
        print("asked", flush=True)
        for one in them[:RUDE_EACH]:
            with suppress(OSError):
                one.recv(10)
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            one.close()
        read_all(them[RUDE_EACH:])
        for one in stuck[: -STUCK_EACH * STAY]:
            one.close()
        del stuck[: -STUCK_EACH * STAY]
        time.sleep(max(0.0, began_s + 1 - time.monotonic()))


def read_all(them: list[socket.socket]) -> None:
    """Read what each has to say, or what comes within ten seconds."""
    open_ones, until_s = set(them), time.monotonic() + 10
    while open_ones and time.monotonic() < until_s:
        ready, _, _ = select.select(list(open_ones), [], [], 1.0)
        for one in ready:
            try:
                is_over = not one.recv(1 << 20)
            except OSError:
                is_over = True
            if is_over:
                open_ones.discard(one)
    for one in them:
        one.close()


if __name__ == "__main__":
    main()
