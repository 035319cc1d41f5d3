"""From attributed flows to metrics: roll-ups over ids, and totals that only grow.

Pure: frames and values in, frames out; no clock, no network, no bus. Flow metrics count canonical rows alone; the
others have metrics of their own, so that nothing is counted twice and nothing disappears.
"""
