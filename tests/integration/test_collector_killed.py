"""A collector that is killed at any instant leaves nothing behind that the next one does not ship, once."""

from __future__ import annotations

import contextlib
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from collector.schema import TABLES, unpack_records
from pipeline.bus import Message
from pipeline.decode import decode
from tests.collector.generator import FIRST_PORT, IP_BYTES, Generator
from tests.collector.network import Network, pins, quiet_counts, routed_network
from tests.faults.counts import often, tell
from tests.faults.processor import Took, judge, waited_s

pytestmark = pytest.mark.root

KILLS = often(15, 100)
"""Of each source."""
READY_SECONDS = 60
"""A collector that takes so long to be ready is stuck, on however busy a machine."""
QUICK_SECONDS = 2.0
"""Where it has a processor it is ready by then."""
QUIET = """
table inet quiet {
  chain input { type filter hook input priority 0; meta l4proto udp drop; }
}
"""
"""The server answers no datagram."""
ROOT = Path(__file__).parents[2]
AGENT = """
import sys, pathlib
from collector.agent import run
from collector.config import CollectorConfig
netns, folder, source, pin = sys.argv[1:]
run(
    CollectorConfig(
        "node", f"file://{folder}/bus", (source,), interval_s=0.05, netns=pathlib.Path(netns), tcp_health=False,
        pin=pathlib.Path(pin) if pin else None, journal=pathlib.Path(folder, "journal"), table_flows=16384,
    )
)
"""


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    with routed_network() as network:
        network.run("server", "nft", "-f", "-", stdin=QUIET)
        yield network


@pytest.fixture
def pin() -> Iterator[Path]:
    with pins() as path:
        yield path


@contextlib.contextmanager
def agent(network: Network, folder: Path, source: str, pin: Path) -> Iterator[subprocess.Popen[bytes]]:
    pinned = str(pin) if source == "ebpf" else ""
    command = [sys.executable, "-c", AGENT, str(network.netns("node")), str(folder), source, pinned]
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(command, cwd=ROOT, stderr=log)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def shipped(folder: Path) -> pl.DataFrame:
    """The rows of all batches, each name once, as the pipeline takes them."""
    topic = TABLES["flows"].topic
    found = {}
    for number, path in enumerate(sorted((folder / "bus" / topic / "node").glob("*.seg"))):
        for headers, value in unpack_records(path.read_bytes()):
            decoded = decode(Message(topic, "node", number, b"node", headers, value))
            found[decoded.name.epoch, decoded.name.seq] = decoded.frame
    return pl.concat(found.values()).filter(pl.col("src_port") >= FIRST_PORT)


@pytest.mark.parametrize("source", ["ebpf", "conntrack"])
def test_every_packet_is_in_one_row_whenever_the_collector_is_killed(
    network: Network, tmp_path: Path, pin: Path, source: str
) -> None:
    """Flows go on through all the kills; the rows of each sum to what was sent, and it was opened once."""
    network.run("node", "conntrack", "-F")
    chance = random.Random(7)
    flows = np.arange(500)
    sent = 0
    ready: list[Took] = []
    journal = tmp_path / "journal" / "journal"
    with Generator(network) as generator:
        before = quiet_counts(network, "client")
        for number in range(KILLS):
            inode = journal.stat().st_ino if journal.exists() else 0
            with agent(network, tmp_path, source, pin) as process:  # it has read once when the journal begins anew
                began = time.monotonic()
                while not journal.exists() or journal.stat().st_ino == inode:
                    if number == 0:
                        assert process.poll() is None, (tmp_path / "log").read_text()
                    else:
                        generator.send(flows)
                        sent += len(flows)
                    assert time.monotonic() - began < READY_SECONDS, (tmp_path / "log").read_text()
                    time.sleep(0.005)
                ready.append(Took(time.monotonic() - began, waited_s(process.pid)))
                until = time.monotonic() + chance.uniform(0, 0.3)
                while time.monotonic() < until:
                    generator.send(flows)
                    sent += len(flows)
                    time.sleep(0.003)
                process.send_signal(signal.SIGKILL)
            for _ in range(3):
                generator.send(flows)
                sent += len(flows)
        after = quiet_counts(network, "client")
        with agent(network, tmp_path, source, pin) as process:
            inode = journal.stat().st_ino
            while journal.stat().st_ino == inode:
                assert process.poll() is None, (tmp_path / "log").read_text()
                time.sleep(0.01)
            process.terminate()
            assert process.wait(90) == 0, (tmp_path / "log").read_text()
    assert after[9] - before[9] == sent, "the generator's own count is the interface's"
    rows = shipped(tmp_path)
    judge(f"{KILLS} kills; ready", ready, QUICK_SECONDS)
    told = {name: int(rows[name].sum()) for name in ("packets", "bytes", "opened")}
    tell(f"sent {sent} packets of {len(flows)} flows; told {told}; unexplained {sent - told['packets']}")
    assert rows["packets"].sum() == sent
    assert rows["bytes"].sum() == sent * IP_BYTES
    assert rows["opened"].sum() == len(flows)
    assert rows["flow_id"].n_unique() == len(flows)
