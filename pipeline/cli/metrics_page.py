"""What a running pipeline or collector answers over HTTP: /metrics, of which some names are wanted, and /readyz."""

from __future__ import annotations

import urllib.error
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from ..errors import ConfigError
from .asking import ask

if TYPE_CHECKING:
    from ..diagnosis.scrape import Scrape

_TIMEOUT_S: Final = 10.0
_NOT_READY: Final = 503


def scrape(server: str, names: Iterable[str], flag: str = "--server") -> Scrape:
    """The samples of `names`. Raises ConfigError that names the flag where nobody answers, or something else does."""
    from ..diagnosis.scrape import parse

    url = f"{server.rstrip('/')}/metrics"
    try:
        with ask(url, _TIMEOUT_S) as answer:
            return parse(answer.read().decode(), names)
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise ConfigError(f"{flag}: nothing that can be read answers at {url} ({reason})") from None


def is_ready(server: str) -> bool:
    """Whether /readyz says so. Raises ConfigError where what answers is no pipeline."""
    url = f"{server.rstrip('/')}/readyz"
    try:
        with ask(url, _TIMEOUT_S):
            return True
    except urllib.error.HTTPError as error:
        if error.code == _NOT_READY:
            return False
        raise ConfigError(f"--server: {server} answers {error.code} at /readyz; it is no pipeline") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise ConfigError(f"--server: nothing answers at {url} ({reason})") from None
