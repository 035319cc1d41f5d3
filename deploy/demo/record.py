"""Make the recording that `replay` replays from what a live run left: `python -m deploy.demo.record demo-output`.

The archive holds the bus's segments, the truth and what the collectors could see; names, order and times of its members
follow from the content alone.
"""

from __future__ import annotations

import gzip
import sys
import tarfile
from pathlib import Path

from .outcome import SEEN
from .replay import RECORDING


def record(output: Path, archive: Path = RECORDING) -> None:
    """Pack the run in `output` into `archive`. Raises FileNotFoundError where it holds no run over the file bus."""
    segments = sorted((output / "bus").glob("*/*/*.seg"))
    told = [output / "lab" / "truth.jsonl", output / "lab" / SEEN]
    if not segments or not all(path.exists() for path in told):
        raise FileNotFoundError(f"{output} holds no run of the demo over the file:// bus")
    with (
        archive.open("wb") as raw,
        gzip.GzipFile("", "wb", mtime=0, fileobj=raw) as zipped,
        tarfile.open(fileobj=zipped, mode="w") as packed,
    ):
        for path in [*segments, *told]:
            member = tarfile.TarInfo(str(path.relative_to(output)))
            member.size = path.stat().st_size
            with path.open("rb") as content:
                packed.addfile(member, content)


if __name__ == "__main__":
    record(Path(sys.argv[1]))
