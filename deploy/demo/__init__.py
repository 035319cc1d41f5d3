"""The demo: the whole path on real traffic, from the lab's kernel to Prometheus, checked against the lab's own truth.

`live` runs it as root, `replay` runs the pipeline on a recording without root; `verify` is the comparison that both end
with, and the integration tests too.
"""
