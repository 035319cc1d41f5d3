"""Whether a batch is of the node that it names: what `collector.nodekeys` has signed, held against keys derived anew.

It looks at no row. The invariant: a message passes only where its MAC was made with the key of the node that it names.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from collector.nodekeys import MAC, KeyFile, derived, mac_of
from collector.schema import BatchError

from .bus import Message

MOST_ROOTS: Final = 8
_MOST_KNOWN: Final = 16_384
"""So many nodes' keys are remembered; all are forgotten where there are more."""


class NodeKeys:
    """The keys of all nodes, by the root keys in a file. Raises ConfigError where there are none."""

    def __init__(self, path: Path) -> None:
        self._file = KeyFile(path, "pipeline.root_key", MOST_ROOTS)
        self._roots: Sequence[bytes] = ()
        self._known: dict[str, tuple[bytes, ...]] = {}
        self.refresh()

    def refresh(self) -> None:
        """Look whether the file has changed."""
        roots = self._file.keys()
        if roots != self._roots:
            self._roots = roots
            self._known.clear()

    def check(self, message: Message, node: str) -> None:
        """Raises BatchError: `unsigned` where a message, whose headers are sound, has no MAC, and `forged` where it is
        not by the key of `node`."""
        told = message.headers.get(MAC)
        if told is None:
            raise BatchError("unsigned", f"in the name of {node}")
        for key in self._of(node):
            if hmac.compare_digest(mac_of(key, message.headers, message.value), told):
                return
        raise BatchError("forged", f"in the name of {node}")

    def _of(self, node: str) -> tuple[bytes, ...]:
        keys = self._known.get(node)
        if keys is None:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            keys = self._known[node] = tuple(derived(root, node) for root in self._roots)
        return keys
