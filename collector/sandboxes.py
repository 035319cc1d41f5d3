"""Other network namespaces on the node, found and read through /proc: one process of each is enough to see into it.

No namespace is entered. Needs a /proc of the node's PID namespace (hostPID) and the right to see other users'
namespaces (root, or CAP_SYS_PTRACE). Reads the formats of net/core/net-procfs.c, net/ipv4/fib_trie.c and
net/ipv6/addrconf.c. A pod may give its interfaces and control groups names of any bytes: listings are cut into lines
and words by ASCII's white space alone, which the kernel refuses in names of interfaces, and names are decoded whatever
they are.
"""

from __future__ import annotations

import functools
import ipaddress
import os
import re
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from .links import Counts
from .schema import TCP_STATES

_POD_UID: Final = re.compile(r"pod([0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}|[0-9a-f]{32})")
_LOCAL: Final = re.compile(r"\|-- ([0-9.]+)\n\s+/32 host LOCAL")
_RTF_GATEWAY: Final = 2
"""Of a route in net/route: it leads to a gateway, not to neighbours. include/uapi/linux/route.h."""
_INDEX: Final = re.compile(r"^(\d+)\t(\S+?)\s*:", re.MULTILINE)

_SOCKET_STATE: Final = re.compile(rb":[0-9A-F]{4} ([0-9A-F]{2}) [0-9A-F]{8}:[0-9A-F]{8} ")
"""Behind the port of a socket's other end, before its queues."""


@dataclass(frozen=True)
class Sandbox:
    """One network namespace: its inode, a process in it, and what it is."""

    inode: int
    folder: Path
    """The process's folder in /proc."""
    address: int
    """Its first global address as a 128-bit number, IPv4 mapped, IPv4 first; 0 where it has none. Where it has several,
    one of the interface by which the pod is reached."""
    pod_uid: str
    indexes: dict[str, int] = field(default_factory=dict)
    """ifindex by name, of interfaces that speak IPv4."""

    @functools.cached_property
    def namespace(self) -> Path:
        """What is the namespace's own while the process is in it."""
        return self.folder / "ns" / "net"

    @functools.cached_property
    def devices(self) -> Path:
        """Where its interfaces and their counts are listed."""
        return self.folder / "net" / "dev"


def find_sandboxes(proc: Path, own_inode: int) -> list[Sandbox]:
    """Every namespace but `own_inode` in which a visible process lives, once each."""
    first: dict[int, Path] = {}
    for entry in os.scandir(proc):
        if entry.name.isdecimal():
            try:
                inode = (proc / entry.name / "ns" / "net").stat().st_ino
            except OSError:  # it has ended, or is another user's
                continue
            if inode != own_inode:
                first.setdefault(inode, Path(entry.path))
    return [described for inode, folder in first.items() if (described := describe(inode, folder))]


def describe(inode: int, folder: Path) -> Sandbox | None:
    """What a process's /proc folder tells of its namespace; None where it has ended."""
    try:
        uid = _POD_UID.search(_text(folder / "cgroup"))
        return Sandbox(
            inode,
            folder,
            _address(folder / "net"),
            str(uid[1]).replace("_", "-") if uid else "",
            {name: int(index) for index, name in _INDEX.findall(_text(folder / "net" / "igmp"))},
        )
    except OSError:
        return None


def interfaces(sandbox: Sandbox) -> Iterator[tuple[str, Counts]]:
    """Name and counts of each interface but `lo`. Raises OSError where the process has ended or left its namespace."""
    if sandbox.namespace.stat().st_ino != sandbox.inode:
        raise ProcessLookupError(f"{sandbox.folder} has left its namespace")
    for line in sandbox.devices.read_bytes().splitlines()[2:]:
        name, _, numbers = line.rpartition(b":")
        name = name.strip()
        if name != b"lo":
            n = [int(number) for number in numbers.split()]
            yield name.decode("utf-8", "replace"), (n[0], n[1], n[2], n[3], n[8], n[9], n[10], n[11])


def tcp_sockets(sandbox: Sandbox) -> tuple[int, ...]:
    """How many TCP sockets the namespace has, in the order of `schema.SOCKET_COLUMNS`. Raises OSError as `interfaces`.

    Reads net/ipv4/tcp_ipv4.c's and net/ipv6/tcp_ipv6.c's listings. The kernel goes through the sockets of the whole
    node for each, so this is for once in a while.
    """
    counts: list[int] = []
    for name in ("tcp", "tcp6"):
        try:
            listing = (sandbox.folder / "net" / name).read_bytes()
        except FileNotFoundError:  # no IPv6
            listing = b""
        states = Counter(_SOCKET_STATE.findall(listing))
        counts += [states[b"%02X" % number] for number in range(1, len(TCP_STATES) + 1)]
    return tuple(counts)


def _address(net: Path) -> int:
    found = dict.fromkeys(map(ipaddress.IPv4Address, _LOCAL.findall(_text(net / "fib_trie"))))
    local = [address for address in found if not address.is_loopback and not address.is_link_local]
    if len(local) > 1:
        aside = _networks_aside(net)
        local = [address for address in local if not any(address in network for network in aside)] or local
    if local:
        return 0xFFFF_0000_0000 | int(local[0])
    try:
        lines = (net / "if_inet6").read_bytes().splitlines()
    except FileNotFoundError:  # no IPv6
        return 0
    scoped = (line.split() for line in lines)
    return next((int(address, 16) for address, _, _, scope, *_ in scoped if scope == b"00"), 0)


def _networks_aside(net: Path) -> list[ipaddress.IPv4Network]:
    """What further interfaces (a second network's, a tunnel's) are connected to: their addresses are not the pod's.

    The pod's own interface is eth0, as container runtimes name it, else the one of the default route.
    """
    routes = [line.split() for line in (net / "route").read_bytes().splitlines()[1:]]
    by_default = {route[0] for route in routes if int(route[1], 16) == int(route[7], 16) == 0}
    own = {b"eth0"} if any(route[0] == b"eth0" for route in routes) else by_default
    return [
        ipaddress.IPv4Network((_host_order(route[1]), _host_order(route[7]).bit_count()), strict=False)
        for route in routes
        if route[0] not in own and not int(route[3], 16) & _RTF_GATEWAY and int(route[7], 16)
    ]


def _host_order(text: bytes) -> int:
    """An address as net/ipv4/fib_trie.c prints it: the network's bytes as one number of the machine's."""
    return int.from_bytes(int(text, 16).to_bytes(4, sys.byteorder), "big")


def _text(path: Path) -> str:
    return path.read_bytes().decode("utf-8", "replace")
