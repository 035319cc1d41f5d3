"""`flowatlas config`: check or print the settings that a component would run with."""

from __future__ import annotations

import argparse
import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from . import Subparsers, settings
from .kafka_access import kafka_config


def add(commands: Subparsers) -> None:
    """Add the sub-command."""
    command = commands.add_parser(
        "config",
        help="check or print settings",
        description="Merge defaults, the YAML file and the environment (FLOWATLAS_<SECTION>_<KEY>) for one component. "
        "`print` writes the outcome as YAML, beside each setting where its value is from; secrets are not shown.",
        epilog="example: FLOWATLAS_PIPELINE_LISTEN=127.0.0.1:9500 flowatlas config print pipeline",
    )
    command.add_argument("action", choices=("check", "print"))
    command.add_argument("section", choices=settings.SECTIONS)
    command.add_argument("--config", type=Path, metavar="FILE", help="YAML file with sections")
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Exit 0 where the settings hold; `print` writes them as YAML."""
    config: object
    if arguments.section == "collector":
        from collector.config import CollectorConfig

        config = settings.load("collector", CollectorConfig, file=arguments.config, environ=os.environ, flags={})
    elif arguments.section == "watcher":
        from ..inventory.watch.config import WatcherConfig

        config = settings.load("watcher", WatcherConfig, file=arguments.config, environ=os.environ, flags={})
    elif arguments.section == "kafka":
        config = kafka_config(arguments.config)
    else:
        from ..config import PipelineConfig

        config = settings.load("pipeline", PipelineConfig, file=arguments.config, environ=os.environ, flags={})
    if arguments.action == "print":
        print("\n".join(_lines(arguments.section, config, arguments.config)))
    return 0


def _lines(section: str, config: Any, file: Path | None) -> Iterator[str]:
    """The settings as YAML; a comment behind each says which layer it is from."""
    origins = settings.origins(section, type(config), file=file, environ=os.environ)
    yield f"{section}:"
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if not field.repr and not value:
            continue
        text = msgspec.yaml.encode({field.name: _plain(value) if field.repr else "(not shown)"}).decode().rstrip()
        first, *more = text.splitlines()
        yield f"  {first}  # {origins[field.name]}"
        yield from (f"  {line}" for line in more)


def _plain(value: object) -> object:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value
