"""`flowatlas config`: check or print the settings that a component would run with."""

from __future__ import annotations

import argparse
import dataclasses
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from . import Subparsers, settings


def add(commands: Subparsers) -> None:
    """Add the sub-command."""
    command = commands.add_parser(
        "config",
        help="check or print settings",
        description="Merge defaults, the YAML file and the environment (FLOWATLAS_<SECTION>_<KEY>) for one component. "
        "`print` writes the outcome as YAML, beside each setting where its value is from; secrets are not shown, "
        "nor what a running one was given by flags.",
        epilog="example: FLOWATLAS_PIPELINE_LISTEN=127.0.0.1:9500 flowatlas config print pipeline",
    )
    command.add_argument("action", choices=("check", "print"))
    command.add_argument("section", choices=settings.SECTIONS)
    command.add_argument("--config", type=Path, metavar="FILE", help="YAML file with sections")
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Exit 0 where the settings hold; `print` writes them as YAML."""
    into, file = _kind(arguments.section), arguments.config
    if arguments.action == "check":
        settings.load(arguments.section, into, file=file, environ=os.environ, flags={})
        return 0
    given = settings.given(arguments.section, into, file=file, environ=os.environ, flags={})
    if not settings.lacking(into, given):
        into(**given)
    print("\n".join(_lines(arguments.section, into, given, file)))
    return 0


def _kind(section: str) -> type:
    """The settings of a section, as its component has them."""
    if section == "collector":
        from collector.config import CollectorConfig

        return CollectorConfig
    if section == "watcher":
        from ..inventory.watch.config import WatcherConfig

        return WatcherConfig
    if section == "kafka":
        from collector.kafka_config import KafkaConfig

        return KafkaConfig
    from ..config import PipelineConfig

    return PipelineConfig


def _lines(section: str, into: type, given: Mapping[str, Any], file: Path | None) -> Iterator[str]:
    """The settings as YAML; a comment behind each says which layer it is from, and one in its place what is not set."""
    origins = settings.origins(section, into, file=file, environ=os.environ)
    lacking = settings.lacking(into, given)
    yield f"{section}:"
    for field in dataclasses.fields(into):
        if field.name in lacking:
            yield f"  # {field.name}: not set here, and it must be (flag, environment or file)"
            continue
        value = given[field.name] if field.name in given else _default(field)
        if not field.repr and not value:
            continue
        text = msgspec.yaml.encode({field.name: _plain(value) if field.repr else "(not shown)"}).decode().rstrip()
        first, *more = text.splitlines()
        yield f"  {first}  # {origins[field.name]}"
        yield from (f"  {line}" for line in more)


def _default(field: dataclasses.Field[Any]) -> Any:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def _plain(value: object) -> object:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value
