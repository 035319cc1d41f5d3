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
# # A bad hour
#
# "The shop was slow yesterday afternoon." Dashboards keep what was asked of them beforehand; the history keeps every
# connection, so the question can be asked afterwards:
#
# 1. Which hour was bad, compared with the same hour of other days?
# 2. Was it everything, or some pairs of workloads?
# 3. What do the bad connections have in common?
#
# Three columns tell how well a connection went: `srtt_us`, the round-trip time that the opener's own socket measured;
# `retransmits`, the segments that were sent again; and `outcome`. Without `FLOWATLAS_LAKE`, the folder that
# `flowatlas pipeline --lake` writes, this notebook reads a month of a shop that is made up, with one bad hour in it.

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


is_failed = pl.col("outcome").is_in(["no_reply", "refused", "reset"])
counted = (
    scan_flows(lake)
    .filter(role="canonical", protocol=6)
    .with_columns(
        hour=pl.col("time").dt.truncate("1h"),
        pair=named("source") + " \N{RIGHTWARDS ARROW} " + named("destination"),
        zones=pl.col("source_zone") + " \N{RIGHTWARDS ARROW} " + pl.col("destination_zone"),
        rtt_ms=pl.when(pl.col("srtt_us") > 0).then(pl.col("srtt_us") / 1000),
    )
)

# %% [markdown]
# ## 1. Which hour?
#
# An hour is compared with the same hour of the other days, since load has its own rhythm. `rtt` is the 95th percentile of
# the round-trip times in milliseconds, `again` the segments sent again for a thousand packets, `failed` the share of
# connections that were refused, cut or never answered, from 0 to 1. In the map, a row is a day and a column an hour of it.


# %%
def quality() -> list[pl.Expr]:
    """How well connections went."""
    return [
        pl.col("opened").cast(pl.Int64).sum().alias("connections"),
        pl.col("rtt_ms").quantile(0.95).alias("rtt"),
        (1000 * pl.col("retransmits").sum() / (pl.col("packets") + pl.col("reply_packets")).sum()).alias("again"),
        is_failed.mean().alias("failed"),
    ]


inside = counted.filter(pl.col("locality") != "internet")
if inside.head(1).collect().is_empty():
    raise ValueError(f"{lake} has no TCP connection inside the cluster: there is no hour to look at")
hours = (
    inside.group_by("hour")
    .agg(quality())
    .with_columns(
        usual_again=pl.col("again").median().over(pl.col("hour").dt.hour()),
        usual_rtt=pl.col("rtt").median().over(pl.col("hour").dt.hour()),
    )
    .sort("hour")
    .collect()
)
worst = hours.sort("again", "rtt", descending=True, nulls_last=True).head(3)
worst

# %%
alt.Chart(hours).mark_rect().encode(
    x=alt.X("utchours(hour):O", title="hour of the day (UTC)", axis=alt.Axis(labelAngle=0, format="%H")),
    y=alt.Y("utcyearmonthdate(hour):O", title=None, axis=alt.Axis(format="%a %d %b")),
    color=alt.Color("again:Q", title="sent again, in 1,000", scale=alt.Scale(scheme="reds")),
).properties(width=520, height=420, title="Segments sent again inside the cluster, by hour")

# %% [markdown]
# One cell stands out. A pipeline watches for that with the alerts of `dashboards/generated/alerts.yaml`; here we go on to
# what was different.
#
# ## 2. Everything, or some pairs?

# %%
bad_hour = worst["hour"][0]
is_bad_hour = pl.col("hour") == bad_hour
by_pair = (
    inside.group_by("pair", bad=is_bad_hour)
    .agg(quality())
    .collect()
    .pivot("bad", index="pair", values=["connections", "rtt", "again", "failed"])
)
wanted = [f"{name}_{when}" for name in ("rtt", "again", "failed") for when in ("false", "true")]
by_pair = by_pair.with_columns(
    pl.lit(None, pl.Float64).alias(name) for name in wanted if name not in by_pair.columns
).select("pair", *wanted)
by_pair.rename(
    {
        f"{name}_{was}": f"{name} {when}"
        for name in ("rtt", "again", "failed")
        for was, when in (("false", "usually"), ("true", "then"))
    }
).sort("again then", "pair", descending=[True, False], nulls_last=True).head(12)

# %% [markdown]
# Pairs of workloads suffer to different degrees, and none is spared entirely: the cause is below the applications.
#
# ## 3. What do the bad connections have in common?
#
# The same hour by where the two ends are.

# %%
by_zones = (
    inside.filter(is_bad_hour, pl.col("source_zone") != "", pl.col("destination_zone") != "")
    .group_by("zones", "locality")
    .agg(quality())
    .sort("zones")
    .collect()
)
by_zones

# %%
around = (
    inside.filter(pl.col("hour").is_between(bad_hour - pl.duration(hours=6), bad_hour + pl.duration(hours=6)))
    .group_by("locality", begin=pl.col("time").dt.truncate("10m"))
    .agg(quality())
    .sort("begin")
    .collect()
)
alt.Chart(around).mark_line(point=True).encode(
    x=alt.X("begin:T", title=None, axis=alt.Axis(format="%H:%M")),
    y=alt.Y("rtt:Q", title="round-trip time, 95th percentile (ms)"),
    color=alt.Color("locality:N", title="distance"),
).properties(width=640, height=240, title="Round-trip time before, during and after")

# %% [markdown]
# Within a zone nothing changed; between the zones packets were lost, round trips took nine times as long, and some
# connections were never answered. Whoever owns the network between the zones can be told the minute it began and the
# minute it ended:

# %%
edges = (
    inside.filter(is_bad_hour, pl.col("locality") == "cross_zone")
    .select(
        first=pl.col("start").min().dt.truncate("1s"),
        last=pl.col("start").max().dt.truncate("1s"),
        connections=pl.len(),
        failed=is_failed.sum(),
    )
    .collect()
)
edges

# %%
every = (
    inside.filter(pl.col("hour").is_between(bad_hour - pl.duration(hours=1), bad_hour + pl.duration(hours=1)))
    .select("start", "rtt_ms", "locality")
    .drop_nulls()
    .collect()
)
alt.Chart(every).mark_circle(size=14, opacity=0.6).encode(
    x=alt.X("start:T", title=None, axis=alt.Axis(format="%H:%M")),
    y=alt.Y("rtt_ms:Q", title="round-trip time (ms)", scale=alt.Scale(type="log")),
    color=alt.Color("locality:N", title="distance"),
).properties(width=640, height=240, title="Every connection: its round-trip time and how far it went")

# %% [markdown]
# From here: `flowatlas observe --lake LAKE --since ... --outcome no_reply` lists the connections that failed,
# `docs/explanation/tcp-health.md` tells what the columns mean, and notebook 5 looks for such hours without being told.
