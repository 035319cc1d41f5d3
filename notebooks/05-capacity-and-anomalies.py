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
# # Capacity and anomalies
#
# Alerts find what somebody thought of. This notebook looks for what nobody did, by simple means that can be explained to
# whoever is woken by them:
#
# 1. How much is usual at this hour of this weekday, and when was it not? And when will it be too much?
# 2. Which pairs of workloads talk that never did before?
# 3. Who calls home on a beat?
# 4. Who tries many doors?
#
# Without `FLOWATLAS_LAKE`, the folder that `flowatlas pipeline --lake` writes, this notebook reads a month of a shop that
# is made up, with one of each planted; a history of minutes finds little here.

# %%
import os

import altair as alt
import polars as pl

from notebooks import sample
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

lake = os.environ.get("FLOWATLAS_LAKE") or sample.lake()


def named(side: str) -> pl.Expr:
    """namespace/workload, or the workload alone where it has no namespace (a node, the outside)."""
    namespace, workload = pl.col(f"{side}_namespace"), pl.col(f"{side}_workload")
    return pl.when(namespace == "").then(workload).otherwise(namespace + "/" + workload)


counted = (
    scan_flows(lake).filter(role="canonical").with_columns(source=named("source"), destination=named("destination"))
)

if counted.head(1).collect().is_empty():
    raise ValueError(f"{lake} has no connection yet: what is usual is told by weeks of them")

# %% [markdown]
# ## 1. The usual, and what is not
#
# Load has a rhythm of hours and weekdays. The usual is the median of the same hour of the week over all weeks of the
# history; what is far from it, measured in median absolute deviations of that hour of the day, stands out. Medians are
# not moved by the very outliers that they look for.

# %%
hours = (
    counted.group_by(hour=pl.col("time").dt.truncate("1h"))
    .agg(
        gigabytes=(pl.col("bytes") + pl.col("reply_bytes")).sum() / 1e9,
        connections=pl.col("opened").cast(pl.Int64).sum(),
    )
    .with_columns(slot=pl.col("hour").dt.weekday() * 24 + pl.col("hour").dt.hour())
    .with_columns(usual=pl.col("gigabytes").median().over("slot"))
    .with_columns(off=pl.col("gigabytes") - pl.col("usual"))
    .with_columns(
        deviations=pl.col("off") / (1.4826 * pl.col("off").abs().median().over(pl.col("hour").dt.hour()) + 1e-9)
    )
    .sort("hour")
    .collect()
)
hours.filter(pl.col("deviations").abs() > 10).sort("deviations", descending=True).drop("slot").head(5)

# %%
lines = hours.select("hour", "gigabytes", "usual").unpivot(index="hour", variable_name="what", value_name="amount")
alt.Chart(lines).mark_line().encode(
    x=alt.X("hour:T", title=None, axis=alt.Axis(format="%d %b")),
    y=alt.Y("amount:Q", title="gigabytes in an hour", scale=alt.Scale(type="symlog", constant=0.1)),
    color=alt.Color("what:N", title=None),
    opacity=alt.condition(alt.datum.what == "usual", alt.value(0.6), alt.value(1.0)),
).properties(width=680, height=220, title="Traffic of each hour, and what is usual for it")

# %% [markdown]
# The regular spikes are a nightly job and belong to the usual; the one that leaves the curve does not.
#
# Growth of the usual, week by week, says when a link or a node will be full. `growth` is the change of the median since
# the week before, as a fraction: a few hundredths up and down is noise, the same sign for a month is a trend.

# %%
weekly = (
    hours.group_by_dynamic("hour", every="1w")
    .agg(median=pl.col("gigabytes").median(), busiest=pl.col("gigabytes").quantile(0.99), hours=pl.len())
    .filter(pl.col("hours") > 100)
    .with_columns(growth=pl.col("median") / pl.col("median").shift(1) - 1)
)
weekly

# %% [markdown]
# ## 2. New edges
#
# A pair of workloads (and, beyond the cluster, a name or address) that is seen for the first time after the first days is
# a change: a deployment, or somebody who should not be there.

# %%
began = counted.select(pl.col("time").min()).collect().item()
peer = (
    pl.when(pl.col("destination_kind") == "External")
    .then(pl.when(pl.col("dns_name") != "").then("dns_name").otherwise("dst_ip"))
    .otherwise("destination")
)
edges = (
    counted.filter(pl.col("source_namespace") != "")
    .group_by("source", peer=peer)
    .agg(
        first=pl.col("start").min().dt.truncate("1s"),
        connections=pl.len(),
        ports=pl.col("dst_port").n_unique(),
        gigabytes=(pl.col("bytes") + pl.col("reply_bytes")).sum() / 1e9,
    )
    .sort("first", descending=True)
    .collect()
)
new = edges.filter(pl.col("first") > began + pl.duration(days=7))
new

# %%
alt.Chart(edges.with_columns(edge=pl.col("source") + " \N{RIGHTWARDS ARROW} " + pl.col("peer"))).mark_circle(
    size=90
).encode(
    x=alt.X("first:T", title="first seen", axis=alt.Axis(format="%d %b", tickCount=8)),
    y=alt.Y("edge:N", title=None, sort="x", axis=alt.Axis(labelLimit=360)),
    color=alt.Color("gigabytes:Q", title="gigabytes", scale=alt.Scale(type="symlog", scheme="blues", domainMin=0)),
).properties(width=420, height=alt.Step(18), title="When each edge was first seen")

# %% [markdown]
# ## 3. Beacons
#
# Programs that call home do it on a beat. People and queues do not: their gaps scatter. A client and target with many
# connections whose gaps are nearly equal (a coefficient of variation below a tenth) is a beat. Health checks and scrapes
# inside the cluster beat too, so only what is beyond it is looked at.

# %%
gaps = (
    counted.filter(pl.col("destination_kind") == "External", pl.col("source_namespace") != "")
    .sort("start")
    .with_columns(gap=pl.col("start").diff().dt.total_milliseconds().over("source_name", "dst_ip", "dst_port") / 1000)
)
beats = (
    gaps.group_by("source", "source_name", "dst_ip", "dst_port", "dns_name")
    .agg(
        connections=pl.len(),
        every_s=pl.col("gap").median(),
        variation=pl.col("gap").std() / pl.col("gap").mean(),
        bytes_each=pl.col("bytes").median(),
        first=pl.col("start").min().dt.truncate("1s"),
    )
    .filter(pl.col("connections") >= 20)
    .sort("variation")
    .collect()
)
beats.head(5)

# %%
wide = 0.125  # of a power of ten
called = (
    gaps.filter(pl.col("gap") > 0.1)
    .with_columns(
        peer=pl.when(pl.col("dns_name") != "").then("dns_name").otherwise("dst_ip"),
        power=(pl.col("gap").log10() / wide).floor() * wide,
    )
    .group_by("peer", "source_name", "power")
    .agg(calls=pl.len())
    .with_columns(
        share=pl.col("calls") / pl.col("calls").sum().over("peer", "source_name"),
        caller=pl.col("source_name") + " \N{RIGHTWARDS ARROW} " + pl.col("peer"),
        least=10 ** pl.col("power"),
        most=10 ** (pl.col("power") + wide),
    )
    .sort("caller", "power")
    .collect()
)
alt.Chart(called).mark_rect().encode(
    x=alt.X("least:Q", title="seconds since the call before", scale=alt.Scale(type="log", nice=False)),
    x2="most:Q",
    y=alt.Y("caller:N", title=None, axis=alt.Axis(labelLimit=360)),
    color=alt.Color("share:Q", title="share of calls", scale=alt.Scale(scheme="blues", domain=[0, 1])),
).properties(width=460, height=alt.Step(26), title="Gaps between calls: a beat is a point, people are a cloud")

# %% [markdown]
# ## 4. Scans
#
# One source, many doors, few answers, in little time.

# %%
doors = (
    counted.group_by("source", "source_name", begin=pl.col("start").dt.truncate("5m"))
    .agg(
        doors=pl.struct("dst_ip", "dst_port").n_unique(),
        addresses=pl.col("dst_ip").n_unique(),
        unanswered=pl.col("outcome").is_in(["refused", "no_reply"]).mean(),
    )
    .filter(pl.col("doors") >= 20, pl.col("unanswered") > 0.5)
    .sort("doors", descending=True)
    .collect()
)
doors

# %% [markdown]
# From here: `flowatlas observe --lake LAKE --from-pod ... --since ...` lists the connections behind a finding,
# `flowatlas policy whatif` says what a policy that forbids them would cut besides.
