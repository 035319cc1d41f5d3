"""The history as Delta tables below one root: what tables there are, how their files are made, kept and read.

Here are the tables and the care of them; `pipeline.outputs.lake` writes what the pipeline applies and `pipeline.query`
is what readers use. Features of the format are kept within what every engine reads: reader version 1, writer version 2,
no deletion vectors, no column mapping. Nothing here knows a bus.
"""
