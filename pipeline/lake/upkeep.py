"""The care of the lake while a pipeline runs: `flowatlas lake maintain`, now and then, in a process of its own.

So it never holds the loop up, its memory goes when it is done, and what befalls it befalls nobody else: the
next round makes up for it. The invariant: there is one such process of ours at a time, and none when `stop` returns.
"""

from __future__ import annotations

import fcntl
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Final

from .store import is_url

log = logging.getLogger(__name__)

FRUGAL: Final = {"POLARS_MAX_THREADS": "1", "_RJEM_MALLOC_CONF": "dirty_decay_ms:0,muzzy_decay_ms:0"}
"""The environment of who takes his time: what Polars' allocator has no use for goes back at once."""
_NICE: Final = 10
_STOP_SECONDS: Final = 5.0
_LOOK_SECONDS: Final = 0.5


class Turn:
    """Whether a lake is ours to care for, of all who write to it.

    Of those that share a folder it is the one that has it locked, for as long as it lives, so one that is ours alone is
    always ours to care for. An object store, and a folder that cannot be locked, is the `is_first`'s."""

    def __init__(self, lake: str, is_first: Callable[[], bool]) -> None:
        self._lake = lake
        self._is_first = is_first
        self._lock: int | None = None

    def __call__(self) -> bool:
        """Whether it is, at this moment."""
        if self._lock is not None:
            return True
        if is_url(self._lake):
            return self._is_first()
        try:
            descriptor = os.open(self._lake, os.O_RDONLY)
        except FileNotFoundError:  # nobody has written yet
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        except OSError:  # a file system of several machines may lock no folders
            os.close(descriptor)
            return self._is_first()
        self._lock = descriptor
        return True

    def give_up(self) -> None:
        """Let another have it."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


class Upkeep:
    """Runs `command` every `every_s` seconds, with low priority, where `is_ours` says that it is for us to do then.

    Several at once would do no harm, only the same work twice."""

    def __init__(self, command: Sequence[str], every_s: float, is_ours: Callable[[], bool] = lambda: True) -> None:
        self._command = command
        self._every_s = every_s
        self._is_ours = is_ours
        self._is_stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lake-upkeep", daemon=True)
        self.rounds = 0
        """How many came to their end."""

    @staticmethod
    def command_of(lake: str, options: Sequence[str], keep: Sequence[str], readers_hours: int) -> list[str]:
        """The command that cares for a lake once."""
        command = [sys.executable, "-m", "pipeline.cli.main", "--log-level", "warning", "lake", "maintain"]
        command += ["--lake", lake, "--readers", str(readers_hours)]
        for flag, texts in (("--option", options), ("--keep", keep)):
            for text in texts:
                command += [flag, text]
        return command

    def __enter__(self) -> Upkeep:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End it; a round that is under way is killed, which does no harm."""
        self._is_stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._is_stopping.wait(self._every_s):
            if not self._is_ours():
                continue
            try:
                self._once()
            except OSError as error:
                log.warning("lake: care could not be started: %s", error)

    def _once(self) -> None:
        environment = {**os.environ, **FRUGAL}
        nowhere = subprocess.DEVNULL
        with subprocess.Popen(self._command, env=environment, stdin=nowhere, stdout=nowhere) as process:
            with suppress(ProcessLookupError):
                os.setpriority(os.PRIO_PROCESS, process.pid, _NICE)
            while process.poll() is None:
                if self._is_stopping.wait(_LOOK_SECONDS):
                    process.terminate()
                    try:
                        process.wait(_STOP_SECONDS)
                    except subprocess.TimeoutExpired:
                        process.kill()
            self.rounds += 1
            if process.returncode and not self._is_stopping.is_set():
                log.warning("lake: a round of care ended with %d; the next makes up for it", process.returncode)
