"""What traffic costs: a price for a gigabyte, by how far it goes and which way, as a person gives it in a file.

    currency: USD
    per_gigabyte:
      cross_zone: {egress: 0.01, ingress: 0.01}
      internet: {egress: 0.09}

The end that sends a byte pays `egress` for it, the end that receives it `ingress`; ends beyond the cluster pay nothing.
A gigabyte is 10^9 bytes. The invariant: what has no price costs nothing, and without a file there are no costs at all.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import yaml

from collector.handwritten import decode_yaml

from .attribution.zones import LOCALITIES
from .errors import ConfigError

Amount = Annotated[float, msgspec.Meta(ge=0, le=1_000_000)]
GIGABYTE = 10**9


class Price(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Prices of a gigabyte that an end sends and receives."""

    egress: Amount = 0.0
    ingress: Amount = 0.0


class Prices(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A price table. Keys of `per_gigabyte` are LOCALITIES."""

    currency: Annotated[str, msgspec.Meta(pattern=r"^[A-Z]{3}$")]
    per_gigabyte: dict[str, Price]


def load_prices(path: Path) -> Prices:
    """The price table in a YAML file. Raises ConfigError that names the file, and the key where one is wrong."""
    try:
        prices = msgspec.convert(decode_yaml(path.read_bytes()), Prices)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except (msgspec.ValidationError, yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{path}: {error}") from None
    known = LOCALITIES.categories.to_list()
    for key in prices.per_gigabyte:
        if key not in known:
            raise ConfigError(f"{path}: per_gigabyte.{key} is no distance; known: {', '.join(known)}")
    return prices
