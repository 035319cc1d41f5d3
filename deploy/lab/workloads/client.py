"""A client pod's program: takes a list of actions on stdin, performs each at its time, and writes what it saw of each.

One JSON object a line on stdout for every connection that it opened, lookups included. It reports only what a program
can know: the addresses of its own socket, the bytes it wrote and read, who answered by its own word, and how it ended.
"""

from __future__ import annotations

import json
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from . import dns
from .channel import Channel, TLSChannel

TIMEOUT_S = 2.5
IO_TIMEOUT_S = 30.0
BANNER_TIMEOUT_S = 0.3

Action = dict[str, Any]
Row = dict[str, Any]


class Client:
    """Performs actions, each on a thread of its own."""

    def __init__(self, job: dict[str, Any]) -> None:
        self._job = job
        self._context = ssl.create_default_context(cafile=job["certificate"])
        self._context.verify_flags |= ssl.VERIFY_X509_STRICT  # the default from Python 3.13 on
        self._lock = threading.Lock()
        self._failed = False
        self._datagram_peers: set[tuple[int, str, int]] = set()
        self._stream_peers: set[tuple[int, str, int]] = set()

    def run(self) -> int:
        """Perform everything; 0 where nothing unforeseen happened."""
        begin = time.monotonic()
        threads = []
        for action in self._job["actions"]:
            time.sleep(max(0.0, begin + action["at"] - time.monotonic()))
            thread = threading.Thread(target=self._perform, args=(action,))
            thread.start()
            threads.append(thread)
        for thread in threads:
            thread.join()
        return int(self._failed)

    def _perform(self, action: Action) -> None:
        try:
            if action["kind"] == "lookup":
                self._lookup(action, action["id"], action["scenario"])
                return
            address = action.get("address")
            if address is None:
                _, addresses = self._lookup(action, f"{action['id']}-dns", "lookup")
                address = addresses[0]
            if action["protocol"] == 17:
                self._datagrams(action, address)
            else:
                self._connection(action, address)
        except Exception as error:
            self._failed = True
            raise RuntimeError(f"action {action['id']} ({action['scenario']})") from error

    def _lookup(self, action: Action, number: str, scenario: str) -> tuple[int, list[str]]:
        server: str = action.get("dns", self._job["dns"])
        row = self._begin(action, number, scenario, server, 53, 17)
        row["service"] = self._job["dns_service"] if server == self._job["dns"] else None
        if action["kind"] != "lookup":  # the policy and the fate of the action are not those of its lookup
            row["denied_by"], row["tracked"] = None, True
        with self._datagram_socket(server, 53) as asked:
            asked.settimeout(TIMEOUT_S)
            row["src_ip"], row["src_port"] = asked.getsockname()
            query = dns.question(action["host"], row["src_port"], _asked_family(action))
            row["sent_bytes"] = asked.send(query)
            code = -1
            addresses: list[str] = []
            try:
                message = asked.recv(4096)
            except OSError as error:
                row["outcome"] = _failure(error)
            else:
                row["received_bytes"] = len(message)
                code, addresses = dns.answer(message)
                row["answer"] = "NXDOMAIN" if code == dns.NXDOMAIN else addresses
        self._end(row)
        return code, addresses

    def _datagrams(self, action: Action, address: str) -> None:
        row = self._begin(action, action["id"], action["scenario"], address, action["port"], 17)
        with self._datagram_socket(address, action["port"]) as sender:
            row["src_ip"], row["src_port"] = sender.getsockname()
            for size in action["sizes"]:
                row["sent_bytes"] += sender.send(b"x" * size)
                time.sleep(action["pause_s"])
        row["outcome"] = "no_reply"
        self._end(row)

    def _datagram_socket(self, address: str, port: int) -> socket.socket:
        """A connected socket from a port that was not used to this peer before: to the kernel's connection tracking
        a second exchange from the same port within two minutes would be the first one going on.
        """
        while True:
            opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            opened.connect((address, port))
            pair = (opened.getsockname()[1], address, port)
            with self._lock:
                if pair not in self._datagram_peers:
                    self._datagram_peers.add(pair)
                    return opened
            opened.close()

    def _connection(self, action: Action, address: str) -> None:
        row = self._begin(action, action["id"], action["scenario"], address, action["port"], 6)
        with self._stream_socket(action, address) as connection:
            row["src_ip"], row["src_port"] = connection.getsockname()[:2]
            began_ns = time.perf_counter_ns()
            try:
                _connect(connection, address, action["port"])
                row["connected_us"] = (time.perf_counter_ns() - began_ns) // 1000
            except OSError as error:
                row["outcome"] = _failure(error)
            else:
                self._converse(connection, action, row)
        self._end(row)

    def _stream_socket(self, action: Action, address: str) -> socket.socket:
        """A bound socket. Where the plan names no port, one that was not used to this peer before: the kernel may well
        give the same one twice within milliseconds, and what one connection is would then be a matter of clocks.
        """
        own, wanted = _own_address(address), action.get("source_port", 0)
        while True:
            opened = socket.socket(_family(address), socket.SOCK_STREAM)
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            opened.bind((own, wanted))
            pair = (opened.getsockname()[1], address, action["port"])
            with self._lock:
                if wanted or pair not in self._stream_peers:
                    self._stream_peers.add(pair)
                    return opened
            opened.close()

    def _converse(self, connection: socket.socket, action: Action, row: Row) -> None:
        channel = Channel(connection)
        row["head"] = _head(action)
        try:
            if "server_name" in action:
                channel = TLSChannel(connection, self._context, action["server_name"])
            KINDS[action["kind"]](channel, action, row)
        except ConnectionError:
            row["outcome"] = "reset"
        if action.get("abort"):
            channel.abort()
            row["outcome"] = "reset"
        channel.close()
        row["sent_bytes"], row["received_bytes"] = channel.sent_bytes, channel.received_bytes
        row["sent_again_bytes"] = channel.sent_again_bytes

    def _begin(self, action: Action, number: str, scenario: str, address: str, port: int, protocol: int) -> Row:
        return {
            "id": number,
            "scenario": scenario,
            "client": self._job["client"],
            "src_ip": None,
            "src_port": None,
            "dst_ip": address,
            "dst_port": port,
            "protocol": protocol,
            "service": action.get("service"),
            "backend": None,
            "sent_bytes": 0,
            "received_bytes": 0,
            "sent_again_bytes": 0,
            "received_again_bytes": 0,
            "outcome": "closed",
            "opened_ns": time.time_ns(),
            "closed_ns": 0,
            "denied_by": action.get("denied_by"),
            "tracked": action.get("tracked", True),
            "asked": action.get("host"),
            "mesh": action.get("mesh"),
            "connected_us": None,
            "head": None,
        }

    def _end(self, row: Row) -> None:
        row["closed_ns"] = time.time_ns()
        with self._lock:
            print(json.dumps(row), flush=True)


def converse_http(channel: Channel, action: Action, row: Row) -> None:
    """Send `requests` requests, one after the other, and read their answers; the last one asks the server to close."""
    requests = action.get("requests", 1)
    for index in range(requests):
        keep = index < requests - 1 or action.get("abort", False)
        body = b"x" * action.get("request_bytes", 0)
        head = f"{'POST' if body else 'GET'} {action['path']} HTTP/1.1\r\nHost: {action['server']}\r\n"
        head += f"Content-Length: {len(body)}\r\nConnection: {'keep-alive' if keep else 'close'}\r\n\r\n"
        channel.send(head.encode("ascii") + body)
        buffer = b""
        while b"\r\n\r\n" not in buffer:
            buffer += _expect(channel)
        top, _, rest = buffer.partition(b"\r\n\r\n")
        status, *lines = top.decode("latin-1").split("\r\n")
        if status.split()[1] != "200":
            raise RuntimeError(status)
        fields = {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
        row["backend"] = _backend(fields["x-served-by"])
        remaining = int(fields["content-length"]) - len(rest)
        while remaining > 0:
            remaining -= len(_expect(channel))
        if index < requests - 1:
            time.sleep(action.get("pause_s", 0.0))
    if not action.get("abort"):
        channel.drain()


def converse_echo(channel: Channel, action: Action, row: Row) -> None:
    """Read the greeting, then send each of `sizes` and wait until it came back."""
    greeting = b""
    while not greeting.endswith(b"\n"):
        greeting += _expect(channel)
    row["backend"] = _backend(greeting.decode("ascii"))
    for index, size in enumerate(action["sizes"]):
        if index:
            time.sleep(action.get("pause_s", 0.0))
        channel.send(b"x" * size)
        while size > 0:
            size -= len(_expect(channel))
    channel.finish()


def converse_upload(channel: Channel, action: Action, row: Row) -> None:
    """Send `size` bytes to a sink; it answers nothing but the end."""
    channel.send(b"x" * action["size"])
    channel.finish()


def converse_probe(channel: Channel, action: Action, row: Row) -> None:
    """As a port scanner: connect, read a greeting if one comes soon, leave."""
    channel.socket.settimeout(BANNER_TIMEOUT_S)
    try:
        greeting = channel.receive()
    except TimeoutError:
        greeting = b""
    channel.socket.settimeout(IO_TIMEOUT_S)
    if greeting:
        row["backend"] = _backend(greeting.decode("ascii"))
    channel.finish()


KINDS: dict[str, Callable[[Channel, Action, Row], None]] = {
    "http": converse_http,
    "echo": converse_echo,
    "upload": converse_upload,
    "probe": converse_probe,
}


def _head(action: Action) -> list[str] | None:
    """Protocol, server name, method and path of what the client says first; None where that is neither TLS nor HTTP."""
    if "server_name" in action:
        return ["tls", action["server_name"], "", ""]
    if action["kind"] != "http":
        return None
    return ["http1", action["server"].strip("[]"), "POST" if action.get("request_bytes") else "GET", action["path"]]


def _expect(channel: Channel) -> bytes:
    """At least one byte; where the peer ends before it has said everything, that is as good as a reset."""
    if data := channel.receive():
        return data
    raise ConnectionResetError("the peer ended early")


def _backend(word: str) -> dict[str, Any]:
    """Who answered: `NAMESPACE/POD ADDRESS PORT`, or `NAME ADDRESS PORT` for what is no pod."""
    name, address, port = word.split()
    namespace, slash, pod = name.partition("/")
    who = {"namespace": namespace, "pod": pod} if slash else {"name": name}
    return {**who, "ip": address, "port": int(port)}


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _asked_family(action: Action) -> socket.AddressFamily:
    return socket.AF_INET6 if action.get("ipv6") else socket.AF_INET


def _own_address(address: str) -> str:
    """The source address the kernel would choose; connecting a datagram socket sends nothing."""
    with socket.socket(_family(address), socket.SOCK_DGRAM) as probe:
        probe.connect((address, 9))
        own: str = probe.getsockname()[0]
        return own


def _connect(connection: socket.socket, address: str, port: int) -> None:
    connection.settimeout(TIMEOUT_S)
    connection.connect((address, port))
    connection.settimeout(IO_TIMEOUT_S)


def _failure(error: OSError) -> str:
    return "refused" if isinstance(error, ConnectionRefusedError) else "no_reply"


def main() -> None:
    """Read the job, perform it, exit 1 where something happened that the plan does not foresee."""
    sys.exit(Client(json.load(sys.stdin)).run())


if __name__ == "__main__":
    main()
