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
# # Zero trust: what is open, and what closing it would cut
#
# A network policy that is too wide is invisible, and one that is too narrow is an outage. The history holds what really
# talked, so both can be seen before anything is changed:
#
# 1. What is protected today, and on what does the traffic stand?
# 2. Which rules are never used?
# 3. Which policies would allow exactly what was legitimate?
# 4. What would they cut?
#
# It reads the small history that comes with the project, some seconds of the lab of `make demo`, and the lab's manifests.
# Set `FLOWATLAS_LAKE` to the folder that `flowatlas pipeline --lake` writes and `FLOWATLAS_STATE` to manifests or a dump
# (`flowatlas watch --once -o state.jsonl`), and it reads yours.

# %%
import os
from pathlib import Path
from tempfile import TemporaryDirectory

import altair as alt
import polars as pl

from pipeline.attribution.policies import compile_policies
from pipeline.inventory import manifests, snapshot
from pipeline.inventory.ranges import cluster_ranges
from pipeline.policy import coverage, findings, legitimate, manifest, replay, suggestion, whatif
from pipeline.policy.ends import judged
from pipeline.policy.record import record_of
from pipeline.query import scan_flows

alt.renderers.enable("png")
pl.Config(
    tbl_hide_dataframe_shape=True,
    tbl_hide_column_data_types=True,
    tbl_rows=20,
    tbl_cols=12,
    tbl_width_chars=160,
    fmt_str_lengths=80,
    float_precision=3,
)

root = next(folder for folder in (Path(), Path("..")) if (folder / "notebooks" / "data").is_dir())
lake = os.environ.get("FLOWATLAS_LAKE") or root / "notebooks" / "data" / "lake"
objects, refused = manifests.load(Path(os.environ.get("FLOWATLAS_STATE") or root / "deploy" / "lab" / "manifests"))
cluster = snapshot.build(objects)
policies = compile_policies(objects, cluster)
record = record_of(scan_flows(lake))
seen = judged(record.pairs, cluster)
print(
    f"{len(objects)} objects; {record.pairs['connections'].sum()} connections of {record.pairs.height} distinct pairs"
)

# %% [markdown]
# A record of seconds shows how this works and no more: before you trust a suggestion, let the history hold what happens
# once a week and once a month. What was seen on one day only is listed as rare by `flowatlas policy`.
#
# ## 1. What is protected?
#
# Every byte stands on something: a rule allows it (`explicit`); admin policies select the pod and say nothing of this
# (`default`); no policy selects the pod at all (`unprotected`); or nothing allows it (`denied`: an attempt, or a policy
# that is not enforced). Isolated pods are those that some NetworkPolicy selects.

# %%
workloads = coverage.by_workload(objects, cluster, policies, seen.pairs)
namespaces = coverage.by_namespace(workloads)
namespaces.select("namespace", "pods", "isolated_ingress", "isolated_egress", "denies_ingress", "denies_egress")

# %%
shares = namespaces.select("namespace", pl.col("^ingress_.*_bytes$")).unpivot(
    index="namespace", variable_name="basis", value_name="bytes"
)
shares = shares.with_columns(pl.col("basis").str.strip_prefix("ingress_").str.strip_suffix("_bytes"))
alt.Chart(shares.filter(pl.col("bytes") > 0)).mark_bar().encode(
    x=alt.X("bytes:Q", stack="normalize", title="share of bytes received", axis=alt.Axis(format="%")),
    y=alt.Y("namespace:N", title=None),
    color=alt.Color(
        "basis:N",
        title="stands on",
        scale=alt.Scale(
            domain=["explicit", "default", "unprotected", "denied", "not judged"],
            range=["#54a24b", "#4c78a8", "#f58518", "#e45756", "#9d9d9d"],
        ),
    ),
).properties(width=560, height=alt.Step(24), title="What lets traffic into each namespace")

# %% [markdown]
# ## 2. Rules that nobody uses
#
# A rule that matched nothing may wait for a rare event, or be left over. One that allows far more than was used is a door
# wider than what goes through it.

# %%
rules = findings.findings(policies, cluster, seen.pairs)
rules.filter(pl.col("findings").list.len() > 0).select(
    "namespace", "name", "direction", "rule", pl.col("findings").list.join("; "), "connections"
).head(12)

# %% [markdown]
# ## 3. Least privilege, from what was seen
#
# Legitimate is what was answered, and not denied by today's policies: refused attempts and scans teach nothing. The
# namespace here is the one with most traffic that stands on no rule.

# %%
pairs = legitimate.sorted_out(seen.pairs, policies, [], [])
legitimate.reasons(pairs)

# %%
open_bytes = shares.filter(pl.col("basis") != "explicit").group_by("namespace").agg(pl.col("bytes").sum())
selectable = suggestion.namespaces_with_pods(cluster)
chosen = open_bytes.filter(pl.col("namespace").is_in(selectable)).sort("bytes", descending=True)["namespace"][0]
suggested = suggestion.suggest(cluster, pairs, chosen, None, cluster_ranges(objects, ()))
print(manifest.rendered(suggested[:1], [f"for {chosen}"], []))

# %% [markdown]
# ## 4. What would they cut?
#
# The suggestion is judged on the same record: nothing legitimate may be cut. What is newly denied besides is what was not
# legitimate in the first place.

# %%
result = replay.replay(objects, cluster, pairs, suggested, [])
pl.DataFrame(
    {
        "policies": [len(suggested)],
        "legitimate connections cut": [int(result.cut["counted"].sum())],
        "others newly denied": [int(result.stopped["connections"].sum())],
    }
)

# %% [markdown]
# And the opposite: what would a plain `deny-all` cut? This is what an outage would look like, beforehand.

# %%
with TemporaryDirectory() as folder:
    written = Path(folder, "deny-all.yaml")
    written.write_text(manifest.rendered([], [], [manifest.deny_all(chosen)]))
    closed, _ = manifests.load(written)
changed = whatif.changed_pairs(seen.pairs, policies, compile_policies([*objects, *closed], cluster))
cut = whatif.by_workload(changed, record)
ends = [
    (pl.col(f"{side}_namespace") + "/" + pl.col(f"{side}_workload")).str.strip_prefix("/").alias(side)
    for side in ("source", "destination")
]
alt.Chart(cut.select(*ends, "connections")).mark_rect(stroke="white").encode(
    x=alt.X("destination:N", title="answered by", axis=alt.Axis(labelAngle=-40, labelLimit=240)),
    y=alt.Y("source:N", title="opened by", axis=alt.Axis(labelLimit=240)),
    color=alt.Color("sum(connections):Q", title="connections cut", scale=alt.Scale(scheme="reds")),
).properties(width=alt.Step(60), height=alt.Step(22), title=f"What deny-all in {chosen} would cut")

# %% [markdown]
# From here: `flowatlas policy suggest` and `whatif --fail-on-deny` do the same in a pull request's checks
# (`docs/how-to/policies.md`), and notebook 6 watches what policies let through as they change.
