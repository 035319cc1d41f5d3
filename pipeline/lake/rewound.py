"""A table that is behind what the others know of it: deleted and made anew, or put back from an older copy; and where
a pipeline goes on of which the history is all that is left.

The other tables carry numbers of FLOWS: of the settles that their files are of, and up to which of its versions they
are folded. The invariant: after `catch_up` no row of another table is taken for one of an unfinished settle because
FLOWS has lost its record of it, and what is committed to FLOWS from then on is folded once.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any, Final

from deltalake import DeltaTable

from ..errors import TransientError
from .folding import FOLDED
from .parts import files_of, settle_of
from .store import PLACES, REFUSALS, Store, log_name
from .tables import DERIVED, FLOWS, SETTLED

log = logging.getLogger(__name__)

_LONG_AGO: Final = 1_000
"""So many entries of a log are looked through: of ten shares those of a quarter of an hour."""


def catch_up(store: Store, tables: Mapping[str, DeltaTable]) -> None:
    """Let tables agree again, before anything is written to them. Raises TransientError where the store refuses, or
    others do the same at this moment."""
    flows = tables[FLOWS.name]
    try:
        if flows.version() == 0 and (settles := _settles_elsewhere(tables)):  # nobody has written to it yet
            log.warning("lake: flows is a new table beside older ones: their rows stay, the flows of before are gone")
            store.commit(FLOWS, flows, [], settles)
        for table in DERIVED:
            folded = tables[table.name].transaction_version(FOLDED)
            if folded is not None and folded > flows.version():
                log.warning("lake: flows is behind what %s has of it: what comes from now on is folded", table.name)
                store.commit(table, tables[table.name], [], {FOLDED: flows.version()})
    except REFUSALS as error:
        raise TransientError(f"lake: {FLOWS.name}: {error}") from error


def places_of(store: Store, flows: DeltaTable, app: str) -> dict[str, dict[str, Any]] | None:
    """The places on the bus that are in the last settle of an application; None where it is long ago, or there is none.

    Raises TransientError where the store does not answer.
    """
    try:
        settle = flows.transaction_version(app)
        newest = flows.version() if settle is not None else 0
        for version in range(newest, max(0, newest - _LONG_AGO), -1):
            entry = [json.loads(line) for line in store.read(FLOWS, f"_delta_log/{log_name(version)}").splitlines()]
            numbers = {action["txn"]["appId"]: action["txn"]["version"] for action in entry if "txn" in action}
            if numbers.get(app) == settle:
                told = {name: text for action in entry for name, text in action.get("commitInfo", {}).items()}
                return json.loads(told[PLACES]) if PLACES in told else None
    except FileNotFoundError:  # the log forgets
        return None
    except REFUSALS as error:
        raise TransientError(f"lake: {FLOWS.name}: {error}") from error
    return None


def _settles_elsewhere(tables: Mapping[str, DeltaTable]) -> dict[str, int]:
    """The last settle of each application of which the tables beside FLOWS have files."""
    last: dict[str, int] = {}
    for table in SETTLED[:-1]:
        for path in files_of(tables[table.name])["path"]:
            if (settle := settle_of(path)) is not None:
                app, number = settle
                last[app] = max(number, last.get(app, 0))
    return last
