"""`make soak`: random troubles for half an hour or as told, and whether anything is unexplained, or grows.

`python -m tests.faults.soak [SECONDS [SEED [RATE]]]`. Two things go on beside each other, and this process watches: a
pipeline that lives through all of it, with a collector's spool and sink (`steady`, RATE flows a second, 5,000), of
whose memory, files and threads the slope is judged; and lives of pipelines that die, sleep and are refused at any call,
one after the other (`rounds`), of which files are: its threads are Delta's, whose pool keeps as many as ever had
something to do at once, a matter of chance where tables are opened all the time. The first third, ten minutes at most,
is warming up: that long is the longest window of event time. The seed is printed, and the same one makes the same
troubles.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Final

from tests.faults.holding import Watch, is_flat
from tests.faults.steady import Steady
from tests.kafka_broker import KafkaUnavailableError

SECONDS: Final = 1800
RATE: Final = 5_000
WARM_SECONDS: Final = 600
NICENESS: Final = 10
"""Of the rounds, which take a core where nobody else wants it."""
END_SECONDS: Final = 300.0

say = partial(print, flush=True)


def main() -> int:
    """Soak. 1 where anything is unexplained or grows."""
    numbers = [int(word) for word in sys.argv[1:]]
    seconds, seed, rate = (*numbers, *(SECONDS, time.time_ns() % 1_000_000, RATE)[len(numbers) :])
    say(f"seed {seed}, {seconds} s, {rate} flows/s")
    with tempfile.TemporaryDirectory() as folder:
        return soak(Path(folder), seconds, seed, rate)


def soak(folder: Path, seconds: int, seed: int, rate: int) -> int:
    """Both, and what came of them."""
    steady = Steady(folder, rate, seconds, seed, say)
    with steady.running() as pids:
        command = [sys.executable, "-m", "tests.faults.rounds", str(seconds), str(seed)]
        rounds = subprocess.Popen(command, preexec_fn=partial(os.nice, NICENESS))
        try:
            with Watch({**pids, "rounds": rounds.pid}) as watch:
                steady.go_through()
            unexplained = steady.unexplained()
            code = rounds.wait(END_SECONDS)
        finally:
            rounds.kill()
            rounds.wait()
    warm = min(seconds // 3, WARM_SECONDS) // 60
    flat = [is_flat(name, watch.minutes(name, warm), say) for name in pids]
    flat.append(is_flat("rounds", watch.minutes("rounds", warm), say, judged=("files",)))
    say(f"unexplained: {unexplained or 0}; rounds ended with {code}")
    return 0 if all(flat) and not unexplained and code == 0 else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KafkaUnavailableError as error:
        say(f"not run: {error}")
        sys.exit(1)
