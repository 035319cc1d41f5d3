"""What the policies would do, could spare or leave open, worked out on recorded flows and the cluster's objects.

`record` makes distinct pairs of recorded flows, `ends` finds their ends in the cluster of today, and each question of
`flowatlas policy` and `flowatlas explain` is a module of pure functions on those: frames in, frames out. Nothing here
reads files, watches or enforces; verdicts are those of `pipeline.attribution.policies`.
"""
