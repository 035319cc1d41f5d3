"""Attributed flows as a table for people: who, what was dialled, which Service, who answered, and what policies say.

The other formats have every column. The invariant: a row is a flow, in the order of the file.
"""

from __future__ import annotations

import polars as pl

from .output import full_name


def narrow(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows with an end, a Service and the policies of both directions as one text each."""
    rule = pl.element().struct.field("rule").fill_null("")
    policy = pl.concat_str(
        pl.element().struct.field("kind"),
        pl.lit(" "),
        full_name(pl.element().struct.field("namespace"), pl.element().struct.field("name")),
        pl.when(rule == "").then(pl.lit("")).otherwise(" rule " + rule),
        pl.lit(" "),
        pl.element().struct.field("effect").cast(pl.String),
    )
    directions = [
        pl.col(name).struct.field("policies").list.eval(policy).fill_null([]) for name in ("egress", "ingress_policy")
    ]
    port = pl.col("dst_port").cast(pl.String).fill_null("-")
    is_v6 = pl.col("dst_ip").str.contains(":", literal=True)
    address = pl.when(is_v6).then("[" + pl.col("dst_ip") + "]").otherwise("dst_ip")
    return rows.select(
        _end("source", "src_ip").alias("source"),
        pl.concat_str(address, pl.lit(":"), port).alias("dialled"),
        pl.col("protocol").cast(pl.String),
        full_name(pl.col("service").struct.field("namespace"), pl.col("service").struct.field("name")).alias("service"),
        _end("destination", "dst_ip").alias("destination"),
        pl.col("verdict").cast(pl.String),
        pl.col("attribution").cast(pl.String),
        pl.col("reason").cast(pl.String),
        pl.concat_list(directions).list.unique(maintain_order=True).list.join("; ").alias("policies"),
    )


def _end(side: str, address: str) -> pl.Expr:
    """A pod, Service or node by its name; what the cluster does not know by what it is, and its address."""
    of = pl.col(side).struct
    name = of.field("name").cast(pl.String).fill_null("")
    is_known = of.field("kind").cast(pl.String).is_in(["External", "Unknown"]).not_().fill_null(value=False)
    beyond = pl.concat_str(name, pl.lit(" "), address, ignore_nulls=True).str.strip_chars_start()
    return pl.when(is_known).then(full_name(of.field("namespace"), name)).otherwise(beyond)
