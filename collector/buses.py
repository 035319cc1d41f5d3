"""The address of a bus, as every part takes it: `file://DIR` or `kafka://HOST:PORT[,HOST:PORT]`. Pure.

The invariant: what is wrong with an address is known before anybody connects, to `flowatlas config check` too.
"""

from __future__ import annotations

import re
from typing import Final

FILE: Final = "file://"
KAFKA: Final = "kafka://"
WANTED: Final = "file://DIR or kafka://HOST:PORT[,HOST:PORT]"
_SERVER: Final = re.compile(r"(?:[\w.-]+|\[[0-9A-Fa-f.]*:[0-9A-Fa-f:.]+(?:%[\w.-]+)?\]):0*([1-9][0-9]{0,4})")
_MOST: Final = 65535


def is_bus(url: str) -> bool:
    """Whether it is an address of either kind."""
    return bool(url.removeprefix(FILE).strip("/")) if url.startswith(FILE) else bool(servers_of(url))


def servers_of(url: str) -> list[str]:
    """The HOST:PORT of a kafka:// address, IPv6 in brackets; none where it is another, or not all of them are such."""
    servers = url.removeprefix(KAFKA).removesuffix("/").split(",") if url.startswith(KAFKA) else []
    found = [_SERVER.fullmatch(server) for server in servers]
    return servers if all(match and int(match[1]) <= _MOST for match in found) else []


def shown(url: str) -> str:
    """An address for a message: without the name and password that somebody wrote into it."""
    return repr(re.sub(r"//.*@", "//...@", url))
