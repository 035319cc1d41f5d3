"""Names that clients were given for addresses beyond the cluster, as of the connection: a bounded memory of answers.

What a client was told counts for that client first. The invariant: a name is given only while its answer was valid, and
where several names would do for a client that was not seen asking, none is given.
"""

from __future__ import annotations

from itertools import islice
from typing import Final

import numpy as np
import polars as pl

from ..inventory.snapshot import Snapshot
from ..kept import Frames, fits, rows_of
from . import arrays
from .lookups import lookups_of

GRACE_NS: Final = 60 * 10**9
"""How long after its time to live an answer still counts: a client resolves first and connects then, and many keep an
answer somewhat longer than they may."""
MAX_ANSWERS: Final = 200_000
"""Answers that are remembered, some 25 MB with their names; those whose time ended first are forgotten first."""
MERGE_ROWS: Final = 20_000
"""So many new answers, and half as many as are known, are held beside the others before they are merged with them."""

GIVEN: Final[pl.Enum] = pl.Enum(["exact", "inferred", "sni"])
"""`exact`: the client had just been given this name and no other for the address. `inferred`: it had been given others
too, of which this is the newest; or only other clients were seen asking, and all of them for this name. `sni`: no
answer told, and the client itself asked for this name by TLS or HTTP (`heads.with_said_names`)."""

_KEY: Final = ("client_hi", "client_lo", "addr_hi", "addr_lo", "name")
_ASKED: Final = {"src_hi": "client_hi", "src_lo": "client_lo", "dst_hi": "addr_hi", "dst_lo": "addr_lo"}
"""What of a flow is asked for, by the names that answers have for it."""
_ANSWERS: Final = pl.Schema(
    {
        "client_hi": pl.UInt64(),
        "client_lo": pl.UInt64(),
        "addr_hi": pl.UInt64(),
        "addr_lo": pl.UInt64(),
        "name": pl.UInt32(),  # row of the names
        "since": pl.Int64(),
        "until": pl.Int64(),
    }
)
_NAMES: Final = pl.Schema({"name": pl.String})
_BY_ADDRESS: Final = ("addr_hi", "addr_lo", "name", "since", "until")


class DnsNames:
    """The answers of DNS batches, and the names that they give to connections."""

    def __init__(self, grace_ns: int = GRACE_NS, max_answers: int = MAX_ANSWERS, merge_rows: int = MERGE_ROWS) -> None:
        self._grace_ns = grace_ns
        self._max_answers = max_answers
        self._merge_rows = merge_rows
        self._merged = pl.DataFrame(schema=_ANSWERS)
        self._by_address = self._merged.select(_BY_ADDRESS)
        """The same for whichever client."""
        self._recent: list[pl.DataFrame] = []
        self._recent_rows = 0
        self._numbers: dict[str, int] = {}
        self._texts = pl.Series(dtype=pl.String)

    def __len__(self) -> int:
        return self._merged.height + self._recent_rows

    def add(self, exchanges: pl.DataFrame) -> None:
        """Remember the answers among rows of `collector.schema.DNS`."""
        answers = (
            exchanges.lazy()
            .with_columns(question=self._numbered(exchanges["question"]))
            .filter((pl.col("answer_hi") != 0) | (pl.col("answer_lo") != 0))
            .select(
                "client_hi",
                "client_lo",
                pl.col("answer_hi").alias("addr_hi"),
                pl.col("answer_lo").alias("addr_lo"),
                pl.col("question").alias("name"),
                pl.col("time").alias("since"),
                (pl.col("time") + pl.col("ttl_s").cast(pl.Int64) * 10**9 + self._grace_ns).alias("until"),
            )
            .collect()
        )
        self._recent.append(answers)
        self._recent_rows += answers.height
        if self._recent_rows >= max(self._merge_rows, self._merged.height // 2):
            self._merge()

    def state(self) -> Frames:
        """The answers, and the names by number."""
        recent = {f"recent{place}": rows for place, rows in enumerate(self._recent)}
        return {"names": self._names().alias("name").to_frame(), "merged": self._merged, **recent}

    def restore(self, frames: Frames) -> int:
        """Take up answers and their names."""
        answers = {name: rows for name, rows in frames.items() if name != "names"}
        if not fits(frames, names=_NAMES, **dict.fromkeys(answers, _ANSWERS)):
            return rows_of(frames)
        self._texts = frames["names"]["name"]
        self._numbers = {name: number for number, name in enumerate(self._texts)}
        self._recent = list(answers.values())
        self._recent_rows = rows_of(answers)
        self._merge()
        return 0

    def join(self, flows: pl.DataFrame, snapshot: Snapshot) -> pl.DataFrame:
        """Flows attributed under `snapshot` with `dns_name` (String) and `dns_given` (Enum GIVEN) added, both
        null where none is known; the order of rows is kept. Only what answered from beyond the cluster is named."""
        names, given = (
            pl.Series(name, [None], dtype=dtype).new_from_index(0, flows.height)
            for name, dtype in (("dns_name", pl.String()), ("dns_given", GIVEN))
        )
        if len(self):
            is_external = lookups_of(snapshot).is_external.to_numpy()
            rows = np.flatnonzero(is_external.take(flows["dst_id"].to_numpy()))
            asked = arrays.taken(flows, rows, "start", *_ASKED).rename(_ASKED).with_columns(_row=pl.Series(rows))
            told = self._named(asked.lazy()).collect()
            names.scatter(told["_row"], told["dns_name"])
            given.scatter(told["_row"], told["dns_given"])
        return flows.hstack([names, given])

    def _named(self, asked: pl.LazyFrame) -> pl.LazyFrame:
        """_row, dns_name and dns_given of those rows that have a name."""
        is_valid = (pl.col("since") <= pl.col("start")) & (pl.col("start") < pl.col("until"))
        exact, inferred = (pl.lit(word, dtype=GIVEN) for word in ("exact", "inferred"))
        own = (
            asked.join(pl.concat([self._merged, *self._recent]).lazy(), on=_KEY[:4])
            .filter(is_valid)
            .sort("since", "name")
            .group_by("_row")
            .agg(pl.col("name").last(), least=pl.col("name").min(), most=pl.col("name").max())
            .with_columns(dns_given=pl.when(pl.col("least") == pl.col("most")).then(exact).otherwise(inferred))
        )
        anybody = pl.concat([self._by_address, *(rows.select(_BY_ADDRESS) for rows in self._recent)]).lazy()
        others = (
            asked.join(own, on="_row", how="anti")
            .join(anybody, on=_BY_ADDRESS[:2])
            .filter(is_valid)
            .group_by("_row")
            .agg(pl.col("name").last(), least=pl.col("name").min(), most=pl.col("name").max())
            .filter(pl.col("least") == pl.col("most"))
            .with_columns(dns_given=inferred)
        )
        told = pl.concat([own, others])
        return told.select("_row", "dns_given", dns_name=pl.lit(self._names()).gather(pl.col("name")))

    def _names(self) -> pl.Series:
        """By number: the name."""
        new = list(islice(self._numbers, len(self._texts), None))
        if new:
            self._texts = pl.concat([self._texts, pl.Series(new, dtype=pl.String)], rechunk=True)
        return self._texts

    def _numbered(self, names: pl.Series) -> pl.Series:
        """The number (UInt32) of each name; new names get new ones."""
        distinct = names.unique()
        numbers = [self._numbers.setdefault(name, len(self._numbers)) for name in distinct]
        known = pl.DataFrame({"name": distinct, "number": pl.Series(numbers, dtype=pl.UInt32)})
        return names.alias("name").to_frame().join(known, on="name", how="left", maintain_order="left")["number"]

    def _merge(self) -> None:
        """Join answers that follow on each other into one, and forget what is too much."""
        merged = _merged(pl.concat([self._merged, *self._recent]), _KEY)
        if merged.height > self._max_answers:
            merged = merged.top_k(self._max_answers, by="until")
        merged = self._renumbered(merged)
        self._merged, self._by_address = merged, _merged(merged.select(_BY_ADDRESS), _BY_ADDRESS[:3])
        self._recent, self._recent_rows = [], 0

    def _renumbered(self, merged: pl.DataFrame) -> pl.DataFrame:
        """Forget the names that no answer has any more, once they are most."""
        kept = merged["name"].unique().sort()
        if len(self._numbers) <= 2 * len(kept):
            return merged
        texts = self._names().gather(kept)
        self._texts, self._numbers = texts, {name: place for place, name in enumerate(texts)}
        places = pl.DataFrame({"name": kept}).with_row_index("place")
        return merged.join(places, on="name", maintain_order="left").with_columns(name="place").drop("place")


def _merged(spans: pl.DataFrame, key: tuple[str, ...]) -> pl.DataFrame:
    """Spans of the same key that meet or overlap, as one."""
    ordered = spans.sort(*key, "since")
    is_same = pl.all_horizontal(pl.col(name) == pl.col(name).shift(1) for name in key)
    reached = pl.col("until").cum_max().over(key).shift(1)
    begins = ~(is_same & (pl.col("since") <= reached)).fill_null(value=False)
    return (
        ordered.with_columns(span=begins.cum_sum())
        .group_by("span", maintain_order=True)
        .agg(pl.col(*key, "since").first(), pl.col("until").max())
        .select(*key, "since", "until")
    )
