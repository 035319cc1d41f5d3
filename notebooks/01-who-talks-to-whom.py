# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Who talks to whom
#
# Flowatlas keeps every connection that it counts as rows of a history: who opened it, which Service it dialled, which
# pod answered, how many bytes went each way, and how it ended. This notebook asks that history four questions that
# people ask first of a cluster they do not know:
#
# 1. What is in the history?
# 2. Which workloads talk to each other, and how much?
# 3. Which Services carry it, and when?
# 4. What failed?
#
# It reads the small history that comes with the project, twelve seconds of the lab of `make demo`. Set `FLOWATLAS_LAKE`
# to the folder that `flowatlas pipeline --lake` writes, and it reads yours.

# %%
import os
from pathlib import Path

import altair as alt
import polars as pl

from pipeline.query import scan_flows

alt.renderers.enable("png")
pl.Config(
    tbl_hide_dataframe_shape=True,
    tbl_hide_column_data_types=True,
    tbl_rows=20,
    tbl_cols=12,
    tbl_width_chars=160,
    fmt_str_lengths=60,
    float_precision=3,
)

lake = os.environ.get("FLOWATLAS_LAKE") or next(
    folder for folder in (Path("data/lake"), Path("notebooks/data/lake")) if folder.is_dir()
)
flows = scan_flows(lake)

# %% [markdown]
# ## 1. What is in the history?
#
# One row is one observation of one connection on one node: what happened since the observation before. Both nodes see a
# connection that crosses between them; `role` says which row counts. `observer` is the other node's view of the same
# connection, `overlay` the tunnel packets around it. Keep the `canonical` ones, and sums are true sums: `opened` adds up
# to connections, `bytes` and `reply_bytes` to what went there and back.

# %%
flows.group_by("role").agg(
    rows=pl.len(),
    connections=pl.col("opened").cast(pl.Int64).sum(),
    bytes=(pl.col("bytes") + pl.col("reply_bytes")).sum(),
).sort("role").collect()

# %%
counted = flows.filter(pl.col("role") == "canonical")
if counted.head(1).collect().is_empty():
    raise ValueError(f"{lake} has no connection yet: there is something to see once a pipeline has written some")


def named(side: str) -> pl.Expr:
    """namespace/workload, or the workload alone where it has no namespace (a node, the outside)."""
    namespace, workload = pl.col(f"{side}_namespace"), pl.col(f"{side}_workload")
    return pl.when(namespace == "").then(workload).otherwise(namespace + "/" + workload)


pairs = (
    counted.with_columns(source=named("source"), destination=named("destination"))
    .group_by("source", "destination")
    .agg(
        connections=pl.col("opened").cast(pl.Int64).sum(),
        bytes=(pl.col("bytes") + pl.col("reply_bytes")).sum(),
    )
    .sort("bytes", descending=True)
    .collect()
)
pairs.head(10)

# %% [markdown]
# ## 2. Which workloads talk to each other?
#
# Rows opened the connections, columns answered them; the darker, the more bytes. An empty row is a workload that only
# answers, an empty column one that only asks. Colour grows with the logarithm, or one big transfer would hide the rest.

# %%
alt.Chart(pairs.filter(pl.col("bytes") > 0)).mark_rect(stroke="white").encode(
    x=alt.X("destination:N", title="answered by", axis=alt.Axis(labelAngle=-40, labelLimit=240)),
    y=alt.Y("source:N", title="opened by", axis=alt.Axis(labelLimit=240)),
    color=alt.Color(
        "bytes:Q", title="bytes", scale=alt.Scale(type="log", scheme="blues"), legend=alt.Legend(format="~s")
    ),
).properties(width=640, height=alt.Step(22), title="Bytes between workloads, both ways")

# %% [markdown]
# ## 3. Which Services carry it, and when?
#
# `service` is what the client dialled, even where the packets that the backend saw had another address by then. Rows
# without one went to a pod, a node or the outside directly. A bar is a sixtieth of the time that the history covers, but
# at least a second.

# %%
first, last = counted.select(first=pl.col("time").min(), last=pl.col("time").max()).collect().row(0)
step = f"{max(1, int((last - first).total_seconds() / 60))}s"
by_service = (
    counted.filter(pl.col("service") != "")
    .with_columns(name=pl.col("service_namespace") + "/" + pl.col("service"))
    .group_by("name", begin=pl.col("time").dt.truncate(step))
    .agg(bytes=(pl.col("bytes") + pl.col("reply_bytes")).sum())
    .collect()
)
largest = by_service.group_by("name").agg(pl.col("bytes").sum()).top_k(6, by="bytes")["name"]
shown = (
    by_service.with_columns(
        service=pl.when(pl.col("name").is_in(largest.implode())).then("name").otherwise(pl.lit("all other Services"))
    )
    .group_by("service", "begin")
    .agg(pl.col("bytes").sum())
    .sort("service", "begin")
)
shown = shown.with_columns(end=pl.col("begin").dt.offset_by(step))

alt.Chart(shown).mark_bar(orient="vertical", stroke="white", strokeWidth=0.5).encode(
    x=alt.X("begin:T", title=None, axis=alt.Axis(format="%H:%M:%S", labelAngle=0)),
    x2="end:T",
    y=alt.Y("bytes:Q", title=f"bytes in {step}", axis=alt.Axis(format="~s"), stack="zero"),
    color=alt.Color("service:N", title="Service dialled", legend=alt.Legend(labelLimit=260)),
).properties(width=640, height=260, title="Bytes through Services over time")

# %% [markdown]
# The same connections by the kind of address dialled, and how evenly the pods behind each Service answered:

# %%
endpoints = (
    counted.filter(pl.col("service") != "", pl.col("destination_kind") == "Pod")
    .group_by(
        service=pl.col("service_namespace") + "/" + pl.col("service"), pod=pl.col("destination_name"), via=pl.col("via")
    )
    .agg(connections=pl.col("opened").cast(pl.Int64).sum())
    .sort("service", "pod", "via")
    .collect()
)
alt.Chart(endpoints).mark_bar(stroke="white").encode(
    x=alt.X("connections:Q", title="connections; one block is one pod"),
    y=alt.Y("service:N", title=None, sort="-x", axis=alt.Axis(labelLimit=300)),
    color=alt.Color("via:N", title="address dialled"),
    detail="pod:N",
).properties(width=520, height=alt.Step(22), title="Connections by Service and by the pod that answered")

# %% [markdown]
# ## 4. What failed?
#
# `refused` means that a reset answered the first packet (nothing listens there), `no_reply` that nothing did (nobody is
# there, or a policy dropped it), `reset` that an established connection was cut. Each failure is on exactly one row, so
# rows count failures.

# %%
failures = (
    counted.filter(pl.col("outcome").is_in(["refused", "no_reply", "reset"]))
    .group_by(
        opened_by=named("source"),
        towards=named("destination"),
        address=pl.col("dst_ip"),
        outcome=pl.col("outcome"),
    )
    .agg(connections=pl.len(), ports=pl.col("dst_port").n_unique(), lowest=pl.col("dst_port").min())
    .sort("connections", "opened_by", "address", descending=[True, False, False])
    .collect()
)
failures

# %% [markdown]
# One client that is refused on many ports of one address, like the first row here, is scanning. From here:
#
# - `scan_flows(lake, since=..., until=..., namespace=...)` reads only the hours and rows that you need;
# - the columns are listed in `pipeline/outputs/history.py`;
# - the same names are labels of the metrics (`docs/reference/metrics.md`), so a query moves from here to a dashboard.
