"""Compile the collector's eBPF programs: as a script from a checkout, and as hatchling's hook when a wheel is built.

Needs a clang that knows the target bpf, and nothing else. Where there is none the wheel is built without the programs,
and a collector from it says so when it is asked for its source `ebpf`. An object is the same for every little-endian
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
HEADER: Final = FOLDER / "kernel.h"
PROGRAMS: Final = ("flow", "tcp", "drops")
OBJECTS: Final = tuple(FOLDER / f"{name}.bpf.o" for name in PROGRAMS)

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


def build(object_file: Path) -> str | None:
    """Compile a program where its object is older than its sources; returns why that could not be done, else None."""
    source = FOLDER / f"{object_file.stem}.c"
    newest = max(path.stat().st_mtime for path in (source, HEADER))
    if object_file.exists() and object_file.stat().st_mtime >= newest:
        return None
    compiler = next(filter(None, map(shutil.which, COMPILERS)), None)
    if compiler is None:
        return "no clang here"
    command = [compiler, *FLAGS, source.name, "-o", str(object_file)]
    done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, check=False)
    if done.returncode:
        return f"{compiler} failed: {done.stderr.strip()}"
    strip = shutil.which(f"llvm-strip{Path(compiler).name.removeprefix('clang')}")
    if strip is not None:  # debug information is not BTF: the program works without it
        subprocess.run([strip, "-g", str(object_file)], check=True)
    return None


def build_all() -> str | None:
    """Compile every program; returns why some could not be, else None."""
    problems = dict.fromkeys(filter(None, map(build, OBJECTS)))
    return "; ".join(problems) or None


class BuildHook(BuildHookInterface[Any]):
    """Put the objects into the wheel, where they could be compiled."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile before the files are collected; the objects are not in git, so they are named."""
        problem = build_all()
        if problem is not None:
            self.app.display_warning(f"without the eBPF programs: {problem}")
        build_data["artifacts"] += [f"/{path.relative_to(self.root)}" for path in OBJECTS if path.exists()]


if __name__ == "__main__":
    failure = build_all()
    if failure is not None:
        print(f"setup: eBPF programs are not compiled, what needs them will say so: {failure}", file=sys.stderr)  # noqa: T201 - a script's word
