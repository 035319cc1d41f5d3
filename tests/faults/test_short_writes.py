"""A disk that takes a part of what is written and refuses the rest: nobody finds half of anything, and nothing is lost
that was not counted.

The kernel does so at a limit of a file's size (RLIMIT_FSIZE): a write that reaches beyond is short, the next one fails
with EFBIG. strace sees to it that such writes were made.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.counts import often, tell

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="no strace")

ROOT = Path(__file__).parents[2]
BATCHES = often(20, 400)
WRITES = "write,pwrite64,writev"
SHORT = re.compile(r" (?:write|pwrite64)\(.*, (\d+)(?:, \d+)?\) += (\d+)$", re.MULTILINE)
LIMITED = """
import json, random, resource, sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from collector.metrics import Metrics
from collector.sinks import spool
from pipeline import engine
from tests.faults.ledger import NOTHING, Ledger, Lost
from tests.faults.lives import Disk, live
from tests.faults.trials import Away, Well

engine.BACK_OFF_SECONDS = (0.01, 0.02)
spool._RETRY_S = (0.001, 0.002)
root, batches = Path(sys.argv[1]), int(sys.argv[2])
chance = random.Random(7)
_, HARD = resource.getrlimit(resource.RLIMIT_FSIZE)
limit = HARD

def refuse_beyond(size):
    global limit
    limit = size
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, HARD))

class Unlimited(Disk):
    def put(self, shipped, times):
        before = limit
        refuse_beyond(HARD)  # the bus is not what is looked at
        super().put(shipped, times)
        refuse_beyond(before)

def told(disk, lost=NOTHING):
    refuse_beyond(HARD)
    account = disk.account(lost)
    print(json.dumps({"unexplained": account.unexplained, "account": str(account)}))
"""
LIFE = f"""{LIMITED}
disk = Unlimited(root, Ledger(7), left=batches)
turns = 0

def turn():
    global turns
    turns += 1
    is_short = turns % 8 > 3 and disk.left > 2
    refuse_beyond(chance.randint(1, chance.choice((100, 4_000, 60_000))) if is_short else HARD)

assert live(disk, on_turn=turn) == 0
told(disk)
"""
SPOOL = f"""{LIMITED}
disk, metrics = Unlimited(root, Ledger(8, nodes=("node-a",), restarts=0), left=0), Metrics()
for kind in (Away, Well):
    sink = spool.SpoolSink(root / "spool", metrics, 1 << 26, partial(kind, disk))
    sink.start()
    for number in range(batches):
        refuse_beyond(chance.randint(1, 3_000) if kind is Away and number % 2 else HARD)
        sink.send(disk.ledger.batch())
    refuse_beyond(HARD)
    sink.flush(60 if kind is Well else 0.1)
    sink.stop()
assert metrics.value("spool_corrupt_segments_total") == 0
live(disk)
lost = (metrics.value(f"lost_{{it}}_total", table="flows", reason="spool_error") for it in ("rows", "bytes"))
told(disk, Lost(*map(int, lost)))
"""


@pytest.mark.parametrize("code", [LIFE, SPOOL], ids=["pipeline", "spool"])
def test_writes_that_are_cut_short_cost_nothing_that_is_not_counted(tmp_path: Path, code: str) -> None:
    log = tmp_path / "log"
    strace = ["strace", "-f", "-qq", "--seccomp-bpf", "-s", "0", "-o", str(log), "-e", f"trace={WRITES}"]
    command = [*strace, sys.executable, "-c", code, str(tmp_path / "disk"), str(BATCHES)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-4_000:]
    told = json.loads(done.stdout)
    calls = log.read_text()
    short = sum(0 < int(written) < int(size) for size, written in SHORT.findall(calls))
    tell(f"{short} writes were short, {calls.count('EFBIG')} refused\n{told['account']}")
    assert told["unexplained"] == {}
    assert short > 0
