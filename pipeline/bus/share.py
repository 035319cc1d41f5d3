"""Which partitions a pipeline reads where they are fixed: those whose number, modulo how many share them, is its own.

Nothing is negotiated, so nothing is rebalanced. The invariant: a partition number is one share's in every topic, so
whatever one node ships, in whichever table, is read by the same pipeline (topics have equally many partitions and the
node's name is the key).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from ..errors import ConfigError

MAX_SHARES: Final = 10_000
_FIXED: Final = re.compile(r"(\d{1,5}|ordinal)/(\d{1,5})\Z", re.ASCII)
_ORDINAL: Final = re.compile(r"-(\d{1,5})\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Share:
    """The `ordinal`-th of `of` equal shares, counted from 0."""

    ordinal: int
    of: int

    def takes(self, partition: int) -> bool:
        """Whether a partition is in this share."""
        return partition % self.of == self.ordinal

    def divided(self, worker: int, workers: int) -> Share:
        """The part of this share that one of its workers takes."""
        return Share(self.ordinal + worker * self.of, self.of * workers)

    def __str__(self) -> str:
        return f"{self.ordinal}/{self.of}"


def parse_share(text: str, environ: Mapping[str, str], key: str = "pipeline.partitions") -> Share | None:
    """The share that a setting names: None for `group`, else `I/N`, or `ordinal/N`, with I from the number at the end
    of POD_NAME, or of HOSTNAME, as StatefulSets number their pods. Raises ConfigError that names `key`."""
    if text == "group":
        return None
    match = _FIXED.match(text)
    if match is None:
        raise ConfigError(f"{key}: {text!r} is not group, I/N or ordinal/N")
    of = int(match[2])
    if match[1] == "ordinal":
        name = environ.get("POD_NAME") or environ.get("HOSTNAME", "")
        number = _ORDINAL.search(name)
        if number is None:
            raise ConfigError(f"{key}: neither POD_NAME nor HOSTNAME ends with a number: {name!r}")
        ordinal = int(number[1])
    else:
        ordinal = int(match[1])
    if not 0 <= ordinal < of <= MAX_SHARES:
        raise ConfigError(f"{key}: {ordinal}/{of} is no share; I counts from 0 and is less than N")
    return Share(ordinal, of)
