"""What a process holds, told of processes of which it is known."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from tests.faults.holding import Held, Watch, is_flat

MB = 1_000_000
HOLDS = f"""
import sys, threading
kept, files, wait = bytes(range(250)) * {200 * MB // 250}, [open("/dev/null") for _ in range(20)], threading.Event()
threads = [threading.Thread(target=wait.wait) for _ in range(5)]
for thread in threads: thread.start()
print("held", flush=True)
sys.stdin.read()
wait.set()
"""
FLAT = [Held(300.0, 20, 5)] * 12


def test_memory_files_and_threads_of_a_process_are_told() -> None:
    command = [sys.executable, "-c", HOLDS]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        held = Held.by(process.pid)
        process.communicate()
    assert held.mb >= held.mapped_mb + 200
    assert held.mapped_mb > 1
    assert held.files >= 23
    assert held.threads == 6


def test_the_least_of_each_minute_is_kept() -> None:
    """Also of who ends meanwhile; the last minute is not over."""
    with (
        subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process,
        Watch({"one": process.pid}, every_s=0.01, minute_s=0.1) as watch,
    ):
        until = time.monotonic() + 90
        while len(watch.minutes("one")) < 3 and time.monotonic() < until:
            time.sleep(0.05)
        process.communicate(b"\n")
    minutes = watch.minutes("one")
    assert len(minutes) >= 3
    assert all(held.mb > 1 and held.threads == 1 for held in minutes.values())
    second = list(minutes)[1]
    assert list(watch.minutes("one", warm=second)) == list(minutes)[1:]


@pytest.mark.parametrize(
    ("minutes", "what"),
    [
        ([Held(300.0 + minute, 20, 5) for minute in range(12)], "memory"),
        ([Held(300.0, 20 + minute, 5) for minute in range(12)], "files"),
        ([*FLAT[:8], *[Held(300.0, 20, 6)] * 4], "threads"),
    ],
)
def test_what_grows_is_named(minutes: list[Held], what: str) -> None:
    said: list[str] = []
    assert not is_flat("one", dict(enumerate(minutes)), said.append)
    assert f"{what} GROW" in said[0]


def test_what_comes_and_goes_does_not_grow() -> None:
    said: list[str] = []
    minutes = [Held(300.0 + minute % 3, 20 + minute % 2, 5) for minute in range(12)]
    assert is_flat("one", dict(enumerate(minutes)), said.append)
    assert "GROW" not in said[0]


def test_what_cannot_be_told_is_not_taken_for_level() -> None:
    said: list[str] = []
    minutes = [Held(300.0 + 40 * (minute * 7 % 5), 20, 5) for minute in range(12)]
    assert not is_flat("one", dict(enumerate(minutes)), said.append)
    assert "memory IS NOT KNOWN to be level" in said[0]


def test_of_who_is_not_judged_the_memory_is_told_alone() -> None:
    said: list[str] = []
    minutes = {minute: Held(300.0 + 10 * minute, 20, 5) for minute in range(12)}
    assert is_flat("one", minutes, said.append, judged=("files", "threads"))
    assert "+600" in said[0]


def test_levels_are_told_in_their_order() -> None:
    said: list[str] = []
    is_flat("one", {minute: Held(300.0 + minute // 4, 20, 5) for minute in range(40)}, said.append)
    assert said[1].endswith(": 300, 301, 302, 303, 304, 305, 306, 307, 308, 309")
