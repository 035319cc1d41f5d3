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
# # Policy drift
#
# Policies change one pull request at a time, and nobody sees what a month of them adds up to. The history keeps with each
# connection which policies let it through, as of its own instant:
#
# 1. On what did traffic stand, day by day?
# 2. Which policies began and ceased to let something through?
# 3. Who came in through a door that was opened?
# 4. What got through although it was denied?
#
# Without `FLOWATLAS_LAKE`, the folder that `flowatlas pipeline --lake` writes, this notebook reads a month of a shop that
# is made up, with one drift in it.

# %%
import os

import altair as alt
import polars as pl

from notebooks import sample
from pipeline.outputs.verdicts import policies_of
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
    scan_flows(lake)
    .filter(pl.col("role") == "canonical", pl.col("verdict") != "")
    .with_columns(
        edge=named("source") + " \N{RIGHTWARDS ARROW} " + named("destination"), day=pl.col("time").dt.truncate("1d")
    )
)

if counted.head(1).collect().is_empty():
    raise ValueError(f"{lake} has no connection that policies were judged for: a pipeline judges those of pods")

# %% [markdown]
# ## 1. On what did traffic stand?
#
# The ingress side of every connection: `allowed` by a rule, `unprotected` because no policy selects the pod that answered,
# `denied`.

# %%
standing = (
    counted.filter(pl.col("destination_namespace") != "")
    .group_by("day", "ingress_verdict")
    .agg(connections=pl.col("opened").cast(pl.Int64).sum())
    .sort("day", "ingress_verdict")
    .collect()
)
alt.Chart(standing).mark_bar().encode(
    x=alt.X("utcyearmonthdate(day):O", title=None, axis=alt.Axis(format="%d %b", labelAngle=-60)),
    y=alt.Y("connections:Q", stack="normalize", axis=alt.Axis(format="%"), title="share of connections"),
    color=alt.Color(
        "ingress_verdict:N",
        title="into the cluster's pods",
        scale=alt.Scale(
            domain=["allowed", "unprotected", "denied", "not judged"],
            range=["#54a24b", "#f58518", "#e45756", "#9d9d9d"],
        ),
    ),
).properties(width=640, height=200, title="What connections into pods stood on, by day")

# %% [markdown]
# ## 2. Which policies let something through, and when?
#
# A bar is the time from the first to the last connection that a policy is responsible for.

# %%
told = counted.select("start", "edge", "opened", policy="ingress_policies")
by_policy = (
    told.explode("policy")
    .drop_nulls("policy")
    .with_columns(parts=policies_of(pl.col("policy")))
    .with_columns(
        policy=pl.col("parts").struct.field("namespace") + "/" + pl.col("parts").struct.field("name"),
        effect=pl.col("parts").struct.field("effect"),
    )
)
lives = (
    by_policy.group_by("policy", "effect")
    .agg(
        first=pl.col("start").min().dt.truncate("1s"),
        last=pl.col("start").max().dt.truncate("1s"),
        connections=pl.col("opened").cast(pl.Int64).sum(),
        edges=pl.col("edge").n_unique(),
    )
    .sort("policy", "effect")
    .collect()
)
lives

# %%
alt.Chart(lives).mark_bar(height=12).encode(
    x=alt.X("first:T", title=None, axis=alt.Axis(format="%d %b")),
    x2="last:T",
    y=alt.Y("policy:N", title=None, axis=alt.Axis(labelLimit=300)),
    color=alt.Color("effect:N", title="effect"),
).properties(width=600, height=alt.Step(24), title="When each policy decided something")

# %% [markdown]
# A bar that ends early is a policy that was removed or that nothing needed any more; one that begins late is new, or in
# the place of another, and may be wider than that one was. Here `shop/allow-namespace` begins in the middle of the month;
# what it took over, and from whom, the edges tell.
#
# ## 3. Who came in through a door that was opened?
#
# Edges by the policy that let them through. An edge that first appears after the policy changed, and that the former
# policy never let through, is what the change was for, or what it let in.

# %%
edges = (
    by_policy.group_by("edge", "policy")
    .agg(
        first=pl.col("start").min().dt.truncate("1s"),
        last=pl.col("start").max().dt.truncate("1s"),
        connections=pl.col("opened").cast(pl.Int64).sum(),
    )
    .with_columns(policies=pl.len().over("edge"))
    .sort("edge", "first")
    .collect()
)
edges.drop("policies")

# %%
alt.Chart(edges).mark_bar(height=10).encode(
    x=alt.X("first:T", title=None, axis=alt.Axis(format="%d %b")),
    x2="last:T",
    y=alt.Y("edge:N", title=None, axis=alt.Axis(labelLimit=360)),
    color=alt.Color("policy:N", title="let through by"),
).properties(width=520, height=alt.Step(22), title="Edges, and the policy that let them through")

# %%
began = counted.select(pl.col("start").min()).collect().item()
replaced = lives.filter(pl.col("first") > began + pl.duration(days=7))
came_in = (
    edges.join(replaced.select("policy", opened="first"), on="policy")
    .filter(pl.col("first") > pl.col("opened") + pl.duration(days=1), pl.col("policies") == 1)
    .select("edge", "policy", "opened", "first", "connections")
)
came_in

# %% [markdown]
# Each row is an edge that nothing let through before that policy came, and that began a day or more after it: not what it
# was written for. In the made-up month a rule for one workload became a rule for the whole namespace, and two days later
# the frontend went to the database directly.
#
# ## 4. What got through although it was denied?
#
# `mismatch` marks a connection that was established although policies deny it (nobody enforces them, or not at once), or
# that nobody answered although they allow it. An empty table is the good answer, and that of the made-up month.

# %%
counted.filter(pl.col("mismatch") != "").group_by("mismatch", "edge").agg(
    connections=pl.len(), first=pl.col("start").min().dt.truncate("1s"), last=pl.col("start").max().dt.truncate("1s")
).sort("connections", descending=True).collect()

# %% [markdown]
# From here: `flowatlas policy unused --lake LAKE` lists rules without use or far wider than it, and notebook 3 replaces
# them by what was seen.
