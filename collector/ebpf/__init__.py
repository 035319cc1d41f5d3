"""The eBPF side of the collector: an own program in the kernel, loaded through libbpf, and its tables as numpy arrays.

`flow.bpf.c` counts packets into one-way flows; `program` loads it, puts it on interfaces and empties its tables;
`sightings` finds out which flows are the two directions of one connection, and `tracking` keeps connections. The last
two are pure. `sources.ebpf` puts them together.
"""
