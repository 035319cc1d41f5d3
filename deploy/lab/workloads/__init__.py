"""The programs that the lab's pods run: plain sockets of the standard library, started with `python -m`.

They are ordinary network programs that also keep a journal of every connection from their own side of it. They know
nothing of namespaces, NAT or the kernel's tables, which is what makes their journals a witness.
"""
