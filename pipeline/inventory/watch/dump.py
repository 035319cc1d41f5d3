"""Everything that the cluster has, once, as JSON Lines: the same bodies that the bus carries."""

from __future__ import annotations

import logging

import msgspec

from ...errors import ConfigError, TransientError
from .api import Api
from .bodies import nameplate, seen_or_none, slim
from .errors import AbsentError, ForbiddenError, GoneError
from .kinds import Served

log = logging.getLogger(__name__)


async def dump(api: Api) -> bytes:
    """One line an object. Raises ConfigError where the server does not answer, or forbids a kind that must be read."""
    try:
        lines = [line for served in await api.served() for line in await _lines(api, served)]
    except (TransientError, AbsentError, GoneError) as error:
        raise ConfigError(f"kubeconfig: {error}") from error
    finally:
        await api.close()
    return b"".join(line + b"\n" for line in lines)


async def _lines(api: Api, served: Served) -> list[bytes]:
    found: list[bytes] = []
    token = ""
    while True:
        try:
            items, _, token = await api.page(served, token)
        except ForbiddenError as error:
            if served.kind.is_required:
                raise
            log.warning("%s: %s; left out", served.kind.label, error)
            return []
        for raw in items:
            try:
                found.append(slim(served, raw).written)
            except msgspec.ValidationError as error:
                who = seen_or_none(raw)
                if who is not None and (plate := nameplate(served, who)) is not None:
                    found.append(plate.written)
                log.warning("%s: one is not understood: %s", served.kind.label, error)
        if not token:
            return found
