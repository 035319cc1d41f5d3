"""UDP over IPv4 at a rate: frames of 60 bytes, made in columns, sent many at a call from the client's namespace."""

from __future__ import annotations

import ctypes
import ipaddress
import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from collector.netlink import in_namespace
from tests.collector.network import Network

FRAME_BYTES = 60
IP_BYTES = FRAME_BYTES - 14
FIRST_PORT, PORTS = 2_000, 60_000
_AT_ONCE = 500


class _Vector(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _Message(ctypes.Structure):
    """struct mmsghdr."""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint32),
        ("vectors", ctypes.c_void_p),
        ("vector_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
        ("sent", ctypes.c_uint32),
    )


class Generator:
    """Sends what a number names: datagrams of flow 0, 1, 2, ..., each of a tuple of its own, for `with`."""

    def __init__(self, network: Network, source: str = "10.1.0.2", destination: str = "10.2.0.2") -> None:
        def link(name: str, device: str) -> bytes:
            command = ["nsenter", f"--net={network.netns(name)}", "ip", "-j", "link", "show", device]
            (told,) = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            return bytes.fromhex(told["address"].replace(":", ""))

        head = link("node", "v1") + link("client", "eth0") + b"\x08\x00"
        ip = bytes([0x45, 0, 0, IP_BYTES, 0, 0, 0x40, 0, 64, 17, 0, 0])
        ip += ipaddress.ip_address(source).packed + ipaddress.ip_address(destination).packed
        words = np.frombuffer(ip, ">u2").astype(np.int64).sum()
        checksum = 0xFFFF ^ int((words & 0xFFFF) + (words >> 16))
        ip = ip[:10] + checksum.to_bytes(2, "big") + ip[12:]
        frame = head + ip + bytes(4) + (IP_BYTES - 20).to_bytes(2, "big") + bytes(2) + bytes(IP_BYTES - 28)
        self._frames: npt.NDArray[np.uint8] = np.tile(np.frombuffer(frame, np.uint8), (_AT_ONCE, 1))
        self._ports = self._frames[:, 34:38]
        self._vectors = (_Vector * _AT_ONCE)()
        self._messages = (_Message * _AT_ONCE)()
        for index in range(_AT_ONCE):
            self._vectors[index].base = self._frames[index].ctypes.data
            self._vectors[index].length = FRAME_BYTES
            self._messages[index].vectors = ctypes.addressof(self._vectors[index])
            self._messages[index].vector_count = 1
        self._send = ctypes.CDLL(None, use_errno=True).sendmmsg

        def opened() -> socket.socket:
            made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            made.bind(("eth0", 0))
            return made

        self._socket = in_namespace(network.netns("client"), opened)

    def __enter__(self) -> Generator:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, numbers: npt.NDArray[np.int64]) -> None:
        """One datagram of each of these flows, in order."""
        for first in range(0, len(numbers), _AT_ONCE):
            part = numbers[first : first + _AT_ONCE]
            ports = np.stack([part % PORTS + FIRST_PORT, part // PORTS + FIRST_PORT], axis=1).astype(">u2")
            self._ports[: len(part)] = ports.view(np.uint8).reshape(len(part), 4)
            done = 0
            while done < len(part):
                start = ctypes.byref(self._messages, done * ctypes.sizeof(_Message))
                count = self._send(self._socket.fileno(), start, len(part) - done, 0)
                if count < 0:
                    raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
                done += count


def ticks(seconds: float, every_s: float = 0.05) -> Iterator[int]:
    """The number of each tick, when it is time for it."""
    began = time.monotonic()
    for number in range(round(seconds / every_s)):
        time.sleep(max(0.0, began + number * every_s - time.monotonic()))
        yield number


def load(generator: Generator, seconds: float, flows_per_s: int, packets_each: int, every_s: float = 0.05) -> int:
    """New flows at a rate, the packets of each spread over as many ticks; returns how many flows there were."""
    new = round(flows_per_s * every_s)
    for number in ticks(seconds, every_s):
        youngest = (number + 1) * new
        generator.send(np.arange(max(0, youngest - packets_each * new), youngest))
    return round(seconds / every_s) * new
