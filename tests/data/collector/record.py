"""Records the conntrack messages beside it afresh: `python -m tests.data.collector.record` as root."""

from __future__ import annotations

import socket
import struct
import subprocess
import time
from pathlib import Path

from collector.connections import MESSAGE_GET
from collector.netlink import NETLINK_NETFILTER, dump, in_namespace, open_socket, receive_pending
from tests.collector.network import connected, echo_all, routed_network, serving, transfer

HERE = Path(__file__).parent


def main() -> None:
    """Make one connection of each shape, then write the kernel's bytes and what conntrack(8) prints of the table."""
    with routed_network() as network:
        node, client = network.netns("node"), network.netns("client")
        for name in ("acct", "timestamp"):
            network.run("node", "sysctl", "-qw", f"net.netfilter.nf_conntrack_{name}=1")
        events = in_namespace(node, lambda: open_socket(NETLINK_NETFILTER, 4, 1 << 22))
        queries = in_namespace(node, lambda: open_socket(NETLINK_NETFILTER, 0, 1 << 22))
        udp = in_namespace(client, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        ping = in_namespace(client, lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP))
        udp.sendto(b"question", ("10.96.0.10", 80))
        ping.sendto(struct.pack("!BBHHH", 8, 0, 0xFFFF - 0x0800 - 7, 7, 0), ("10.2.0.2", 0))
        with serving(network, "10.2.0.2", echo_all), serving(network, "fd02::2", echo_all):
            for address, port in (("10.96.0.10", 80), ("10.96.0.10", 81), ("fd96::10", 80)):
                with connected(network, address, port) as sock:
                    transfer(sock, 5000)
            with connected(network, "10.96.0.10", 80) as sock:
                transfer(sock, 10)
                time.sleep(0.3)
                command = ["nsenter", f"--net={node}", "conntrack", "-o", "extended,id,timestamp", "-L", "-f"]
                text = "".join(
                    subprocess.run([*command, family], check=True, capture_output=True, text=True).stdout
                    for family in ("ipv4", "ipv6")
                )
                table = dump(queries, MESSAGE_GET, struct.pack("=BBH", 0, 0, 0))
        network.run("node", "conntrack", "-F")
        ended, _ = receive_pending(events)
        for sock in (events, queries, udp, ping):
            sock.close()
    (HERE / "conntrack.txt").write_text(text)
    (HERE / "conntrack.dump").write_bytes(b"".join(table.contents()))
    (HERE / "conntrack.destroy").write_bytes(b"".join(ended.contents()))


if __name__ == "__main__":
    main()
