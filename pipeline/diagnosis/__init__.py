"""What is the matter with a cluster's network, or with Flowatlas itself, as findings with evidence.

One check is one small function from what is known (`evidence.Evidence`) to findings; `checks` lists them. It reads no
clock, file or network: the command line hands in objects, history and metrics. The invariant: a finding names an
object, what was seen of it, and the next command; a check that lacks what it reads does not run, and that is said.
"""
