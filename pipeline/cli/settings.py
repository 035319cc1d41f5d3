"""Configuration: defaults < YAML file < environment < flags, into one frozen dataclass a component.

A YAML file has a section a component (`collector:`, `pipeline:`) whose keys are the dataclass's fields. The environment
says `FLOWATLAS_COLLECTOR_INTERVAL_S=5`. A key that no component knows is an error that names it, wherever it came from.
Of a setting that may be none, `none`, `null` and nothing at all take back what an earlier layer says.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import yaml

from collector.handwritten import decode_yaml

from ..errors import ConfigError

T = TypeVar("T")

PREFIX = "FLOWATLAS_"
_ENVIRONMENT = "environment"
_NONE = ("", "none", "null")
SECTIONS = ("collector", "pipeline", "watcher", "kafka")


def load(
    section: str,
    into: type[T],
    *,
    file: Path | None,
    environ: Mapping[str, str],
    flags: Mapping[str, object],
) -> T:
    """Merge the four layers and build `into`. Flags that are None were not given.

    Raises ConfigError that names the key and the layer it came from.
    """
    merged = given(section, into, file=file, environ=environ, flags=flags)
    if missing := lacking(into, merged):
        raise ConfigError(f"{section}: {', '.join(missing)} must be set (flag, environment or file)")
    return into(**merged)


def given(
    section: str, into: type, *, file: Path | None, environ: Mapping[str, str], flags: Mapping[str, object]
) -> dict[str, Any]:
    """What the layers above the defaults set, as `into` has it. Raises ConfigError as `load` does."""
    hints = typing.get_type_hints(into)
    fields = {field.name: hints[field.name] for field in dataclasses.fields(into)}
    merged: dict[str, Any] = {}
    for origin, layer in _layers(section, file, environ, flags):
        for key, value in layer.items():
            if key not in fields:
                raise ConfigError(f"{origin}: {section}.{key} is not a setting; known: {', '.join(fields)}")
            merged[key] = _convert(value, fields[key], f"{origin}: {section}.{key}")
    return merged


def lacking(into: type, merged: Mapping[str, object]) -> list[str]:
    """Settings without a default that are not among those given."""
    return [
        field.name
        for field in dataclasses.fields(into)
        if field.default is dataclasses.MISSING
        and field.default_factory is dataclasses.MISSING
        and field.name not in merged
    ]


def origins(section: str, into: type, *, file: Path | None, environ: Mapping[str, str]) -> dict[str, str]:
    """By setting, the layer whose value `load` takes when no flags are given: `default`, the file, or the variable."""
    found = {field.name: "default" for field in dataclasses.fields(into)}
    for origin, layer in _layers(section, file, environ, {}):
        for key in layer:
            is_variable = origin == _ENVIRONMENT
            found[key] = f"{PREFIX}{section.upper()}_{key.upper()}" if is_variable else origin
    return found


def _layers(
    section: str, file: Path | None, environ: Mapping[str, str], flags: Mapping[str, object]
) -> list[tuple[str, Mapping[str, object]]]:
    """Each layer's name and what it sets, later over earlier."""
    return [
        (str(file), _from_file(file, section) if file else {}),
        (_ENVIRONMENT, _from_environment(environ, section)),
        ("flags", {key: value for key, value in flags.items() if value is not None}),
    ]


def _from_file(file: Path, section: str) -> Mapping[str, object]:
    try:
        document = decode_yaml(file.read_bytes())
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{file}: {error}") from None
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise ConfigError(f"{file}: a mapping of sections is wanted")
    for name in document:
        if name not in SECTIONS:
            raise ConfigError(f"{file}: {name} is not a section; known: {', '.join(SECTIONS)}")
    part = document.get(section) or {}
    if not isinstance(part, dict):
        raise ConfigError(f"{file}: {section}: a mapping of settings is wanted")
    return {str(key): value for key, value in part.items()}


def _from_environment(environ: Mapping[str, str], section: str) -> Mapping[str, object]:
    prefix = f"{PREFIX}{section.upper()}_"
    return {key[len(prefix) :].lower(): value for key, value in environ.items() if key.startswith(prefix)}


def _convert(value: object, kind: Any, where: str) -> Any:
    if isinstance(value, str) and value.lower() in _NONE and type(None) in typing.get_args(kind):
        return None
    if isinstance(value, str) and typing.get_origin(kind) is tuple:
        value = [part.strip() for part in value.split(",") if part.strip()]
    try:
        return msgspec.convert(value, kind, strict=False, dec_hook=_decode_path)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{where}: {error}") from None


def _decode_path(kind: type, value: object) -> object:
    if kind is Path and isinstance(value, str):
        return Path(value)
    raise NotImplementedError
