"""The eBPF program: loaded, put on interfaces, and its tables emptied.

Whatever it holds in the kernel goes when the process goes: programs hang on TCX links, which end with their file
descriptors. Kernels before 6.6 have none: there the programs are clsact filters, which stay after a crash and are
replaced by the next start. The invariant: `take` returns every packet counted before it was called, and none twice.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
from collections.abc import Mapping, Set
from importlib import resources
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from ..errors import ConfigError
from . import libbpf
from .layout import CONVERSATION, COUNTS, EGRESS, INGRESS, MISSED, MISSED_REASONS

OBJECT: Final = "flow.bpf.o"
CHUNK: Final = 16_384

Kind = Literal["pod", "node"]

_TCX: Final = {INGRESS: 46, EGRESS: 47}  # BPF_TCX_INGRESS, BPF_TCX_EGRESS
_CLSACT: Final = {INGRESS: 1, EGRESS: 2}  # BPF_TC_INGRESS, BPF_TC_EGRESS
_CLSACT_HANDLE, _CLSACT_PRIORITY, _CLSACT_REPLACE = 1, 0xF10A, 1


class MissingError(ConfigError):
    """The program cannot be used here; `reason` is a constant word, fit for a metric label."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"sources: ebpf: {detail}")
        self.reason = reason


def object_code() -> bytes:
    """The compiled program. Raises MissingError where this installation has none."""
    try:
        return resources.files(__package__).joinpath(OBJECT).read_bytes()
    except FileNotFoundError:
        raise MissingError("object", "this installation was built without clang and has no eBPF program") from None


class Program:
    """The loaded programs and their two tables. Constructing loads. Raises MissingError where that cannot be done."""

    def __init__(self, table_flows: int) -> None:
        code = object_code()
        try:
            libbpf.library()
        except OSError as error:
            raise MissingError("libbpf", f"{libbpf.LIBRARY} cannot be loaded: {error}") from error
        self._object: ctypes.c_void_p | None = None
        self._links: dict[int, tuple[int, ...]] = {}
        try:
            self._load(code, table_flows)
        except OSError as error:
            self.close()
            denied = error.errno in (errno.EPERM, errno.EACCES)
            raise MissingError(
                "privileges" if denied else "kernel",
                f"the kernel refuses the eBPF program: {error}"
                + (" (CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON are needed)" if denied else ""),
            ) from error

    def _load(self, code: bytes, table_flows: int) -> None:
        self._object = libbpf.find("bpf_object__open_mem", code, len(code), None)
        tables = [self._map(name) for name in ("flows_a", "flows_b")]
        for table in tables:
            libbpf.call("bpf_map__set_max_entries", table, table_flows)
        self._room = table_flows
        libbpf.call("bpf_object__load", self._object)
        self._tables = [libbpf.call("bpf_map__fd", table) for table in tables]
        self._active = libbpf.call("bpf_map__fd", self._map("active"))
        self._missed = libbpf.call("bpf_map__fd", self._map("missed"))
        self._missed_before = np.zeros(len(MISSED_REASONS), MISSED)
        self._switch()

    def _map(self, name: str) -> ctypes.c_void_p:
        return libbpf.find("bpf_object__find_map_by_name", self._object, name.encode())

    def _switch(self) -> None:
        """Put the other table in place. Returns when no program uses the one before: the kernel waits for them."""
        slot, table = ctypes.c_uint32(0), ctypes.c_uint32(self._tables[0])
        libbpf.call("bpf_map_update_elem", self._active, ctypes.byref(slot), ctypes.byref(table), 0)
        self._tables.reverse()

    def take(self) -> tuple[npt.NDArray[np.void], npt.NDArray[np.void]]:
        """Everything counted since the last call: arrays of CONVERSATION and COUNTS of equal length. Raises OSError."""
        self._switch()
        return libbpf.take_all(self._tables[0], CONVERSATION, COUNTS, CHUNK, self._room)

    def take_missed(self) -> Mapping[str, tuple[int, int]]:
        """Packets and bytes that came into no flow since the last call, by reason. Raises OSError."""
        total = np.zeros(len(MISSED_REASONS), MISSED)
        per_cpu = np.zeros(libbpf.call("libbpf_num_possible_cpus"), MISSED)
        for index in range(len(total)):
            slot = ctypes.c_uint32(index)
            libbpf.call("bpf_map_lookup_elem", self._missed, ctypes.byref(slot), per_cpu.ctypes.data)
            total[index] = int(per_cpu["packets"].sum()), int(per_cpu["bytes"].sum())
        before, self._missed_before = self._missed_before, total
        return {
            reason: (int(now["packets"] - then["packets"]), int(now["bytes"] - then["bytes"]))
            for reason, now, then in zip(MISSED_REASONS, total, before, strict=True)
            if now["packets"] != then["packets"]
        }

    @property
    def attached(self) -> Set[int]:
        """The interfaces that are counted at, by index."""
        return self._links.keys()

    def attach(self, ifindex: int, kind: Kind) -> None:
        """Count at an interface of the calling thread's network namespace. Raises OSError, also where it has gone."""
        links: list[int] = []
        try:
            for direction, name in ((INGRESS, f"{kind}_ingress"), (EGRESS, f"{kind}_egress")):
                found = libbpf.find("bpf_object__find_program_by_name", self._object, name.encode())
                program = libbpf.call("bpf_program__fd", found)
                links += self._attach(program, ifindex, direction)
        except OSError:
            for link in links:
                os.close(link)
            raise
        self._links[ifindex] = tuple(links)

    def _attach(self, program: int, ifindex: int, direction: int) -> list[int]:
        try:
            return [libbpf.call("bpf_link_create", program, ifindex, _TCX[direction], None)]
        except OSError as error:
            if error.errno != errno.EINVAL:  # EINVAL: the kernel knows no TCX
                raise
        hook = _hook(ifindex, direction)
        with contextlib.suppress(FileExistsError):  # another program's, or the other direction's
            libbpf.call("bpf_tc_hook_create", ctypes.byref(hook))
        options = _options(prog_fd=program, flags=_CLSACT_REPLACE)
        libbpf.call("bpf_tc_attach", ctypes.byref(hook), ctypes.byref(options))
        return []

    def detach(self, ifindex: int) -> None:
        """Stop counting at an interface, also at one that has gone. In the namespace that it was attached in."""
        links = self._links.pop(ifindex, ())
        for link in links:
            os.close(link)
        if not links:
            for direction in _CLSACT:
                hook, options = _hook(ifindex, direction), _options()
                libbpf.library().bpf_tc_detach(ctypes.byref(hook), ctypes.byref(options))

    def detach_all(self) -> None:
        """Stop counting everywhere. In the namespace that was attached in."""
        for ifindex in list(self._links):
            self.detach(ifindex)

    def close(self) -> None:
        """Unload; safe to call twice. Detach first."""
        if self._object is not None:
            libbpf.library().bpf_object__close(self._object)
            self._object = None


def _hook(ifindex: int, direction: int) -> libbpf.TcHook:
    return libbpf.TcHook(sz=ctypes.sizeof(libbpf.TcHook), ifindex=ifindex, attach_point=_CLSACT[direction])


def _options(**fields: Any) -> libbpf.TcOptions:
    size = ctypes.sizeof(libbpf.TcOptions)
    return libbpf.TcOptions(sz=size, handle=_CLSACT_HANDLE, priority=_CLSACT_PRIORITY, **fields)
