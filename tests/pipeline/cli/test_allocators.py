"""Allocators that keep little, seen by what they do: each in a process of its own, for they are told once."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from pipeline.cli.allocators import ARENAS, SETTINGS

ARENAS_USED = """
import ctypes, os, threading
from pipeline.cli.allocators import give_back
give_back(os.environ)
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
together = threading.Barrier(8)
def use():
    together.wait()
    libc.malloc(1000)
    together.wait()
threads = [threading.Thread(target=use) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
out = libc.fdopen
out.restype = ctypes.c_void_p
libc.malloc_info.argtypes = ctypes.c_int, ctypes.c_void_p
stdout = out(1, b"w")
libc.malloc_info(0, stdout)
libc.fflush(ctypes.c_void_p(stdout))
"""


def ran(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Python in an environment without settings but these."""
    clean = {name: value for name, value in os.environ.items() if name not in (*SETTINGS, ARENAS)}
    done = subprocess.run(
        [sys.executable, "-c", script], env={**clean, **environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done


def arenas(**environment: str) -> int:
    """Of the C library, once eight threads have asked for memory (malloc_info(3))."""
    return len(re.findall(r"<heap nr=", ran(ARENAS_USED, **environment).stdout))


def test_polars_gives_back_what_it_does_not_use() -> None:
    """By what jemalloc says that it takes for its settings: the last word counts."""
    script = """
import os
from pipeline.cli.allocators import give_back
give_back(os.environ)
os.environ["_RJEM_MALLOC_CONF"] += ",confirm_conf:true"
import polars
"""
    told = dict(re.findall(r"Set conf value: (\w+):(\S+)", ran(script).stderr))
    assert (told["dirty_decay_ms"], told["muzzy_decay_ms"], told["narenas"]) == ("500", "0", "1")


def test_the_c_library_has_one_arena_unless_told_otherwise() -> None:
    assert arenas() == 1
    assert arenas(MALLOC_ARENA_MAX="4") > 1


def test_what_is_free_between_what_is_used_is_given_back() -> None:
    """Pieces too small for pages of their own, of which every twentieth stays in use."""
    script = """
import ctypes, os, re, time
from pathlib import Path
from pipeline.cli.allocators import GivingBack, give_back
give_back(os.environ)

def held():
    return int(re.search(r"RssAnon:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1000

libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
pieces = [libc.malloc(100_000) for _ in range(2_000)]
for piece in pieces:
    ctypes.memset(piece, 1, 100_000)
for number, piece in enumerate(pieces):
    if number % 20:
        libc.free(piece)
print(held())
with GivingBack(lambda: True, every_s=0.01):
    deadline = time.monotonic() + 60
    while held() > 60 and time.monotonic() < deadline:
        time.sleep(0.01)
print(held())
"""
    before, after = map(float, ran(script).stdout.split())
    assert before > 180
    assert after < 60


def test_the_collector_passes_over_what_was_loaded() -> None:
    """And over nothing before that; who ends first does not wait for it."""
    script = """
import gc, threading, time
from pipeline.cli.allocators import GivingBack
loaded = threading.Event()
with GivingBack(loaded.is_set):
    stays = [[number] for number in range(10_000)]
    print(gc.get_freeze_count())
    loaded.set()
    deadline = time.monotonic() + 60
    while not gc.get_freeze_count() and time.monotonic() < deadline:
        time.sleep(0.01)
    print(gc.get_freeze_count())
with GivingBack(lambda: False):
    pass
"""
    before, after = map(int, ran(script).stdout.split())
    assert before == 0
    assert after >= 10_000


def test_what_the_user_has_set_stays() -> None:
    script = """
import os
from pipeline.cli.allocators import give_back
give_back(os.environ)
print(os.environ["_RJEM_MALLOC_CONF"], os.environ["ARROW_DEFAULT_MEMORY_POOL"])
"""
    done = ran(script, _RJEM_MALLOC_CONF="narenas:3", ARROW_DEFAULT_MEMORY_POOL="mimalloc")
    assert done.stdout.split() == ["narenas:3", "mimalloc"]


def test_a_pipeline_sets_them_before_it_imports_what_reads_them(tmp_path: Path) -> None:
    script = f"""
import sys
from pipeline.cli.main import main
assert not {{"polars", "pyarrow"}} & set(sys.modules)
assert main(["pipeline", "--bus", "file://{tmp_path}", "--state", "{tmp_path}/none"]) == 2
import os, pyarrow
assert "polars" in sys.modules
print(pyarrow.default_memory_pool().backend_name, os.environ["_RJEM_MALLOC_CONF"])
"""
    backend, conf = ran(script).stdout.split()
    assert backend == "system"
    assert conf.endswith(SETTINGS["_RJEM_MALLOC_CONF"])
