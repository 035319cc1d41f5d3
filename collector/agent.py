"""The agent's loop: once an interval, read every source, cut the rows into batches, name them, hand them to the sink.

A batch's name is (node, epoch, table, seq): the epoch is the agent's start in ns, and each table counts its own batches
from 0. A number is used once, also where the batch is lost, so a reader sees the gap. What fails for a while is logged,
counted and tried again in the next cycle. So is what nobody foresaw, where it befalls a source beside that of flows;
with flows it ends the process, since the journal makes the next one go on exactly where this one was, and nothing else
does.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np

from .config import CollectorConfig
from .errors import TransientError
from .journal import Journal
from .metrics import Metrics, MetricsServer
from .nodekeys import Signer
from .progress import PATIENCE_S
from .schema import FLOWS, MAX_MESSAGE_BYTES, MAX_ROWS, TABLES, Batch, Table, encode, filled, ordered
from .sinks import Settled, Sink
from .sources import Columns, Source
from .sources.auto import AutoSource

_log = logging.getLogger(__name__)

FLUSH_S: Final = 10.0
_RETRY_S: Final = (0.5, 5.0)  # first and longest wait for a bus that does not answer
_VALUE_BYTES: Final = MAX_MESSAGE_BYTES - 4096  # leaves room for the key, the headers and the bus's own framing


class Agent:
    """Sources, a sink, and the names of the batches between them. Inert until `run`."""

    def __init__(
        self,
        config: CollectorConfig,
        metrics: Metrics,
        sources: Sequence[Source],
        sink: Sink,
        journal: Journal | None = None,
    ) -> None:
        self._config = config
        self._metrics = metrics
        self._sources = sources
        self._sink = sink
        self._journal = journal
        self._epoch = 0
        self._sequence: Counter[str] = Counter()
        self._failures: dict[str, str] = {}
        """By table what its source failed with last, so that the same is told in full once."""

    def run(self, stop: threading.Event) -> None:
        """Read and ship until `stop` is set, then once more; returns when everything is flushed or counted as lost."""
        self._epoch = time.time_ns()
        with contextlib.ExitStack() as stack:
            if self._journal is not None:
                stack.callback(self._journal.close)
            for source in self._sources:
                stack.callback(source.stop)
                source.start()
            stack.callback(self._sink.stop)
            if not self._connect(stop):
                return
            if self._journal is not None:
                for batch in self._journal.left.batches:  # may have been sent: their names tell
                    self._sink.send(batch)
            _log.info("collector of %s: %s to %s", self._config.node, self._config.sources, self._config.bus)
            due = time.monotonic()
            self._metrics.progress.patience_s = max(PATIENCE_S, 3 * self._config.interval_s)
            while not stop.wait(max(0.0, due - time.monotonic())):
                due = max(due + self._config.interval_s, time.monotonic())
                self._cycle(lambda source, now_ns: source.read(now_ns))
                self._metrics.progress.ready()
            self._cycle(lambda source, now_ns: source.finish(now_ns))
            if not self._sink.flush(FLUSH_S):
                _log.warning("bus: not everything was delivered within %g s", FLUSH_S)

    def _connect(self, stop: threading.Event) -> bool:
        """Start the sink, however long the bus takes to answer; False where `stop` came first."""
        wait_s, longest_s = _RETRY_S
        while True:
            self._metrics.progress.turn()
            try:
                self._sink.start()
            except TransientError as error:
                _log.warning("%s; trying again in %g s", error, wait_s)
            else:
                return True
            if stop.wait(wait_s):
                return False
            wait_s = min(2 * wait_s, longest_s)

    def _cycle(self, read: Callable[[Source, int], Columns]) -> None:
        self._metrics.progress.turn()
        for source in self._sources:
            began = time.perf_counter()
            try:
                columns = read(source, time.time_ns())
            except TransientError as error:
                _log.warning("%s", error)
                self._metrics.add("failed_reads_total", 1, table=source.table)
                continue
            except Exception as error:
                if source.table == FLOWS.name:
                    raise
                self._not_foreseen(source, error)
                continue
            table = TABLES[source.table]
            batches = list(self._batches(table, filled(table, columns)))
            self._metrics.add("cycle_seconds_total", time.perf_counter() - began)
            if self._journal is None or source.table != self._journal.table:
                for batch in batches:
                    self._sink.send(batch)
                continue
            try:
                self._journal.commit(batches)
            except OSError as error:
                _log.warning("journal: not written, a killed agent would leave a gap here: %s", error)
            for batch in batches:
                self._sink.send(batch)
            self._journal.shipped()

    def _not_foreseen(self, source: Source, error: Exception) -> None:
        """Tell of a failure that one of our own mistakes, or a kernel that nobody has seen, must be behind."""
        self._metrics.add("failed_reads_total", 1, table=source.table)
        told = f"{type(error).__name__}: {error}"
        is_new = self._failures.get(source.table) != told
        self._failures[source.table] = told
        _log.error("%s: not read, tried again in the next cycle: %s", source.table, told, exc_info=is_new)

    def _batches(self, table: Table, columns: Columns) -> Iterator[Batch]:
        rows = len(columns[next(iter(table.columns))])
        for first in range(0, rows, MAX_ROWS):
            part = {name: column[first : first + MAX_ROWS] for name, column in columns.items()}
            yield from self._encode(table, ordered(table, part))

    def _encode(self, table: Table, columns: Columns) -> Iterator[Batch]:
        """One batch, or halves where rows compress so badly that they would not fit into a message."""
        value = encode(table, columns)
        rows = len(columns[next(iter(table.columns))])
        if len(value) > _VALUE_BYTES and rows > 1:
            for part in (slice(None, rows // 2), slice(rows // 2, None)):
                yield from self._encode(table, {name: column[part] for name, column in columns.items()})
            return
        byte_sum = sum(int(np.asarray(columns[name]).sum(dtype=np.uint64)) for name in table.bytes_columns)
        seq = self._sequence[table.name]
        self._sequence[table.name] += 1
        yield Batch(table.name, self._config.node, self._epoch, seq, rows, byte_sum, value)


def run(config: CollectorConfig, kafka_options: Mapping[str, Any] | None = None) -> int:
    """Run the agent until SIGTERM or SIGINT; returns the exit code 0. Raises ConfigError for what cannot work.

    `kafka_options` are the Kafka client's (`sinks.kafka_client`).
    """
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stop.set())
    metrics = Metrics()
    metrics.built()
    journal = Journal(config.journal) if config.journal else None
    sink = open_sink(config, metrics, kafka_options)
    agent = Agent(config, metrics, open_sources(config, metrics, journal), sink, journal)
    with contextlib.ExitStack() as stack:
        if config.metrics_address is not None:
            server = stack.enter_context(MetricsServer(metrics, config.metrics_address, config.web_config))
            _log.info("metrics on port %d", server.port)
        agent.run(stop)
    return 0


def open_sources(config: CollectorConfig, metrics: Metrics, journal: Journal | None = None) -> list[Source]:
    """The sources that the settings name, inert; what a source needs is imported only where it is asked for."""
    flows: dict[str, Callable[[], Source]] = {
        "ebpf": lambda: _ebpf(config, metrics, journal),
        "conntrack": lambda: _conntrack(config, metrics, journal),
        "packets": lambda: _packets(config, metrics),
    }
    every: dict[str, Callable[[], Source]] = {**flows, "auto": lambda: AutoSource(metrics, flows)}
    build: dict[str, Callable[[], Source]] = {
        **{name: functools.partial(_with_heads, source, config, metrics) for name, source in every.items()},
        "counters": lambda: _counters(config, metrics),
        "drops": lambda: _drops(config, metrics),
        "dns": lambda: _dns(config, metrics),
    }
    for name in set(config.sources) & flows.keys():
        metrics.set("source_info", 1, source=name, reason="")
    return [build[name]() for name in config.sources]


def _with_heads(flows: Callable[[], Source], config: CollectorConfig, metrics: Metrics) -> Source:
    source = _with_health(flows, config, metrics)
    if not config.heads:
        return source
    from .sources.heads import HeadSource

    return HeadSource(source, metrics, config.netns, config.heads_one_in, config.heads_path_segments)


def _with_health(flows: Callable[[], Source], config: CollectorConfig, metrics: Metrics) -> Source:
    if not config.tcp_health:
        return flows()
    from .sources.health import HealthSource

    return HealthSource(flows(), metrics, config.proc if config.netns else None, config.table_flows // 4)


def _ebpf(config: CollectorConfig, metrics: Metrics, journal: Journal | None) -> Source:
    from .sources.ebpf import EbpfSource

    return EbpfSource(metrics, config.netns, config.table_flows, config.pin, journal)


def _conntrack(config: CollectorConfig, metrics: Metrics, journal: Journal | None) -> Source:
    from .sources.conntrack import ConntrackSource

    return ConntrackSource(metrics, config.netns, journal)


def _packets(config: CollectorConfig, metrics: Metrics) -> Source:
    from .sources.packets import PacketSource

    return PacketSource(metrics, config.netns)


def _dns(config: CollectorConfig, metrics: Metrics) -> Source:
    from .sources.dns import DnsSource

    return DnsSource(metrics, config.netns)


def _drops(config: CollectorConfig, metrics: Metrics) -> Source:
    from .sources.drops import DropSource

    return DropSource(metrics, config.proc if config.netns else None)


def _counters(config: CollectorConfig, metrics: Metrics) -> Source:
    from .sources.counters import CounterSource

    return CounterSource(metrics, config.proc, config.netns)


def open_sink(config: CollectorConfig, metrics: Metrics, kafka_options: Mapping[str, Any] | None = None) -> Sink:
    """The sink that the bus's address asks for, inert; the Kafka client is imported only where it is asked for."""
    headers = Signer(config.node_key).headers if config.node_key is not None else Batch.headers
    metrics.set("is_signing", config.node_key is not None)
    if config.bus.startswith("file://"):
        from .sinks.files import FileSink

        return FileSink(config.bus, config.node, metrics, config.spool_bytes, headers=headers)
    from .sinks.kafka import KafkaSink

    def kafka(on_settled: Settled | None = None) -> Sink:
        partitions = config.spool / "partitions" if config.spool is not None else None
        return KafkaSink(config.bus, metrics, config.in_flight_bytes, on_settled, kafka_options, partitions, headers)

    if config.spool is None:
        return kafka()
    from .sinks.spool import SpoolSink

    return SpoolSink(config.spool, metrics, config.spool_bytes, kafka)
