"""The watcher of the cluster: it lists and watches the API server's objects and says every change on the bus, once.

Any number of pipelines read what it says; the API server sees one watcher. It decides nothing about flows. What it says
is slim (`bodies`), in epochs that begin with all there is (`journal`), and the invariant is that a mark never claims a
time up to which not every kind was known to be current.
"""
