"""Compile the collector's eBPF program: as a script from a checkout, and as hatchling's hook when a wheel is built.

Needs a clang that knows the target bpf, and nothing else. Where there is none the wheel is built without the program,
and a collector from it says so when it is asked for its source `ebpf`. The object is the same for every little-endian
machine, so the wheel stays one for all.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDER: Final = Path(__file__).resolve().parents[2] / "collector" / "ebpf"
SOURCES: Final = (FOLDER / "flow.bpf.c", FOLDER / "kernel.h")
OBJECT: Final = FOLDER / "flow.bpf.o"

COMPILERS: Final = (
    "clang",
    "clang-21",
    "clang-20",
    "clang-19",
    "clang-18",
    "clang-17",
    "clang-16",
    "clang-15",
    "clang-14",
)
FLAGS: Final = ("-O2", "-g", "-Wall", "-Wextra", "-Werror", "-target", "bpf", "-mcpu=v3", "-c")


def build(object_file: Path = OBJECT) -> str | None:
    """Compile where the object is older than its sources; returns why that could not be done, else None."""
    if object_file.exists() and object_file.stat().st_mtime >= max(path.stat().st_mtime for path in SOURCES):
        return None
    compiler = next(filter(None, map(shutil.which, COMPILERS)), None)
    if compiler is None:
        return "no clang here"
    command = [compiler, *FLAGS, SOURCES[0].name, "-o", str(object_file)]
    done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, check=False)
    if done.returncode:
        return f"{compiler} failed: {done.stderr.strip()}"
    strip = shutil.which(f"llvm-strip{Path(compiler).name.removeprefix('clang')}")
    if strip is not None:  # debug information is not BTF: the program works without it
        subprocess.run([strip, "-g", str(object_file)], check=True)
    return None


class BuildHook(BuildHookInterface[Any]):
    """Put the object into the wheel, where it could be compiled."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile before the files are collected; the object is not in git, so it is named."""
        problem = build()
        if problem is not None:
            self.app.display_warning(f"without the eBPF program: {problem}")
        if OBJECT.exists():
            build_data["artifacts"].append(f"/{OBJECT.relative_to(self.root)}")


if __name__ == "__main__":
    failure = build()
    if failure is not None:
        print(f"setup: the eBPF program is not compiled, the source `ebpf` will say so: {failure}", file=sys.stderr)  # noqa: T201 - a script's word
