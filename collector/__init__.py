"""The node agent: reads one node's kernel, builds flow and counter columns, ships Arrow batches to the bus.

It imports nothing else of this project, and no Polars, pyarrow or scapy: its process holds numpy and nanoarrow.
"""
