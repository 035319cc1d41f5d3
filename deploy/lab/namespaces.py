"""Processes in namespaces of their own: how they are made, entered and guaranteed to end.

The room is one process with its own PID, network, mount and UTS namespaces; everything else of the lab runs inside its
PID namespace. It reads from a pipe that the driver holds: when the driver closes it, or dies in any way, the room's
first process ends and the kernel kills all others and frees their namespaces, devices and rules. Nothing is named in
/run/netns and nothing is created in the host's namespaces.
"""

from __future__ import annotations

import shlex
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

ADOPT = "trap '' CHLD; "
"""Shell: ignore SIGCHLD, which the program that follows inherits; the kernel then reaps adopted children by itself."""


class NamespaceError(RuntimeError):
    """A command inside the lab failed; the message holds the command and what it printed."""


class Holder:
    """A process that does nothing but hold namespaces. `pid` is its number as the driver sees it."""

    def __init__(self, process: subprocess.Popen[str], depth: int) -> None:
        self._process = process
        self._depth = depth
        self.pid = 0

    def wait(self) -> None:
        """Wait until its namespaces are set up. Raises NamespaceError where that failed."""
        stdout = self._process.stdout
        assert stdout is not None
        if stdout.readline() != "ready\n":
            self._process.wait()
            raise NamespaceError(f"no namespaces: {' '.join(map(str, self._process.args))}")  # type: ignore[arg-type]  # args is our own list
        self.pid = self._process.pid
        for _ in range(self._depth):
            (child,) = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
            self.pid = int(child)

    @property
    def netns(self) -> Path:
        """The network namespace, as a file that setns(2) takes."""
        return Path(f"/proc/{self.pid}/ns/net")


def _hold(command: Sequence[str], script: str, stdin: int, depth: int) -> tuple[subprocess.Popen[str], Holder]:
    process = subprocess.Popen(
        [*command, "sh", "-c", script], stdin=stdin, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    return process, Holder(process, depth)


class Room:
    """The outermost namespaces of a lab. Constructing is inert."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._others: list[subprocess.Popen[Any]] = []
        self.holder: Holder

    def start(self) -> None:
        """Make the room. Raises NamespaceError where the kernel refuses."""
        unshare = ["unshare", "--fork", "--kill-child", "--pid", "--mount-proc", "--net", "--uts", "--mount"]
        script = f"echo ready; {ADOPT} exec cat > /dev/null"
        self._process, self.holder = _hold(unshare, script, subprocess.PIPE, depth=1)
        self.holder.wait()

    def stop(self) -> None:
        """End everything in the room and wait until it is gone; safe to call twice."""
        if self._process is None:
            return
        assert self._process.stdin is not None
        self._process.stdin.close()
        for process in (self._process, *self._others):
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
        self._process = None
        self._others.clear()

    def machine(self, hostname: str) -> Holder:
        """Begin a machine: PID 1 of its own PID namespace, with its own /proc, network, mounts and host name."""
        unshare = ["unshare", "--fork", "--kill-child", "--pid", "--mount-proc", "--net", "--uts", "--mount"]
        script = f"hostname {hostname}; echo ready; {ADOPT} exec sleep infinity"
        # nsenter forks into the room's PID namespace, unshare forks into the machine's
        return self._begin(self.holder, unshare, script, depth=2)

    def sandbox(self, machine: Holder, hostname: str, resolv_conf: Path) -> Holder:
        """Begin a pod's sandbox on a machine: own network, mounts, host name and resolv.conf."""
        unshare = ["unshare", "--net", "--uts", "--mount"]
        names = shlex.quote(str(resolv_conf))
        script = (
            f"hostname {hostname}; [ ! -e /etc/resolv.conf ] || mount --bind {names} /etc/resolv.conf; "
            f"echo ready; {ADOPT} exec sleep infinity"
        )
        return self._begin(machine, unshare, script, depth=1)

    def _begin(self, outer: Holder, unshare: Sequence[str], script: str, depth: int) -> Holder:
        process, holder = _hold(entered(outer, unshare), script, subprocess.DEVNULL, depth)
        self._others.append(process)
        return holder

    def spawn(
        self,
        holder: Holder,
        command: Sequence[str],
        *,
        stdin: IO[Any] | int = subprocess.DEVNULL,
        stdout: IO[Any] | int = subprocess.DEVNULL,
        stderr: IO[Any] | int = subprocess.DEVNULL,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start a program inside a holder's namespaces. It ends with the room at the latest."""
        process = subprocess.Popen(
            entered(holder, command), stdin=stdin, stdout=stdout, stderr=stderr, env=env, start_new_session=True
        )
        self._others = [other for other in self._others if other.poll() is None] + [process]
        return process


def entered(holder: Holder, command: Sequence[str]) -> list[str]:
    """The command line that runs `command` in all of a holder's namespaces."""
    return ["nsenter", "--target", str(holder.pid), "--net", "--uts", "--mount", "--pid", "--", *command]


def configure(holder: Holder, command: Sequence[str], text: str = "") -> str:
    """Run a command in a holder's network namespace only, with `text` as its input, and return what it printed.

    The command keeps the driver's PID namespace and mounts, so process numbers in `text` are those that it sees.
    Raises NamespaceError where it fails.
    """
    argv = ["nsenter", f"--net={holder.netns}", "--", *command]
    done = subprocess.run(argv, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NamespaceError(f"{' '.join(command)} exited {done.returncode}: {done.stderr.strip()[:2000]}")
    return done.stdout


def wait_listening(holder: Holder, ports: Sequence[tuple[int, int]], what: str, timeout_s: float = 60.0) -> None:
    """Wait until someone listens on every (protocol number, port) in a holder's network namespace.

    Looks into /proc/PID/net instead of connecting, so that no connection is made that the truth does not hold.
    """
    deadline = time.monotonic() + timeout_s
    while missing := [p for p in ports if p not in _listening(holder)]:
        if time.monotonic() > deadline:
            raise NamespaceError(f"{what} does not listen on {missing}")
        time.sleep(0.02)


def _listening(holder: Holder) -> set[tuple[int, int]]:
    found = set()
    for protocol, name, state in ((6, "tcp", "0A"), (17, "udp", "07")):
        for line in Path(f"/proc/{holder.pid}/net/{name}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == state:
                found.add((protocol, int(fields[1].rpartition(":")[2], 16)))
    return found
