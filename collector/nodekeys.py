"""Whose batch it is: a message authentication code by a key that its node alone has, and the pipeline can derive.

Kafka tells readers no principal, so a batch says itself who made it: HMAC-SHA256 over its headers and value, cut to 128
bits. A node's key is HMAC-SHA256 of the root key over the node's name, so the pipeline keeps one key for all nodes, and
who has taken one node's can speak for that node alone.

Keys lie in files, as 64 hexadecimal digits a line: of a node's key one; of the root key the present one and others that
still hold, as while it is replaced. A file is read again where it changes. The invariant: what was read last was whole;
no key is in a message.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from .errors import ConfigError
from .schema import Batch
from .stamps import Stamp, stamp_of

_log = logging.getLogger(__name__)

MAC: Final = "mac"
"""The header that holds it, as hexadecimal digits."""
KEY_BYTES: Final = 32
_MAC_BYTES: Final = 16
_PURPOSE: Final = b"flowatlas node "
_COVERED: Final = ("schema", "table", "node", "epoch", "seq", "rows", "bytes")
_KEY: Final = re.compile(rf"[0-9a-fA-F]{{{2 * KEY_BYTES}}}\Z")


def derived(root: bytes, node: str) -> bytes:
    """The key of a node."""
    return hmac.digest(root, _PURPOSE + node.encode(), hashlib.sha256)


def mac_of(key: bytes, headers: Mapping[str, bytes], value: bytes) -> bytes:
    """What `MAC` says of a message. `headers` are sound: `parse_headers` leaves none with a NUL."""
    covered = b"\0".join([*(headers[name] for name in _COVERED), value])
    return hmac.digest(key, covered, hashlib.sha256)[:_MAC_BYTES].hex().encode()


class KeyFile:
    """The keys in one file. Raises ConfigError where they cannot be read at first."""

    def __init__(self, path: Path, setting: str, most: int = 1) -> None:
        """`setting` is what errors call it; `most` how many keys there may be."""
        self._path, self._setting, self._most = path, setting, most
        self._stamp, self._keys = self._read()

    def keys(self) -> Sequence[bytes]:
        """The keys as the file has them now; as it had them, where it cannot be read."""
        stamp = stamp_of(self._path)
        if stamp != self._stamp:
            try:
                self._stamp, self._keys = self._read()
            except ConfigError as error:
                self._stamp = stamp  # said once for each change
                _log.error("%s; what was read before stays in force", error)
            else:
                _log.info("%s: %s has been read again", self._setting, self._path)
        return self._keys

    def _read(self) -> tuple[Stamp, Sequence[bytes]]:
        stamp = stamp_of(self._path)  # before: what is written meanwhile is read the next time
        try:
            lines = self._path.read_text("ascii").split()
        except OSError as error:
            raise ConfigError(f"{self._setting}: {self._path}: {error.strerror or error}") from None
        except UnicodeDecodeError:
            lines = []
        if not 1 <= len(lines) <= self._most or not all(map(_KEY.match, lines)):
            wanted = "one key" if self._most == 1 else f"a line for each of at most {self._most} keys"
            raise ConfigError(f"{self._setting}: {self._path}: wants {wanted}, {2 * KEY_BYTES} hexadecimal digits each")
        return stamp, tuple(map(bytes.fromhex, lines))


class Signer:
    """Signs batches with the node's key in a file. Raises ConfigError where there is none."""

    def __init__(self, path: Path) -> None:
        self._file = KeyFile(path, "node_key")

    def headers(self, batch: Batch) -> dict[str, bytes]:
        """The headers of a batch as it goes on the bus."""
        headers = batch.headers()
        (key,) = self._file.keys()
        return headers | {MAC: mac_of(key, headers, batch.value)}
