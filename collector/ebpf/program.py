"""The eBPF program: loaded, put on interfaces, and its tables emptied.

Whatever it holds in the kernel goes when the process goes: programs hang on TCX links, which end with their file
descriptors. Kernels before 6.6 have none: there the programs are clsact filters, which stay after a crash and are
replaced by the next start. The invariant: `take` returns every packet counted before it was called, and none twice.

With a folder of a bpffs to pin them in, tables and links stay when the process goes: programs count on, and the next
collector takes them over. Then a table that was taken stays full until `forget`; until then `take` returns it again.
Tables of another size cannot be taken over: what they hold is returned by the first `take`.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import logging
import os
from collections.abc import Mapping, Sequence, Set
from ctypes import byref
from importlib import resources
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from ..errors import ConfigError
from . import libbpf
from .layout import CONVERSATION, COUNTS, EGRESS, INGRESS, MISSED_REASONS
from .pinned import CHUNK, PINNED, TABLES, Leftovers, Taken, no_missed, read_missed, read_out

_log = logging.getLogger(__name__)

OBJECT: Final = "flow.bpf.o"

Kind = Literal["pod", "node"]

_TCX: Final = {INGRESS: 46, EGRESS: 47}  # BPF_TCX_INGRESS, BPF_TCX_EGRESS
_CLSACT: Final = {INGRESS: 1, EGRESS: 2}  # BPF_TC_INGRESS, BPF_TC_EGRESS
_NOTHING: Final = Leftovers({}, None)
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

    def __init__(self, table_flows: int, pin: Path | None = None) -> None:
        code = object_code()
        self._pin = pin
        self._taken: npt.NDArray[np.void] | None = None
        self._left = _NOTHING
        try:
            libbpf.library()
        except OSError as error:
            raise MissingError("libbpf", f"{libbpf.LIBRARY} cannot be loaded: {error}") from error
        self._object: ctypes.c_void_p | None = None
        self._links: dict[int, tuple[int, ...]] = {}
        self._kinds: dict[int, Kind] = {}
        self._passed: Set[int] = frozenset()
        try:
            if pin is not None:
                pin.mkdir(parents=True, exist_ok=True)
            try:
                self._load(code, table_flows)
            except OSError:
                if pin is None or not (pin / PINNED[0]).exists():
                    raise
                _log.warning("ebpf: what is pinned in %s is of other settings or another version: made anew", pin)
                self._left = _read_out(pin)
                self._unpin_all()
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
        tables = [self._map(name) for name in TABLES]
        for table in tables:
            libbpf.call("bpf_map__set_max_entries", table, table_flows)
        self._room = table_flows
        for name in PINNED if self._pin else ():
            libbpf.call("bpf_map__set_pin_path", self._map(name), str(self._pin / name).encode())  # type: ignore[operator]
        libbpf.call("bpf_object__load", self._object)
        self._tables = [libbpf.call("bpf_map__fd", table) for table in tables]
        self._active = libbpf.call("bpf_map__fd", self._map("active"))
        self._missed = libbpf.call("bpf_map__fd", self._map("missed"))
        self._passed_map = libbpf.call("bpf_map__fd", self._map("passed"))
        self.missed = no_missed()
        slot, active = ctypes.c_uint32(0), ctypes.c_uint32(0)
        self._is_left = libbpf.library().bpf_map_lookup_elem(self._active, byref(slot), byref(active)) == 0
        if not self._is_left:  # no collector was here
            self._switch()
            return
        self.missed = read_missed(self._missed)
        if active.value == libbpf.map_id(self._tables[0]):
            self._tables.reverse()

    def _map(self, name: str) -> ctypes.c_void_p:
        return libbpf.find("bpf_object__find_map_by_name", self._object, name.encode())

    def _switch(self) -> None:
        """Put the other table in place. Returns when no program uses the one before: the kernel waits for them."""
        slot, table = ctypes.c_uint32(0), ctypes.c_uint32(self._tables[0])
        libbpf.call("bpf_map_update_elem", self._active, byref(slot), byref(table), 0)
        self._tables.reverse()

    @property
    def taken_id(self) -> int:
        """The kernel's number of the table that is not in use: the one that `take` returned last."""
        return libbpf.map_id(self._tables[0])

    def forget(self) -> None:
        """Empty the table that was taken, or that an earlier collector has taken. Raises OSError."""
        if self._taken is None:
            libbpf.take_all(self._tables[0], CONVERSATION, COUNTS, CHUNK)
        else:
            libbpf.delete_all(self._tables[0], self._taken)
        self._taken, self._is_left = None, False

    def resume(self, taken: int, missed: Sequence[Sequence[int]]) -> None:
        """Tell nothing again that an earlier collector has told: the table with that `taken_id`, so many missed.

        What it has pinned may be gone, and all that was counted with it. Raises OSError.
        """
        if self._is_left:
            self.missed = np.array(missed, np.int64)
        elif self._left.missed is not None:
            self.missed = np.array(missed, np.int64) - self._left.missed
        if taken == self.taken_id:
            self.forget()
        tables = {number: table for number, table in self._left.tables.items() if number != taken}
        self._left = Leftovers(tables, self._left.missed)

    def discard(self) -> None:
        """Tell nothing of what was counted until now. Raises OSError."""
        self._left = _NOTHING
        self.forget()
        self.take()
        self.forget()
        self.take_missed()

    def take(self) -> Taken:
        """Everything counted since the last call: arrays of CONVERSATION and COUNTS of equal length. Raises OSError."""
        if not self._is_left:
            self._switch()
        self._is_left = True
        flows, counts = libbpf.take_all(
            self._tables[0], CONVERSATION, COUNTS, CHUNK, self._room, keep=self._pin is not None
        )
        if self._pin is None:
            self._is_left = False
        else:
            self._taken = flows
        return self._with_left(flows, counts)

    def _with_left(self, flows: npt.NDArray[np.void], counts: npt.NDArray[np.void]) -> Taken:
        """The same, and once what was left in tables that could not be taken over."""
        left, self._left = self._left.tables.values(), _NOTHING
        if not left:
            return flows, counts
        return (
            np.concatenate([*(table[0] for table in left), flows], dtype=CONVERSATION),
            np.concatenate([*(table[1] for table in left), counts], dtype=COUNTS),
        )

    def take_missed(self) -> Mapping[str, tuple[int, int]]:
        """Packets and bytes that came into no flow since the last call, by reason. Raises OSError."""
        before, self.missed = self.missed, read_missed(self._missed)
        more = (self.missed - before).tolist()
        return {
            reason: (packets, size) for reason, (packets, size) in zip(MISSED_REASONS, more, strict=True) if packets
        }

    @property
    def attached(self) -> Mapping[int, Kind]:
        """The interfaces that it was attached to, by index."""
        return self._kinds

    def holds(self, ifindex: int) -> bool:
        """Whether it is still there: not where the interface has gone, and another one has the number.

        In the namespace that it was attached in. Raises OSError.
        """
        links = self._links[ifindex]
        if links:
            return libbpf.tcx_interface(links[0]) == ifindex  # all of them go with it
        for direction in _CLSACT:
            hook, options = _hook(ifindex, direction), _options()
            if libbpf.library().bpf_tc_query(byref(hook), byref(options)):
                return False
        return True

    def tell_passed(self, interfaces: Set[int]) -> None:
        """Tell the programs where a packet comes in that one of them has had: missed again, it is not counted again.

        Those that are counted at have to be among them before they are attached to. One more than the kernel's map has
        places for is as one that was not told.
        """
        for ifindex in self._passed - interfaces:
            libbpf.library().bpf_map_delete_elem(self._passed_map, byref(ctypes.c_uint32(ifindex)))
        for ifindex in interfaces - self._passed:
            key, value = ctypes.c_uint32(ifindex), ctypes.c_uint8(1)
            libbpf.library().bpf_map_update_elem(self._passed_map, byref(key), byref(value), 0)
        self._passed = frozenset(interfaces)

    def attach(self, ifindex: int, kind: Kind) -> None:
        """Count at an interface of the calling thread's network namespace. Raises OSError, also where it has gone."""
        links: list[int] = []
        try:
            for direction, name in ((INGRESS, f"{kind}_ingress"), (EGRESS, f"{kind}_egress")):
                found = libbpf.find("bpf_object__find_program_by_name", self._object, name.encode())
                program = libbpf.call("bpf_program__fd", found)
                links += self._attached_again(program, ifindex, direction) or self._attach(program, ifindex, direction)
        except OSError:
            for link in links:
                os.close(link)
            raise
        self._links[ifindex], self._kinds[ifindex] = tuple(links), kind

    def _attached_again(self, program: int, ifindex: int, direction: int) -> list[int]:
        """The link that an earlier collector has pinned, now with this program in place of its own; none if it died."""
        path = self._link_path(ifindex, direction)
        if path is None or not path.exists():
            return []
        link = libbpf.call("bpf_obj_get", str(path).encode())
        try:
            libbpf.call("bpf_link_update", link, program, None)
        except OSError:  # its interface has gone, and another one has the number
            os.close(link)
            path.unlink()
            return []
        return [link]

    def _link_path(self, ifindex: int, direction: int) -> Path | None:
        return self._pin / f"{ifindex}-{direction}" if self._pin else None

    def _attach(self, program: int, ifindex: int, direction: int) -> list[int]:
        try:
            link = libbpf.call("bpf_link_create", program, ifindex, _TCX[direction], None)
        except OSError as error:
            if error.errno != errno.EINVAL:  # EINVAL: the kernel knows no TCX
                raise
        else:
            path = self._link_path(ifindex, direction)
            if path is not None:
                libbpf.call("bpf_obj_pin", link, str(path).encode())
            return [link]
        hook = _hook(ifindex, direction)
        with contextlib.suppress(FileExistsError):  # another program's, or the other direction's
            libbpf.call("bpf_tc_hook_create", byref(hook))
        options = _options(prog_fd=program, flags=_CLSACT_REPLACE)
        libbpf.call("bpf_tc_attach", byref(hook), byref(options))
        return []

    def detach(self, ifindex: int) -> None:
        """Stop counting at an interface, also at one that has gone. In the namespace that it was attached in."""
        links = self._links.pop(ifindex, ())
        self._kinds.pop(ifindex, None)
        for path in filter(None, (self._link_path(ifindex, direction) for direction in _TCX)):
            path.unlink(missing_ok=True)
        for link in links:
            os.close(link)
        if not links:
            for direction in _CLSACT:
                hook, options = _hook(ifindex, direction), _options()
                libbpf.library().bpf_tc_detach(byref(hook), byref(options))

    def detach_all(self) -> None:
        """Stop counting everywhere; with pins leave it to the next collector. In the namespace that was attached in."""
        if self._pin is None:
            for ifindex in list(self._links):
                self.detach(ifindex)
        for links in self._links.values():
            for link in links:
                os.close(link)
        self._links, self._kinds = {}, {}

    def unpin_gone(self) -> None:
        """Drop the pins of interfaces that are not attached to."""
        for path in self._pin.iterdir() if self._pin else ():
            number, _, direction = path.name.partition("-")
            if direction and int(number) not in self._links:
                path.unlink()

    def _unpin_all(self) -> None:
        for path in self._pin.iterdir() if self._pin else ():
            path.unlink()

    def close(self) -> None:
        """Unload; safe to call twice. Detach first."""
        if self._object is not None:
            libbpf.library().bpf_object__close(self._object)
            self._object = None


def _read_out(folder: Path) -> Leftovers:
    try:
        return read_out(folder)
    except OSError as error:
        _log.warning("ebpf: what was counted meanwhile cannot be read: %s", error)
        return _NOTHING


def _hook(ifindex: int, direction: int) -> libbpf.TcHook:
    return libbpf.TcHook(sz=ctypes.sizeof(libbpf.TcHook), ifindex=ifindex, attach_point=_CLSACT[direction])


def _options(**fields: Any) -> libbpf.TcOptions:
    size = ctypes.sizeof(libbpf.TcOptions)
    return libbpf.TcOptions(sz=size, handle=_CLSACT_HANDLE, priority=_CLSACT_PRIORITY, **fields)
