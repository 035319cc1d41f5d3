"""Other guises of a connection: how a dataplane may have known it by rights, where nobody can tell.

Behind source NAT the policies of a backend may see the node in place of the source: the NetworkPolicy API leaves it
open. Within seconds of the instant at which a pod gets other labels a dataplane may know it by the ones or the others.
The invariant: a guise differs from its connection in one end alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ...inventory.endpoints import OUTSIDE
from ...inventory.snapshot import Snapshot
from .pairs import Pairs

Places = NDArray[np.int64]
Halves = tuple[NDArray[np.uint64], NDArray[np.uint64]]
"""Addresses, by halves."""


def masqueraded(
    pairs: Pairs, starts: NDArray[np.int64], nat_src: Halves, snapshot: Snapshot
) -> Iterator[tuple[Places, Pairs]]:
    """The places of pairs whose backend saw another source (`nat_src`), and those pairs from whoever held that."""
    hi, lo = nat_src
    places = np.flatnonzero((hi != pairs.src_hi) | (lo != pairs.src_lo))
    if places.size:
        hi, lo = hi[places], lo[places]
        ids = _holders(hi, lo, starts[places], snapshot)
        yield places, replace(pairs.at(places), src_id=ids, src_hi=hi, src_lo=lo)


def relabelled(
    pairs: Pairs, starts: NDArray[np.int64], snapshot: Snapshot, grace_ns: int
) -> Iterator[tuple[Places, Pairs]]:
    """The places of pairs of which an end got other labels within `grace_ns` of the start, and those pairs with that
    end as it was before, or is after it."""
    changes = _changes(snapshot)
    if not changes.height:
        return
    for end, ids in (("src_id", pairs.src_id), ("dst_id", pairs.dst_id)):
        asked = pl.DataFrame({"id": ids, "start": starts}).with_row_index("place").join(changes, on="id")
        near = asked.filter((pl.col("at") - pl.col("start")).abs() < grace_ns)
        if near.height:
            places = near["place"].to_numpy().astype(np.int64)
            others = near["other"].to_numpy()
            yield places, replace(pairs.at(places), **{end: others})


@lru_cache(maxsize=2)
def _changes(snapshot: Snapshot) -> pl.DataFrame:
    """`id`, `other`: endpoints that are one pod, one after the other; `at`: when the one became the other."""
    spans = snapshot.addresses.group_by("endpoint_id").agg(pl.col("since").min(), pl.col("until").max())
    pods = snapshot.endpoints.filter(pl.col("kind") == "Pod").select("id", "namespace", "name", "uid")
    pods = pods.filter(pl.struct("namespace", "name", "uid").is_duplicated())
    held = pods.join(spans, left_on="id", right_on="endpoint_id").sort("since")
    after = held.with_columns(pl.col("id", "since").shift(-1).over("namespace", "name", "uid").name.prefix("next_"))
    joined = after.filter(pl.col("next_since") == pl.col("until")).select("id", other="next_id", at="until")
    return pl.concat([joined, joined.select(id="other", other="id", at="at")])


def _holders(
    hi: NDArray[np.uint64], lo: NDArray[np.uint64], starts: NDArray[np.int64], snapshot: Snapshot
) -> NDArray[np.uint32]:
    """By address the endpoint that held it then; OUTSIDE where none did."""
    asked = pl.DataFrame({"addr_hi": hi, "addr_lo": lo, "start": starts}).with_row_index("place")
    held = asked.join(snapshot.addresses, on=["addr_hi", "addr_lo"])
    held = held.filter(pl.col("since") <= pl.col("start"), pl.col("start") < pl.col("until"))
    ids = np.full(hi.size, OUTSIDE, np.uint32)
    ids[held["place"].to_numpy()] = held["endpoint_id"].to_numpy()
    return ids
