"""Namespaces as a /proc tells them; the tree is made here, in the kernel's formats."""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from collector.sandboxes import Sandbox, describe, find_sandboxes, interfaces, tcp_sockets
from collector.schema import SOCKET_COLUMNS

HEADINGS = "bytes packets errs drop fifo frame compressed multicast"
DEV = f"""Inter-| Receive | Transmit
 face |{HEADINGS}|{HEADINGS}
    lo:     100       1    0 0    0 0          0 0      100       1    0 0    0 0       0 0
  eth0: 1234567    2345    3    4    0 0          0 0  7654321    5432    5    6    0 0       0 0
net1.10:18446744073709551615 9 0 0 0 0 0 0 1 2 0 0 0 0 0 0
"""
FIB = """Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 10.244.1.0
        /24 link UNICAST
Local:
     |-- 10.244.1.0
        /24 link UNICAST
     |-- 10.244.1.7
        /32 host LOCAL
     |-- 10.244.1.255
        /32 link BROADCAST
        |-- 127.0.0.1
           /32 host LOCAL
        |-- 169.254.1.1
           /32 host LOCAL
"""
LOOPBACK = "Local:\n        |-- 127.0.0.1\n           /32 host LOCAL\n"
INET6 = (
    "00000000000000000000000000000001 01 80 10 80       lo\n"
    "fe800000000000000000000000000007 02 40 20 80     eth0\n"
    "fd000244000100000000000000000007 02 40 00 80     eth0\n"
)
IGMP = "Idx\tDevice    : Count Querier\n1\tlo        :     1      V3\n2\teth0      :     1      V3\n"
UID = "0c1f9c3e-1d2a-4b5c-8d7e-9f0a1b2c3d4e"
SYSTEMD = (
    f"0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{UID.replace('-', '_')}.slice/cri-x.scope\n"
)
CGROUPFS = f"0::/kubepods/besteffort/pod{UID}/0123456789abcdef\n"


def listed(routes: Sequence[tuple[str, str, int, bool]]) -> str:
    """net/route: an address is its bytes read as a number of the machine's."""

    def printed(address: ipaddress.IPv4Address) -> str:
        return f"{int.from_bytes(address.packed, sys.byteorder):08X}"

    lines = ["Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT"]
    for interface, network, length, is_by_gateway in routes:
        mask = ipaddress.IPv4Network((0, length)).netmask
        flags = 3 if is_by_gateway else 1
        lines.append(f"{interface} {printed(ipaddress.IPv4Address(network))} 0 {flags} 0 0 0 {printed(mask)} 0 0 0")
    return "\n".join(lines) + "\n"


def process(
    proc: Path,
    pid: int,
    inode_of: Path,
    *,
    fib: str = FIB,
    inet6: str | None = INET6,
    cgroup: str = "0::/\n",
    routes: Sequence[tuple[str, str, int, bool]] = (),
) -> None:
    """Its routes are (interface, network, prefix length, by a gateway)."""
    folder = proc / str(pid)
    (folder / "net").mkdir(parents=True)
    (folder / "ns").mkdir()
    (folder / "ns" / "net").symlink_to(inode_of)
    texts = {"net/dev": DEV, "net/fib_trie": fib, "net/igmp": IGMP, "net/route": listed(routes), "cgroup": cgroup}
    if inet6 is not None:
        texts["net/if_inet6"] = inet6
    for name, text in texts.items():
        (folder / name).write_text(text)


@pytest.fixture
def namespaces(tmp_path: Path) -> tuple[Path, Path]:
    """Two files whose inodes stand for two namespaces."""
    paths = tmp_path / "own", tmp_path / "other"
    for path in paths:
        path.touch()
    return paths


def test_a_namespace_is_found_once_and_the_nodes_own_is_left_out(tmp_path: Path, namespaces: tuple[Path, Path]) -> None:
    own, other = namespaces
    proc = tmp_path / "proc"
    for pid, namespace in ((1, own), (20, other), (21, other), (22, own)):
        process(proc, pid, namespace)
    (proc / "sys").mkdir()
    (proc / "30").mkdir()  # ended meanwhile: nothing in it can be read
    (sandbox,) = find_sandboxes(proc, own.stat().st_ino)
    assert sandbox.inode == other.stat().st_ino
    assert sandbox.folder.name in ("20", "21")
    assert sandbox.indexes == {"lo": 1, "eth0": 2}


@pytest.mark.parametrize(
    ("fib", "inet6", "expected"),
    [
        (FIB, INET6, "::ffff:10.244.1.7"),
        (LOOPBACK, INET6, "fd00:244:1::7"),
        (LOOPBACK, None, "::"),
        (LOOPBACK, "", "::"),
    ],
)
def test_the_address_is_the_first_global_one(
    tmp_path: Path, namespaces: tuple[Path, Path], fib: str, inet6: str | None, expected: str
) -> None:
    process(tmp_path, 20, namespaces[1], fib=fib, inet6=inet6)
    sandbox = describe(1, tmp_path / "20")
    assert sandbox is not None
    assert ipaddress.IPv6Address(sandbox.address) == ipaddress.IPv6Address(expected)


DEFAULT = str(ipaddress.IPv4Address(0))
TUNNEL = """Local:
     |-- 10.99.0.1
        /32 host LOCAL
     |-- 10.244.1.7
        /32 host LOCAL
"""
"""What fib_trie has beside the routes, with the lower address first."""


@pytest.mark.parametrize(
    ("routes", "expected"),
    [
        (
            [("eth0", DEFAULT, 0, True), ("eth0", "10.244.1.0", 24, False), ("tun0", "10.99.0.0", 24, False)],
            "10.244.1.7",
        ),
        (
            [("eth0", "169.254.1.1", 32, False), ("eth0", DEFAULT, 0, True), ("tun0", "10.99.0.0", 16, False)],
            "10.244.1.7",
        ),
        (
            [("tun0", DEFAULT, 0, False), ("tun0", "10.99.0.0", 24, False), ("eth0", "10.244.1.0", 24, False)],
            "10.244.1.7",
        ),
        (
            [("ens3", DEFAULT, 0, True), ("ens3", "10.244.1.0", 24, False), ("net1", "10.99.0.0", 24, False)],
            "10.244.1.7",
        ),
        ([("net1", "10.99.0.0", 24, False), ("net2", "10.244.0.0", 16, False)], "10.99.0.1"),
        ([], "10.99.0.1"),
    ],
    ids=["second network", "routed pod", "all by the tunnel", "no eth0", "nothing to tell by", "no routes"],
)
def test_of_several_addresses_the_pods_own_interface_tells(
    tmp_path: Path, namespaces: tuple[Path, Path], routes: list[tuple[str, str, int, bool]], expected: str
) -> None:
    process(tmp_path, 20, namespaces[1], fib=TUNNEL, routes=routes)
    sandbox = describe(1, tmp_path / "20")
    assert sandbox is not None
    assert ipaddress.IPv6Address(sandbox.address) == ipaddress.IPv6Address(f"::ffff:{expected}")


@pytest.mark.parametrize(
    ("cgroup", "expected"), [(SYSTEMD, UID), (CGROUPFS, UID), ("0::/system.slice/pod.service\n", "")]
)
def test_the_pods_uid_is_in_the_cgroups_path(
    tmp_path: Path, namespaces: tuple[Path, Path], cgroup: str, expected: str
) -> None:
    process(tmp_path, 20, namespaces[1], cgroup=cgroup)
    sandbox = describe(1, tmp_path / "20")
    assert sandbox is not None
    assert sandbox.pod_uid == expected


def test_counts_are_read_by_column_and_lo_is_left_out(tmp_path: Path, namespaces: tuple[Path, Path]) -> None:
    own, other = namespaces
    process(tmp_path / "proc", 20, other)
    (sandbox,) = find_sandboxes(tmp_path / "proc", own.stat().st_ino)
    assert dict(interfaces(sandbox)) == {
        "eth0": (1234567, 2345, 3, 4, 7654321, 5432, 5, 6),
        "net1.10": (2**64 - 1, 9, 0, 0, 1, 2, 0, 0),
    }


def test_a_process_that_has_changed_its_namespace_is_not_read(tmp_path: Path, namespaces: tuple[Path, Path]) -> None:
    own, other = namespaces
    process(tmp_path / "proc", 20, other)
    (sandbox,) = find_sandboxes(tmp_path / "proc", own.stat().st_ino)
    (sandbox.folder / "ns" / "net").unlink()
    (sandbox.folder / "ns" / "net").symlink_to(own)
    with pytest.raises(OSError, match="has left its namespace"):
        list(interfaces(sandbox))


TCP_HEADINGS = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode"
TCP_REST = "00000000:00000000 00:00000000 00000000     0        0 17 1 0000000000000000 100 0 0 10 0"


def test_sockets_are_counted_by_family_and_state(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    ends = "0700F40A:1F90 0A02F40A:9C40"
    states = ("0A", "01", "01", "06", "0B")
    lines = [f"{number:4d}: {ends} {state} {TCP_REST}" for number, state in enumerate(states)]
    (tmp_path / "net" / "tcp").write_text("\n".join([TCP_HEADINGS, *(line.ljust(149) for line in lines), ""]))
    sandbox = Sandbox(1, tmp_path, 0, "")
    found = dict(zip(SOCKET_COLUMNS, tcp_sockets(sandbox), strict=True))
    expected = {"tcp_listen": 1, "tcp_established": 2, "tcp_timewait": 1, "tcp_closing": 1}
    assert {name: count for name, count in found.items() if count} == expected
    six = f"   0: {'0' * 32}:1F90 {'0' * 32}:0000 0A {TCP_REST}\n"
    (tmp_path / "net" / "tcp6").write_text(f"{TCP_HEADINGS}\n{six}")
    assert dict(zip(SOCKET_COLUMNS, tcp_sockets(sandbox), strict=True))["tcp6_listen"] == 1


def test_names_of_any_bytes_break_no_reading(tmp_path: Path) -> None:
    """The kernel takes every byte in a name but NUL, `/`, `:` and white space."""
    name = b"\xff\x1c\x85\xe2\x80"
    (tmp_path / "net").mkdir()
    (tmp_path / "ns").mkdir()
    (tmp_path / "ns" / "net").touch()
    (tmp_path / "cgroup").write_bytes(CGROUPFS.encode().replace(b"abcdef", name))
    (tmp_path / "net" / "dev").write_bytes(DEV.encode().replace(b"net1.10", name))
    (tmp_path / "net" / "fib_trie").write_text(
        FIB.replace("10.244.1.255", "10.9.0.1").replace("link BROAD", "host LOCAL")
    )
    (tmp_path / "net" / "route").write_bytes(
        listed([("eth0", "10.244.1.0", 24, False), ("net1.10", "10.9.0.0", 16, False)])
        .encode()
        .replace(b"net1.10", name)
    )
    (tmp_path / "net" / "if_inet6").write_bytes(INET6.encode().replace(b"      lo", name))
    (tmp_path / "net" / "igmp").write_bytes(IGMP.encode().replace(b"lo        ", name))
    sandbox = describe((tmp_path / "ns" / "net").stat().st_ino, tmp_path)
    assert sandbox is not None
    assert (sandbox.pod_uid, sandbox.address & 0xFFFF_FFFF) == (UID, int(ipaddress.ip_address("10.244.1.7")))
    assert [shown for shown, _ in interfaces(sandbox)] == ["eth0", name.decode("utf-8", "replace")]
    (tmp_path / "net" / "fib_trie").write_text(LOOPBACK)
    alone = describe(sandbox.inode, tmp_path)
    assert alone is not None
    assert alone.address == int(ipaddress.ip_address("fd00:244:1::7"))
