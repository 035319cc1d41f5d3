"""`flowatlas topics`: make Kafka's topics, or say what is wrong with those that are there."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ConfigError, TransientError
from . import Subparsers
from .kafka_access import kafka_options

if TYPE_CHECKING:
    from ..bus.kafka_topics import KafkaTopics
    from ..bus.topics import Topic


def add(commands: Subparsers) -> None:
    """Add the sub-command."""
    command = commands.add_parser(
        "topics",
        help="make and check Kafka's topics",
        description="`create` makes the topics that are missing and changes none that are there; `check` says what is "
        "different about those that are there, and the command that mends it. Exit 1 where something is different.",
        epilog="example: flowatlas topics create --bus kafka://kafka:9092 --partitions 12",
    )
    command.add_argument("action", choices=("create", "check"))
    command.add_argument(
        "--bus", metavar="URL", help="kafka://HOST:PORT[,HOST:PORT] (default: $FLOWATLAS_PIPELINE_BUS)"
    )
    command.add_argument("--config", type=Path, metavar="FILE", help="YAML file with a `kafka:` section")
    command.add_argument(
        "--partitions",
        type=int,
        metavar="N",
        help="of each table that nodes ship (default: 12, or as many as there are)",
    )
    command.add_argument("--replication", type=int, metavar="N", help="default: 3, or the brokers if they are fewer")
    command.add_argument("--retention-hours", type=int, metavar="N", default=24, help="default: %(default)s")
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Make or check. Exit 0 where all is as it should be."""
    bus = arguments.bus or os.environ.get("FLOWATLAS_PIPELINE_BUS", "")
    if not bus.startswith("kafka://"):
        raise ConfigError(f"bus: {bus!r} is not kafka://HOST:PORT[,HOST:PORT]; only Kafka has topics")
    for key, most in (("partitions", 10_000), ("replication", 100), ("retention_hours", 24 * 366)):
        value = getattr(arguments, key)
        if value is not None and not 1 <= value <= most:
            raise ConfigError(f"{key}: {value} is not between 1 and {most}")
    from ..bus.kafka_topics import KafkaTopics
    from ..bus.topics import differences

    try:
        with KafkaTopics(bus, kafka_options(bus, arguments.config)) as topics:
            wanted, found = _look(topics, arguments)
            if arguments.action == "create":
                missing = [topic for topic in wanted if topic.name not in found]
                if missing:
                    topics.create(missing)
                for topic in missing:
                    print(f"{topic.name}: made, {topic.partitions} partitions, {topic.replication} replicas")
                wanted, found = _look(topics, arguments)
            wrong = list(differences(wanted, found, topics.servers))
    except TransientError as error:
        raise ConfigError(str(error)) from error
    for difference in wrong:
        print(f"{difference.topic} {difference.what}\n    {difference.mend}")
    if not wrong:
        print(f"{len(wanted)} topics are as they should be")
    return 1 if wrong else 0


def _look(topics: KafkaTopics, arguments: argparse.Namespace) -> tuple[list[Topic], dict[str, Topic]]:
    """The topics as they should be, for what is not told as much as there is, and as they are."""
    from ..bus.topics import DEFAULT_PARTITIONS, DEFAULT_REPLICATION, wanted_topics

    replication = arguments.replication or min(DEFAULT_REPLICATION, topics.brokers())
    names = [topic.name for topic in wanted_topics()]
    found = topics.found(names)
    shipped = [
        found[topic.name].partitions for topic in wanted_topics() if topic.partitions > 1 and topic.name in found
    ]
    partitions = arguments.partitions or max(shipped, default=DEFAULT_PARTITIONS)
    return wanted_topics(partitions, replication, arguments.retention_hours), found
