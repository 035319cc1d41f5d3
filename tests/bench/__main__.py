"""`make bench`: run every benchmark, each in a process of its own on one core, and say what machine it was.

Prints one JSON line for the machine, then one a figure: {"bench", "value", "unit", "against"}. Figures are compared
within one run; nothing fails because a machine is slow.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path

HERE = Path(__file__).resolve().parent
PACKAGES = ("flowatlas", "polars", "pyarrow", "numpy", "nanoarrow", "kafka-python", "prometheus-client")


def main() -> int:
    """Run the benchmarks named on the command line (`exposition pipeline`), or all; 1 where one of them fails."""
    print(json.dumps({"machine": machine()}), flush=True)
    wanted = [f"bench_{name}" for name in sys.argv[1:]] or sorted(path.stem for path in HERE.glob("bench_*.py"))
    environment = {**os.environ, "POLARS_MAX_THREADS": "1", "PYTHONPATH": str(HERE.parents[1])}
    failed = [
        name
        for name in wanted
        if subprocess.run([sys.executable, str(HERE / f"{name}.py")], env=environment, check=False).returncode
    ]
    for name in failed:
        print(f"{name} failed", file=sys.stderr)
    return 1 if failed else 0


def machine() -> dict[str, object]:
    """What the figures were measured on."""
    cpu = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "cpu": cpu[0].partition(":")[2].strip() if cpu else platform.machine(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "packages": {name: metadata.version(name) for name in PACKAGES},
    }


if __name__ == "__main__":
    sys.exit(main())
