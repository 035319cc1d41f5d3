"""The demo without root: the pipeline on the bus segments and the truth that the lab recorded."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

from deploy.lab.cluster import MANIFESTS
from deploy.lab.objects import load

from . import places
from .exposed import settled
from .outcome import SEEN, Outcome, judge
from .processes import DemoError, flowatlas, free_port, wait_for
from .table import Progress

RECORDING = Path(__file__).parent / "recording.tar.gz"


def run(output: Path) -> Outcome:
    """Unpack the recording into `output`, run the pipeline on it, judge. Raises DemoError where the pipeline fails."""
    progress = Progress()
    progress.step(f"unpacking {RECORDING.name}")
    unpack(RECORDING, output)
    lake = output / "lake"
    listen = f"127.0.0.1:{free_port()}"
    progress.step("pipeline on the recorded bus")
    arguments = (
        "--bus",
        f"file://{output / 'bus'}",
        "--state",
        str(MANIFESTS),
        "--listen",
        listen,
        "--lake",
        str(lake),
        *places.options(output),
    )
    with flowatlas("pipeline", output / "logs" / "pipeline.log", "pipeline", *arguments) as pipeline:
        wait_for(f"http://{listen}/readyz", pipeline)
        metrics = settled(pipeline, listen)
        (output / "metrics.prom").write_text(metrics)
        pipeline.stop()
    truth = [json.loads(line) for line in (output / "lab" / "truth.jsonl").read_text().splitlines()]
    seen: dict[str, Any] = json.loads((output / "lab" / SEEN).read_text(encoding="utf-8"))
    return judge(truth, load(MANIFESTS), lake, metrics, **seen)


def unpack(recording: Path, output: Path) -> None:
    """Write what a recording holds into a folder. Raises DemoError where a member would land beside it."""
    with tarfile.open(recording) as archive:
        for member in archive:  # an archive of plain files; Python before 3.11.4 has no filter for others
            content = archive.extractfile(member)
            if content is None or ".." in Path(member.name).parts or Path(member.name).is_absolute():
                raise DemoError(f"{recording}: {member.name} is no plain file below the output folder")
            path = output / member.name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.read())
