"""What settings say of the lake, read: options of the object store, of which secrets come from files alone.

The invariant: no secret is in a setting, so that none is in a process list, in `config print` or in a manifest.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from ..errors import ConfigError
from .tables import TABLES

_SECRET: Final = re.compile(r"secret|token|password|access_?key|account_?key|service_account_key|sas", re.IGNORECASE)
_DAYS: Final = re.compile(r"([1-9][0-9]{0,4})d?\Z")


def parse_options(texts: Sequence[str]) -> dict[str, str]:
    """Options of `KEY=VALUE`, or `KEY=@FILE` for what a file holds, which those of secrets must be.

    They are those of `deltalake` and Polars, the same for both: `aws_endpoint_url`, `google_service_account`, ... What
    the environment says (`AWS_ACCESS_KEY_ID`, ...) need not be said here. Raises ConfigError.
    """
    options = {}
    for text in texts:
        key, is_pair, value = text.partition("=")
        if not key or not is_pair:
            raise ConfigError(f"pipeline.lake_options: {key!r} is not KEY=VALUE or KEY=@FILE")
        if value.startswith("@"):
            try:
                value = Path(value[1:]).read_text().strip()
            except OSError as error:
                raise ConfigError(f"pipeline.lake_options: {key}: {value[1:]}: {error.strerror}") from None
        elif _SECRET.search(key) and not key.endswith(("_id", "_file", "_path")):
            raise ConfigError(f"pipeline.lake_options: {key}: a secret is read from a file: {key}=@FILE")
        options[key] = value
    return options


def parse_keep(texts: Sequence[str]) -> dict[str, int]:
    """Days by table of `TABLE=DAYS`. Raises ConfigError."""
    kept = {}
    for text in texts:
        name, _, days = text.partition("=")
        if name not in TABLES or (found := _DAYS.match(days)) is None:
            raise ConfigError(f"pipeline.lake_keep: {text!r} is not TABLE=DAYS with a table of {', '.join(TABLES)}")
        kept[name] = int(found[1])
    return kept
