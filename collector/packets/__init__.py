"""Frames to columns: what the headers of many captured packets say, decoded all at once.

`decoder.decode` walks the packets in steps: every step reads one header of each packet that has one left, grouped by
the kind of header, in numpy over all of them. `flows` sums the result into one-way flows. Nothing here opens a file or
a socket, dissects a payload, or reassembles; the invariant is that no bytes can make it raise, and that every packet
is either in a flow or counted under the reason why not.
"""
