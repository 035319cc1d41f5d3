"""Snapshots: everything that the metrics depend on, at one instant between two batches, in one file.

What is in a file is `layout`'s affair, which file counts is `folder`'s, and when one is taken is `pipeline.settling`'s
and the engine's. Nothing is attributed or counted here.
"""
