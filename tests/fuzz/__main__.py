"""Fuzz everything that foreign bytes come to, guided by what of the code each input reaches (atheris).

`python -m tests.fuzz [SECONDS] [TARGET...]`, as `make fuzz` does: so many seconds a target, one process after another.
What an input reaches is kept in .cache/fuzz/TARGET, and later runs go on from there; an input that breaks a promise is
left in that folder as `crash-...`. Exit code 1 where there is one.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

CACHE: Final = Path(__file__).resolve().parents[2] / ".cache" / "fuzz"
SECONDS: Final = 60
LARGEST_BYTES: Final = 16_384
MEMORY_MB: Final = 4096
"""Of one target: atheris itself keeps some kilobytes a run of what raises and is caught."""


def main() -> int:
    """Run the targets that the arguments name, all by default."""
    from tests.fuzz.targets import TARGETS

    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else SECONDS
    wrong = [name for name in sys.argv[2:] or TARGETS if _run(name, seconds)]
    print(f"fuzz: {', '.join(wrong) or 'nothing'} broke a promise")
    return 1 if wrong else 0


def _run(name: str, seconds: int) -> bool:
    print(f"fuzz: {name} for {seconds} s", flush=True)
    folder = CACHE / name
    folder.mkdir(parents=True, exist_ok=True)
    limits = [f"-max_total_time={seconds}", f"-max_len={LARGEST_BYTES}", "-timeout=20", f"-rss_limit_mb={MEMORY_MB}"]
    command = [sys.executable, "-m", "tests.fuzz", "--one", name, *limits, f"-artifact_prefix={folder}/", str(folder)]
    return subprocess.run(command, check=False).returncode != 0


def one(name: str, options: list[str]) -> None:
    """Fuzz one target until its time is up; the process ends then."""
    import atheris

    with atheris.instrument_imports(include=["collector", "pipeline"]):
        from tests.fuzz.targets import TARGETS
    for number, seed in enumerate(TARGETS[name].seeds()):
        (CACHE / name / f"seed-{number:03d}").write_bytes(seed)
    atheris.Setup([name, *options], TARGETS[name].run)
    atheris.Fuzz()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        one(sys.argv[2], sys.argv[3:])
    else:
        sys.exit(main())
