"""Rows of the live tail of a running pipeline, as `pipeline.outputs.live` gives them over HTTP."""

from __future__ import annotations

import json
import sys
import urllib.error
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode

from ..errors import ConfigError
from .asking import ask

if TYPE_CHECKING:
    import polars as pl

    from ..conditions import Condition

DEFAULT_SERVER: Final = "http://127.0.0.1:9464"
_TIMEOUT_S: Final = 20.0


def follow(server: str, conditions: Sequence[Condition]) -> Iterator[pl.DataFrame]:
    """Rows of HISTORY that match, from now on, for ever; empty frames tell that some seconds passed without.

    What was missed is said on standard error. Raises ConfigError where no pipeline answers, or it refuses.
    """
    import polars as pl

    from ..outputs.live import MISSED_HEADER, NEXT_HEADER, PATH

    where = json.dumps([[c.kind, c.value, c.is_negated] for c in conditions])
    after = ""
    while True:
        url = f"{server.rstrip('/')}{PATH}?{urlencode({'after': after, 'where': where})}"
        try:
            with ask(url, _TIMEOUT_S) as answer:
                rows = pl.read_ipc_stream(answer.read())
                after, missed = answer.headers[NEXT_HEADER], int(answer.headers[MISSED_HEADER])
        except urllib.error.HTTPError as error:
            raise ConfigError(_refusal(server, error)) from None
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", None) or error
            raise ConfigError(
                f"--server: no pipeline answers at {server} ({reason}); in a cluster: "
                "kubectl -n flowatlas port-forward service/flowatlas-pipeline 9464"
            ) from None
        if missed:
            print(f"flowatlas: {missed} rows came faster than they could be shown and were passed over; ask for fewer",
                  file=sys.stderr)  # fmt: skip
        yield rows


def _refusal(server: str, error: urllib.error.HTTPError) -> str:
    if error.code == 401:
        return f"--server: {server} wants name and password: put them into ~/.netrc"
    if error.code == 404:
        return f"--server: the pipeline at {server} serves no flows; pipeline.live switches that on"
    said = error.read(500).decode(errors="replace").strip()
    return f"--server: {server} answers {error.code}: {said}"
