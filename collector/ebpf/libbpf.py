"""The functions of libbpf.so.1 that the collector calls, by ctypes.

libbpf 1.0 and later. Numbers and structures are those of its public headers (libbpf.h, bpf.h), which are ABI.
"""

from __future__ import annotations

import ctypes
import functools
import os
from ctypes import POINTER, byref, c_char_p, c_int, c_size_t, c_uint32, c_void_p
from typing import Any, Final

import numpy as np
import numpy.typing as npt

LIBRARY: Final = "libbpf.so.1"

_SIGNATURES: Final[dict[str, tuple[Any, tuple[Any, ...]]]] = {
    "libbpf_set_print": (c_void_p, (c_void_p,)),
    "libbpf_num_possible_cpus": (c_int, ()),
    "bpf_object__open_mem": (c_void_p, (c_char_p, c_size_t, c_void_p)),
    "bpf_object__load": (c_int, (c_void_p,)),
    "bpf_object__close": (None, (c_void_p,)),
    "bpf_object__find_map_by_name": (c_void_p, (c_void_p, c_char_p)),
    "bpf_object__find_program_by_name": (c_void_p, (c_void_p, c_char_p)),
    "bpf_map__set_max_entries": (c_int, (c_void_p, c_uint32)),
    "bpf_map__fd": (c_int, (c_void_p,)),
    "bpf_program__fd": (c_int, (c_void_p,)),
    "bpf_map_update_elem": (c_int, (c_int, c_void_p, c_void_p, ctypes.c_uint64)),
    "bpf_map_lookup_elem": (c_int, (c_int, c_void_p, c_void_p)),
    "bpf_map_delete_elem": (c_int, (c_int, c_void_p)),
    "bpf_map_lookup_and_delete_batch": (
        c_int,
        (c_int, c_void_p, c_void_p, c_void_p, c_void_p, POINTER(c_uint32), c_void_p),
    ),
    "bpf_map_lookup_batch": (
        c_int,
        (c_int, c_void_p, c_void_p, c_void_p, c_void_p, POINTER(c_uint32), c_void_p),
    ),
    "bpf_map_delete_batch": (c_int, (c_int, c_void_p, POINTER(c_uint32), c_void_p)),
    "bpf_map__set_pin_path": (c_int, (c_void_p, c_char_p)),
    "bpf_obj_pin": (c_int, (c_int, c_char_p)),
    "bpf_obj_get": (c_int, (c_char_p,)),
    "bpf_obj_get_info_by_fd": (c_int, (c_int, c_void_p, POINTER(c_uint32))),
    "bpf_link_update": (c_int, (c_int, c_int, c_void_p)),
    "bpf_link_detach": (c_int, (c_int,)),
    "bpf_link_create": (c_int, (c_int, c_int, c_int, c_void_p)),
    "bpf_raw_tracepoint_open": (c_int, (c_char_p, c_int)),
    "bpf_iter_create": (c_int, (c_int,)),
    "btf__load_vmlinux_btf": (c_void_p, ()),
    "btf__free": (None, (c_void_p,)),
    "btf__find_by_name_kind": (c_int, (c_void_p, c_char_p, c_uint32)),
    "btf__type_by_id": (POINTER(c_uint32), (c_void_p, c_uint32)),
    "btf__name_by_offset": (c_char_p, (c_void_p, c_uint32)),
    "bpf_tc_hook_create": (c_int, (c_void_p,)),
    "bpf_tc_attach": (c_int, (c_void_p, c_void_p)),
    "bpf_tc_detach": (c_int, (c_void_p, c_void_p)),
    "bpf_tc_query": (c_int, (c_void_p, c_void_p)),
}


class TcHook(ctypes.Structure):
    """struct bpf_tc_hook; `attach_point` is 1 for ingress, 2 for egress."""

    _fields_ = (("sz", c_size_t), ("ifindex", c_int), ("attach_point", c_int), ("parent", c_uint32))


class TcOptions(ctypes.Structure):
    """struct bpf_tc_opts."""

    _fields_ = (
        ("sz", c_size_t),
        ("prog_fd", c_int),
        ("flags", c_uint32),
        ("prog_id", c_uint32),
        ("handle", c_uint32),
        ("priority", c_uint32),
    )


class IteratorInfo(ctypes.Structure):
    """union bpf_iter_link_info, of an iterator over a map."""

    _fields_ = (("map_fd", c_uint32), ("zero", c_uint32 * 3))


class LinkOptions(ctypes.Structure):
    """struct bpf_link_create_opts, to the part that iterators read."""

    _fields_ = (("sz", c_size_t), ("flags", c_uint32), ("iter_info", c_void_p), ("iter_info_len", c_uint32))


@functools.cache
def library() -> ctypes.CDLL:
    """The library, silent on stderr. Raises OSError where it is not installed."""
    found = ctypes.CDLL(LIBRARY, use_errno=True)
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(found, name)
        function.restype, function.argtypes = result, arguments
    found.libbpf_set_print(None)
    return found


def call(name: str, *arguments: object) -> int:
    """Call a function that answers with a negative errno where it fails; raises OSError then."""
    answer = int(getattr(library(), name)(*arguments))
    if answer < 0:
        raise OSError(-answer, os.strerror(-answer), name)
    return answer


def find(name: str, *arguments: object) -> c_void_p:
    """Call a function that answers with a pointer; raises OSError where it is null."""
    answer = getattr(library(), name)(*arguments)
    if not answer:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), name)
    return c_void_p(answer)


def take_all(
    map_fd: int, key: np.dtype[Any], value: np.dtype[Any], chunk: int, room: int = 0, *, keep: bool = False
) -> tuple[npt.NDArray[np.void], npt.NDArray[np.void]]:
    """Look up and delete every element of a hash map, `chunk` at a time; returns keys and values of equal length.

    With `room` for as many elements as may be there none is moved afterwards; with `keep` they stay in the map. Raises
    OSError. The map must not be written to meanwhile.
    """
    name = "bpf_map_lookup_batch" if keep else "bpf_map_lookup_and_delete_batch"
    read = getattr(library(), name)
    keys, values = np.empty(room + chunk, key), np.empty(room + chunk, value)  # takes memory where it is written to
    places = (ctypes.c_uint64 * 2)(), (ctypes.c_uint64 * 2)()
    before, taken = None, 0
    while True:
        if len(keys) - taken < chunk:
            keys, values = (np.concatenate([part, np.empty_like(part)]) for part in (keys, values))
        count = c_uint32(chunk)
        after = places[0] if before is not places[0] else places[1]
        answer = read(map_fd, before, after, keys[taken:].ctypes.data, values[taken:].ctypes.data, byref(count), None)
        if answer < 0 and answer != -2:  # ENOENT: that was the last of them
            raise OSError(-answer, os.strerror(-answer), name)
        taken += count.value
        if answer < 0:
            return keys[:taken], values[:taken]
        before = after


def delete_all(map_fd: int, keys: npt.NDArray[np.void]) -> None:
    """Delete these elements of a hash map, which it has. Raises OSError."""
    if len(keys):
        call("bpf_map_delete_batch", map_fd, keys.ctypes.data, byref(c_uint32(len(keys))), None)


def look_up(map_fd: int, index: int, value: npt.NDArray[Any]) -> None:
    """Read one element of an array map into `value`. Raises OSError."""
    call("bpf_map_lookup_elem", map_fd, byref(c_uint32(index)), value.ctypes.data)


def map_id(map_fd: int) -> int:
    """The kernel's number of a map. Raises OSError."""
    return _info(map_fd)[1]


def map_sizes(map_fd: int) -> tuple[int, int, int]:
    """The bytes of a map's keys and of its values, and for how many of them it has room. Raises OSError."""
    _, _, key, value, room = _info(map_fd)
    return key, value, room


def tcx_interface(link_fd: int) -> int:
    """The index of the interface that a TCX link is at; 0 where that has gone. Raises OSError."""
    return _info(link_fd)[4]


def _info(fd: int) -> list[int]:
    """How struct bpf_map_info begins: type, id, key_size, value_size, max_entries.

    And struct bpf_link_info: type, id, prog_id, nothing, of a TCX link the ifindex.
    """
    info = (c_uint32 * 64)()
    call("bpf_obj_get_info_by_fd", fd, byref(info), byref(c_uint32(ctypes.sizeof(info))))
    return info[:5]
