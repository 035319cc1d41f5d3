"""The file that names the outside: a person's own ranges, and which lists and databases to read beside it.

    ranges:
      - {cidr: 203.0.113.0/24, name: partner}
      - {cidr: 10.20.0.0/16, name: data-centre, zone: eu-1a, region: eu-1}
    prefix_lists:
      - {path: ip-ranges.json, own_cloud: true}

Paths are relative to the file's own folder. The invariant: what is loaded is valid; every error names file and key.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import yaml

from collector.handwritten import decode_yaml

from ..errors import ConfigError
from . import prefix_lists
from .outside import BUILTIN, NamedRange, Place
from .parts import Cidr, decode


class _Range(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One range that a person names. With a `zone` or a `region` it is told apart by those, as a node is."""

    cidr: Cidr
    name: str
    kind: str = "External"
    zone: str = ""
    region: str = ""


class _PrefixList(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A cloud's list. `own_cloud`: the cluster runs in it."""

    path: str
    own_cloud: bool = False


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    ranges: list[_Range] = []
    prefix_lists: list[_PrefixList] = []


def load(path: Path) -> list[NamedRange]:
    """All ranges of the file, the built-in ones first and the person's own last, as `outside_of` wants them.

    Raises ConfigError that names the file, and the key where one is wrong.
    """
    try:
        told = msgspec.convert(decode_yaml(path.read_bytes()), _File, dec_hook=decode)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except (msgspec.ValidationError, yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{path}: {error}") from None
    listed = [
        found
        for entry in told.prefix_lists
        for found in prefix_lists.load(path.parent / entry.path, is_own=entry.own_cloud)
    ]
    return [*BUILTIN, *listed, *(_named(entry, path) for entry in told.ranges)]


def _named(entry: _Range, path: Path) -> NamedRange:
    if not entry.name:
        raise ConfigError(f"{path}: the range {entry.cidr.network} has no name")
    is_own = bool(entry.zone or entry.region) or _is_reserved(entry.cidr)
    return NamedRange(entry.cidr.network, Place(entry.name, entry.kind, entry.zone, entry.region, is_own))


def _is_reserved(cidr: Cidr) -> bool:
    """Whether the range lies inside one that is set aside, and so never crosses the internet."""
    return any(
        isinstance(cidr.network, type(reserved.network)) and cidr.network.subnet_of(reserved.network)  # type: ignore[arg-type]
        for reserved in BUILTIN
    )
