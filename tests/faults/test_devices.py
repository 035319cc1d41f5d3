"""A device that errs now and then: what was written cannot be synced. strace makes the kernel's answers wrong, so all
of the process is met by them, Python's calls and the libraries' own alike."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.counts import often, tell

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="no strace")

ROOT = Path(__file__).parents[2]
BATCHES = often(20, 400)
SYNCS = "fsync,fdatasync"
LIFE = """
import json, sys
from contextlib import suppress
from pathlib import Path
from pipeline import engine
from pipeline.errors import ConfigError, TransientError
from tests.faults.ledger import Ledger
from tests.faults.lives import Disk, live

engine.BACK_OFF_SECONDS = (0.01, 0.02)
disk = Disk(Path(sys.argv[1]), Ledger(7), left=int(sys.argv[2]))
starts = 0
while True:
    starts += 1
    with suppress(ConfigError, TransientError):  # who cannot begin, or end, is started again
        live(disk)
        break
account = disk.account()
print(json.dumps({"unexplained": account.unexplained, "starts": starts, "account": str(account)}))
"""
SPOOL = """
import json, sys
from functools import partial
from pathlib import Path
from collector.metrics import Metrics
from collector.sinks import spool
from pipeline import engine
from tests.faults.ledger import Ledger, Lost
from tests.faults.lives import Disk, live
from tests.faults.trials import Away, Well

spool._RETRY_S = (0.001, 0.002)
engine.BACK_OFF_SECONDS = (0.01, 0.02)
disk, metrics = Disk(Path(sys.argv[1]), Ledger(8, nodes=("node-a",), restarts=0), left=0), Metrics()
for kind in (Away, Well):
    sink = spool.SpoolSink(disk.root / "spool", metrics, 1 << 26, partial(kind, disk))
    sink.start()
    for _ in range(int(sys.argv[2])):
        sink.send(disk.ledger.batch())
    sink.flush(30 if kind is Well else 0.1)
    sink.stop()
live(disk)
lost = Lost(*(int(metrics.value(f"lost_{it}_total", table="flows", reason="spool_error")) for it in ("rows", "bytes")))
account = disk.account(lost)
print(json.dumps({"unexplained": account.unexplained, "starts": 1, "account": str(account)}))
"""


@pytest.mark.parametrize(("code", "when"), [(LIFE, "7..400+17"), (SPOOL, "12..60+3")], ids=["pipeline", "spool"])
def test_a_device_that_errs_costs_nothing_that_is_not_counted(tmp_path: Path, code: str, when: str) -> None:
    log = tmp_path / "log"
    strace = ["strace", "-f", "-qq", "--seccomp-bpf", "-o", str(log), "-e", f"trace={SYNCS}"]
    strace += ["-e", f"inject={SYNCS}:error=EIO:when={when}"]
    command = [*strace, sys.executable, "-c", code, str(tmp_path / "disk"), str(BATCHES)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-4_000:]
    told = json.loads(done.stdout)
    refused = log.read_text().count("(INJECTED)")
    tell(f"{refused} calls were refused, {told['starts']} starts\n{told['account']}")
    assert told["unexplained"] == {}
    assert refused > 3
