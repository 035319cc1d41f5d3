"""Looks at the topics of a Kafka and makes those that are missing. What they should be is `topics`' concern.

The invariant: no topic that is there is changed or deleted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Final

from kafka import errors as kafka_errors
from kafka.admin import ConfigResource, KafkaAdminClient, NewTopic

from ..errors import TransientError
from .kafka_reasons import Reasons
from .servers import servers_of
from .topics import Topic

CONNECT_SECONDS: Final = 10.0
APPEAR_SECONDS: Final = 15.0
"""How long a topic may take until every broker knows it."""


class KafkaTopics:
    """An admin client, open within its `with` block. Raises TransientError where Kafka does not answer or refuses."""

    def __init__(self, url: str, options: Mapping[str, Any] | None = None) -> None:
        self._servers = servers_of(url)
        self._options = dict(options or {})
        self._admin: Any = None

    @property
    def servers(self) -> str:
        """As in `--bootstrap-server`."""
        return ",".join(self._servers)

    def __enter__(self) -> KafkaTopics:
        reasons = Reasons(self._options)
        try:
            with reasons:
                self._admin = KafkaAdminClient(
                    bootstrap_servers=self._servers,
                    client_id="flowatlas-topics",
                    bootstrap_timeout_ms=int(CONNECT_SECONDS * 1000),
                    **self._options,
                )
        except (kafka_errors.KafkaError, OSError) as error:
            raise TransientError(f"bus: not connected to {self.servers}: {reasons.why(error)}") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._admin.close()

    def brokers(self) -> int:
        """How many brokers there are."""
        with _told("the cluster is not told"):
            return len(self._admin.describe_cluster()["brokers"])

    def found(self, names: Sequence[str]) -> dict[str, Topic]:
        """Those of the topics that are there, with all their settings, defaults too."""
        with _told("topics are not told"):
            there = [name for name in names if name in set(self._admin.list_topics())]
            if not there:
                return {}
            asked = [ConfigResource("topic", name) for name in there]
            settings = self._admin.describe_configs(asked, config_filter="all")["topic"]
            return {
                told["name"]: Topic(
                    told["name"],
                    len(told["partitions"]),
                    min((len(part["replica_nodes"]) for part in told["partitions"]), default=0),
                    {key: setting["value"] for key, setting in settings[told["name"]].items()},
                )
                for told in self._admin.describe_topics(there)
            }

    def create(self, topics: Sequence[Topic]) -> None:
        """Make topics and wait until they can be used."""
        with _told("topics are not made"):
            self._admin.create_topics(
                [
                    NewTopic(
                        topic.name,
                        num_partitions=topic.partitions,
                        replication_factor=topic.replication,
                        topic_configs=dict(topic.settings),
                    )
                    for topic in topics
                ]
            )
        names = {topic.name for topic in topics}
        _wait(lambda: names <= self.found(sorted(names)).keys())


def _wait(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + APPEAR_SECONDS
    while not is_so():
        if time.monotonic() > deadline:
            raise TransientError("bus: topics that were made do not appear")
        time.sleep(0.1)


@contextmanager
def _told(what: str) -> Iterator[None]:
    try:
        yield
    except (kafka_errors.KafkaError, OSError) as error:
        raise TransientError(f"bus: {what}: {error}") from error  # Kafka's errors begin with their name
