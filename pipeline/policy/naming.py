"""From what a person writes, `NAMESPACE/POD`, `NAMESPACE/SERVICE` or an address, to the address that was meant then.

The invariant: a name that means two things is refused with both; the first is never taken.
"""

from __future__ import annotations

import difflib
import ipaddress
from typing import Final

import polars as pl

from ..attribution.offline import NOW
from ..errors import ConfigError
from ..inventory.addresses import text_of
from ..inventory.snapshot import Snapshot

_KINDS: Final = {"pod": "Pod", "service": "Service", "svc": "Service", "node": "Node"}


def addresses_of(snapshot: Snapshot, written: str, flag: str, at: int = NOW) -> list[str]:
    """The addresses of an end at an instant, at least one. Raises ConfigError that names the flag."""
    try:
        return [str(ipaddress.ip_address(written))]
    except ValueError:
        pass
    kind, _, rest = written.partition("/")
    wanted = [_KINDS[kind]] if kind in _KINDS and rest else ["Pod", "Service"]
    name = rest if kind in _KINDS and rest else written
    namespace, _, short = name.rpartition("/")
    ends = snapshot.endpoints.filter(
        pl.col("kind").is_in(wanted), pl.col("namespace") == namespace, pl.col("name") == short
    )
    kinds = ends["kind"].cast(pl.String).unique().sort().to_list()
    if len(kinds) > 1:
        several = " and ".join(f"{kind.lower()}/{name}" for kind in kinds)
        raise ConfigError(f"{flag}: {written} means {several}; write one of them")
    if not kinds:
        raise ConfigError(f"{flag}: {written} is no address, and no pod or Service of the state{_near(snapshot, name)}")
    found = _held(snapshot, ends["id"], at) or (_hosts(snapshot, ends, at) if kinds == ["Pod"] else [])
    return found or _backends(snapshot, ends["id"], at, f"{flag}: {written}")


def _near(snapshot: Snapshot, name: str) -> str:
    """What was probably meant, as a question."""
    ends = snapshot.endpoints.filter(pl.col("kind").is_in(["Pod", "Service"]))
    names = ends.select(pl.concat_str("namespace", pl.lit("/"), "name")).to_series().unique().sort().to_list()
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.7)
    return f"; did you mean {near[0]}?" if near else ""


def _held(snapshot: Snapshot, ids: pl.Series, at: int) -> list[str]:
    held = snapshot.addresses.filter(pl.col("endpoint_id").is_in(ids.implode()), _holds(at))
    return text_of(held["addr_hi"], held["addr_lo"]).to_list()


def _hosts(snapshot: Snapshot, pods: pl.DataFrame, at: int) -> list[str]:
    """The addresses of the nodes that pods without an address of their own are on."""
    nodes = snapshot.endpoints.filter(pl.col("kind") == "Node", pl.col("node").is_in(pods["node"].implode()))
    return _held(snapshot, nodes["id"], at)


def _backends(snapshot: Snapshot, ids: pl.Series, at: int, where: str) -> list[str]:
    """Of a headless Service, the addresses that its name resolves to."""
    services = snapshot.services.filter(pl.col("endpoint_id").is_in(ids.implode()))["service_id"]
    held = snapshot.backends.filter(pl.col("service_id").is_in(services.implode()), "is_ready", _holds(at))
    found = text_of(held["addr_hi"], held["addr_lo"]).unique(maintain_order=True).to_list()
    if not found:
        raise ConfigError(f"{where} has no address" if at == NOW else f"{where} had no address at that time")
    return found


def _holds(at: int) -> pl.Expr:
    return (pl.col("since") <= at) & (pl.col("until") > at)
