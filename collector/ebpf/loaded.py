"""An eBPF object of ours that hangs on the kernel's own hooks and not on interfaces: loaded, attached, its maps found.

What it holds in the kernel hangs on file descriptors, so it goes when the process goes. It is all or nothing: where one
of its programs is refused, none is attached, and the collector works without what they tell.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Mapping
from importlib import resources
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from . import libbpf

_TRACE_ITER: Final = 28  # BPF_TRACE_ITER of enum bpf_attach_type
_READ_BYTES: Final = 1 << 16


class HookError(Exception):
    """The kernel's hooks cannot be used here; `reason` is a constant word, fit for a metric label."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class Loaded:
    """The programs and maps of one object file. Constructing loads. Raises HookError where that cannot be done."""

    def __init__(self, file: str, max_entries: Mapping[str, int]) -> None:
        try:
            code = resources.files(__package__).joinpath(file).read_bytes()
        except FileNotFoundError:
            raise HookError("object", "this installation was built without clang and has no eBPF programs") from None
        try:
            libbpf.library()
        except OSError as error:
            raise HookError("libbpf", f"{libbpf.LIBRARY} cannot be loaded: {error}") from error
        self._object: ctypes.c_void_p | None = None
        self._links: list[int] = []
        try:
            self._object = libbpf.find("bpf_object__open_mem", code, len(code), None)
            for name, entries in max_entries.items():
                libbpf.call("bpf_map__set_max_entries", self._map(name), entries)
            libbpf.call("bpf_object__load", self._object)
        except OSError as error:
            self.close()
            raise refusal(error) from error

    def map_fd(self, name: str) -> int:
        """The file descriptor of a map. Raises OSError."""
        return libbpf.call("bpf_map__fd", self._map(name))

    def attach(self, name: str) -> None:
        """Put a `tp_btf` program on its tracepoint. Raises OSError."""
        self._links.append(libbpf.call("bpf_raw_tracepoint_open", None, self._program(name)))

    def iterator(self, name: str, map_fd: int | None = None) -> int:
        """Make an iterator program ready for `iterate`, over a map where it is one of maps. Raises OSError."""
        options = None
        if map_fd is not None:
            info = libbpf.IteratorInfo(map_fd=map_fd)
            options = libbpf.LinkOptions(
                sz=ctypes.sizeof(libbpf.LinkOptions),
                iter_info=ctypes.addressof(info),
                iter_info_len=ctypes.sizeof(info),
            )
        link = libbpf.call(
            "bpf_link_create", self._program(name), 0, _TRACE_ITER, ctypes.byref(options) if options else None
        )
        self._links.append(link)
        return link

    def close(self) -> None:
        """Detach and unload; safe to call twice."""
        while self._links:
            os.close(self._links.pop())
        if self._object is not None:
            libbpf.library().bpf_object__close(self._object)
            self._object = None

    def _map(self, name: str) -> ctypes.c_void_p:
        return libbpf.find("bpf_object__find_map_by_name", self._object, name.encode())

    def _program(self, name: str) -> int:
        found = libbpf.find("bpf_object__find_program_by_name", self._object, name.encode())
        return libbpf.call("bpf_program__fd", found)


def iterate(link: int, row: np.dtype[Any]) -> npt.NDArray[np.void]:
    """Run an iterator from its beginning to its end; returns the rows that it wrote. Raises OSError."""
    descriptor = libbpf.call("bpf_iter_create", link)
    try:
        parts = []
        while part := os.read(descriptor, _READ_BYTES):
            parts.append(part)
    finally:
        os.close(descriptor)
    return np.frombuffer(b"".join(parts), row)


def per_cpu_sums(map_fd: int, entries: int, value: np.dtype[Any]) -> npt.NDArray[Any]:
    """The values of a per-CPU array of 64-bit counters, over all processors. Raises OSError."""
    total = np.zeros(entries, value)
    words = value.itemsize // 8
    for index in range(entries):
        slot = ctypes.c_uint32(index)
        per_cpu = np.zeros((libbpf.call("libbpf_num_possible_cpus"), words), np.uint64)
        libbpf.call("bpf_map_lookup_elem", map_fd, ctypes.byref(slot), per_cpu.ctypes.data)
        total[index : index + 1].view(np.uint64)[:] = per_cpu.sum(axis=0)
    return total


def refusal(error: OSError) -> HookError:
    """Why the kernel refuses, in words. EACCES is its verifier's, where a hook has other arguments than ours."""
    if error.errno == errno.EPERM:
        return HookError("privileges", f"the kernel refuses: {error} (CAP_BPF and CAP_PERFMON are needed)")
    return HookError("kernel", f"the kernel refuses: {error}")
