"""The `kafka:` settings of a command, and what Kafka's clients make of them. They are read for a kafka:// bus alone."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import settings

if TYPE_CHECKING:
    from collector.kafka_config import KafkaConfig


def kafka_config(file: Path | None) -> KafkaConfig:
    """The settings from defaults, file and environment; there are no flags, for a command line is no place for them."""
    from collector.kafka_config import KafkaConfig

    return settings.load("kafka", KafkaConfig, file=file, environ=os.environ, flags={})


def kafka_options(bus: str, file: Path | None) -> dict[str, Any]:
    """Options of the clients for this bus; none for a folder. Raises ConfigError."""
    if not bus.startswith("kafka://"):
        return {}
    from collector.sinks.kafka_client import client_options

    return client_options(kafka_config(file))
