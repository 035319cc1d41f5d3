"""Who may ask an HTTP endpoint, and over what: a web config file in force, read again where it or its files change.

Safe to use from several threads. The invariant: what is in force was valid as a whole; a change that is not is said in
the log, once, and what was in force stays so.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import os
import ssl
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from .errors import ConfigError
from .stamps import Stamp, stamp_of
from .webconfig import WebConfig, load_web_config

_log = logging.getLogger(__name__)

OPEN_PATHS: Final = ("/healthz", "/readyz")
"""Asked by probes, which have no password; they tell nothing more than that."""
_REFUSAL: Final = (
    {"WWW-Authenticate": 'Basic realm="flowatlas", charset="UTF-8"', "Content-Type": "text/plain; charset=utf-8"},
    b"name and password are wanted\n",
)
_MOST_KNOWN: Final = 256
_NOBODY: Final = b"$2b$10$PqS1i62bi8L1B9Z5rt2YFus2J4mju3F9SUpRQy5.xCPm3s2CWbQFa"
"""What the password of a user that there is not is held against, so that the answer takes as long."""

_Stamps = tuple[Stamp, ...]


class WebGuard:
    """The web config at `path` in force. Raises ConfigError where it is not valid at first."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._checking = threading.Lock()
        """Held by the one check that goes on: whoever has no password may not have all processors by trying some."""
        self._secret = os.urandom(32)
        self._known: dict[bytes, bool] = {}
        self._refused: _Stamps = ()
        self._stamps: _Stamps = ()
        self._config, self._context = self._load()

    @property
    def headers(self) -> Mapping[str, str]:
        """To be added to every answer."""
        return self._current()[0].headers

    @property
    def refusal(self) -> tuple[Mapping[str, str], bytes]:
        """Headers and body of the answer 401 to who is not authorized."""
        return _REFUSAL

    def context(self) -> ssl.SSLContext | None:
        """The TLS context of the next connection; None: it is in plain text."""
        return self._current()[1]

    def admits(self, certificate: object) -> bool:
        """Whether the client that has shown this certificate (`SSLSocket.getpeercert`) may ask."""
        config, _ = self._current()
        if config.tls is None or not config.tls.allowed_names:
            return True
        names = certificate.get("subjectAltName", ()) if isinstance(certificate, dict) else ()
        return any(name in config.tls.allowed_names for _, name in names)

    def authorizes(self, path: str, authorization: str) -> bool:
        """Whether a request for `path` with this Authorization header may be answered."""
        users = self._current()[0].users
        if not users or path in OPEN_PATHS:
            return True
        scheme, _, encoded = authorization.partition(" ")
        try:
            name, colon, password = base64.b64decode(encoded.strip(), validate=True).partition(b":")
            user = name.decode()
        except ValueError:  # no base64, no ASCII, no UTF-8
            return False
        if scheme.lower() != "basic" or not colon:
            return False
        return self._is_password(password, users.get(user, _NOBODY)) and user in users

    def _is_password(self, password: bytes, hashed: bytes) -> bool:
        """Whether the password has this hash; remembered, since a check is slow on purpose."""
        if b"\0" in password or len(password) > 72:
            return False
        key = hmac.new(self._secret, hashed + b"\0" + password, hashlib.sha256).digest()
        with self._lock:
            known = self._known.get(key)
        if known is None:
            with self._checking:
                known = _checkpw(password, hashed)
            with self._lock:
                while len(self._known) >= _MOST_KNOWN:
                    wrong = (key for key, is_right in self._known.items() if not is_right)
                    self._known.pop(next(wrong, next(iter(self._known))))
                self._known[key] = known
        return known

    def _current(self) -> tuple[WebConfig, ssl.SSLContext | None]:
        with self._lock:
            stamps = (stamp_of(self._path), *_stamps(self._config))
            if stamps not in (self._stamps, self._refused):
                try:
                    self._config, self._context = self._load()
                except ConfigError as error:
                    self._refused = stamps
                    _log.error("web config: %s; what was in force stays so", error)
                else:
                    self._known.clear()
                    _log.info("web config: %s has been read again", self._path)
            return self._config, self._context

    def _load(self) -> tuple[WebConfig, ssl.SSLContext | None]:
        of_file = stamp_of(self._path)  # before it is read: what is written meanwhile is read the next time
        config = load_web_config(self._path)
        stamps = (of_file, *_stamps(config))
        if config.users:
            _checkpw(b"", _NOBODY)  # is bcrypt here?
        context = config.tls.context() if config.tls else None
        self._stamps, self._refused = stamps, ()
        return config, context


def _checkpw(password: bytes, hashed: bytes) -> bool:
    try:
        import bcrypt
    except ModuleNotFoundError:
        raise ConfigError("basic_auth_users: wants the package bcrypt: pip install 'flowatlas[web]'") from None
    return bcrypt.checkpw(password, hashed)


def _stamps(config: WebConfig) -> _Stamps:
    """Those of the files that a config names."""
    return tuple(stamp_of(file) for file in (config.tls.files if config.tls else ()))
