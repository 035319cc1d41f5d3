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
# # What traffic costs
#
# Clouds charge for bytes that leave a zone, a region or the cloud. The history knows how far every connection went
# (`locality`), from the zones of the nodes, so a bill can be taken apart by who caused it:
#
# 1. How far does traffic go, and what does that cost?
# 2. Who pays?
# 3. What would it save to keep it in the zone?
#
# Without `FLOWATLAS_LAKE`, the folder that `flowatlas pipeline --lake` writes, this notebook reads a month of a shop that
# is made up. Prices are those of `deploy/examples/prices.yaml`, for illustration: put your own in their place.

# %%
import os
from pathlib import Path

import altair as alt
import polars as pl

from notebooks import sample
from pipeline.prices import GIGABYTE, load_prices
from pipeline.query import scan_flows

alt.renderers.enable("png")
pl.Config(
    tbl_hide_dataframe_shape=True,
    tbl_hide_column_data_types=True,
    tbl_rows=20,
    tbl_cols=12,
    tbl_width_chars=160,
    fmt_str_lengths=60,
    float_precision=4,
)

lake = os.environ.get("FLOWATLAS_LAKE") or sample.lake()


def named(side: str) -> pl.Expr:
    """namespace/workload, or the workload alone where it has no namespace (a node, the outside)."""
    namespace, workload = pl.col(f"{side}_namespace"), pl.col(f"{side}_workload")
    return pl.when(namespace == "").then(workload).otherwise(namespace + "/" + workload)


counted = (
    scan_flows(lake).filter(role="canonical").with_columns(source=named("source"), destination=named("destination"))
)

root = next(folder for folder in (Path(), Path("..")) if (folder / "deploy").is_dir())
prices = load_prices(root / "deploy" / "examples" / "prices.yaml")

# %% [markdown]
# ## 1. How far does traffic go?
#
# The end that sends a byte pays `egress` for it, the end that receives it `ingress`; ends beyond the cluster pay nothing.
# So both ways of a connection count for each of its ends inside.


# %%
def priced(way: str) -> pl.Expr:
    """What a byte of a row costs the end that it leaves (`egress`) or reaches (`ingress`)."""
    per_byte = {name: getattr(price, way) / GIGABYTE for name, price in prices.per_gigabyte.items()}
    return pl.col("locality").replace_strict(per_byte, default=0.0, return_dtype=pl.Float64)


source_pays = pl.col("bytes") * priced("egress") + pl.col("reply_bytes") * priced("ingress")
destination_pays = pl.col("reply_bytes") * priced("egress") + pl.col("bytes") * priced("ingress")
billed = counted.with_columns(
    both=pl.col("bytes") + pl.col("reply_bytes"),
    source_cost=pl.when(pl.col("source_namespace") != "").then(source_pays).otherwise(0.0),
    destination_cost=pl.when(pl.col("destination_namespace") != "").then(destination_pays).otherwise(0.0),
).with_columns(cost=pl.col("source_cost") + pl.col("destination_cost"))

by_distance = (
    billed.group_by("locality")
    .agg(gigabytes=pl.col("both").sum() / GIGABYTE, cost=pl.col("cost").sum())
    .sort("cost", descending=True)
    .collect()
)
by_distance

# %%
daily = (
    billed.group_by("locality", day=pl.col("time").dt.truncate("1d"))
    .agg(gigabytes=pl.col("both").sum() / GIGABYTE)
    .sort("day", "locality")
    .collect()
)
alt.Chart(daily).mark_bar().encode(
    x=alt.X("utcyearmonthdate(day):O", title=None, axis=alt.Axis(format="%d %b", labelAngle=-60)),
    y=alt.Y("gigabytes:Q", title="gigabytes, both ways"),
    color=alt.Color("locality:N", title="distance"),
).properties(width=640, height=240, title="How far traffic went, by day")

# %% [markdown]
# ## 2. Who pays?
#
# By namespace and workload. One cost has two ends: each is charged for its own part, so the parts add up to the whole.

# %%
paying = pl.concat(
    [
        billed.select(payer="source", cost="source_cost", locality="locality"),
        billed.select(payer="destination", cost="destination_cost", locality="locality"),
    ]
)
by_payer = (
    paying.group_by("payer", "locality").agg(pl.col("cost").sum()).filter(pl.col("cost") > 0).sort("cost").collect()
)
alt.Chart(by_payer).mark_bar().encode(
    x=alt.X("sum(cost):Q", title=f"cost ({prices.currency})"),
    y=alt.Y("payer:N", title=None, sort="-x", axis=alt.Axis(labelLimit=300)),
    color=alt.Color("locality:N", title="distance"),
).properties(width=560, height=alt.Step(22), title="What each workload pays, by how far its traffic goes")

# %%
if abs(by_payer["cost"].sum() - by_distance["cost"].sum()) > 1e-6:
    raise ValueError("the parts do not add up to the whole")
largest = (
    billed.group_by("source", "destination", "locality", "dns_name")
    .agg(gigabytes=pl.col("both").sum() / GIGABYTE, cost=pl.col("cost").sum())
    .sort("cost", descending=True)
    .head(10)
    .collect()
)
largest

# %% [markdown]
# One row that is out of proportion is worth a question: who began that, and when? The largest single connections answer.
# In the made-up month it is a report job that sent six gigabytes to a backup in one night: most of the bill.

# %%
billed.sort("cost", descending=True).select(
    "start", "source", "destination", "dns_name", "dst_ip", "locality", "cost", gigabytes=pl.col("both") / GIGABYTE
).head(5).collect()

# %% [markdown]
# ## 3. What would it save to stay in the zone?
#
# A Service with an endpoint in the client's own zone could have answered there: topology aware routing
# (`trafficDistribution: PreferSameZone`) or one more replica would keep the bytes at home. What crosses zones although an
# endpoint of the same Service was in the client's zone is saved by a setting; the rest needs a replica there.

# %%
to_services = billed.filter(pl.col("service") != "", pl.col("source_zone") != "")
homes = to_services.select("service_namespace", "service", zone="destination_zone").unique().with_columns(is_home=True)
crossing = (
    to_services.filter(pl.col("locality") == "cross_zone")
    .join(
        homes,
        left_on=["service_namespace", "service", "source_zone"],
        right_on=["service_namespace", "service", "zone"],
        how="left",
    )
    .with_columns(
        saved_by=pl.when(pl.col("is_home")).then(pl.lit("a setting")).otherwise(pl.lit("a replica in the zone")),
        name=pl.col("service_namespace") + "/" + pl.col("service"),
    )
    .group_by("name", "saved_by")
    .agg(gigabytes=pl.col("both").sum() / GIGABYTE, cost=pl.col("cost").sum())
    .sort("cost", descending=True)
    .collect()
)
crossing

# %%
alt.Chart(crossing).mark_bar().encode(
    x=alt.X("cost:Q", title=f"cost of crossing zones ({prices.currency})"),
    y=alt.Y("name:N", title=None, sort="-x", axis=alt.Axis(labelLimit=300)),
    color=alt.Color("saved_by:N", title="saved by"),
).properties(width=560, height=alt.Step(24), title="Bytes that crossed zones on the way to a Service")

# %% [markdown]
# From here: `flowatlas_traffic_cost_total` has the same numbers live where `pipeline.prices` is set, and the dashboards show them
# by namespace; `docs/explanation/outside.md` tells how distance is judged and what stays `unknown`.
