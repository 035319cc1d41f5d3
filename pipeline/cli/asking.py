"""Asking a pipeline or a collector over HTTP, also where a web config guards it.

Over TLS the server is verified against the system's authorities, or those in the file that SSL_CERT_FILE names. Name
and password come from ~/.netrc (or the file that NETRC names), and are not sent in plain text beyond this machine.
"""

from __future__ import annotations

import base64
import netrc
import os
import urllib.request
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from ..errors import ConfigError

_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")


def ask(url: str, timeout_s: float) -> AbstractContextManager[Any]:
    """The answer to a GET, to be read and closed.

    Raises OSError, ValueError for a URL that is none, and ConfigError for a ~/.netrc that is none and for a URL with a
    password, which is in messages and process lists.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"}:
        raise ValueError("a URL begins with http:// or https://")
    if "@" in parts.netloc:
        raise ConfigError("a URL holds no name and password: ~/.netrc does")
    request = urllib.request.Request(url)  # noqa: S310 - the user names the server
    host = parts.hostname or ""
    if (parts.scheme == "https" or host in _LOOPBACK) and (login := _login(host)):
        request.add_header("Authorization", f"Basic {base64.b64encode(':'.join(login).encode()).decode()}")
    answer: AbstractContextManager[Any] = urllib.request.urlopen(request, timeout=timeout_s)  # noqa: S310
    return answer


def _login(host: str) -> tuple[str, str] | None:
    path = Path(os.environ.get("NETRC") or "~/.netrc").expanduser()
    try:
        found = netrc.netrc(path).authenticators(host)
    except (FileNotFoundError, PermissionError):
        return None
    except (netrc.NetrcParseError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: line {getattr(error, 'lineno', '?')} cannot be read") from None
    return (found[0], found[2] or "") if found else None
