"""The lab: a miniature Kubernetes cluster of network namespaces on one Linux machine, and the truth about its traffic.

The real kernel does the real work: veths, a bridge and VXLAN on two nodes, kube-proxy's NAT and NetworkPolicies in
nftables, real nginx, dnsmasq and TCP. It is no Kubernetes: nothing reconciles, the objects in `manifests/` are what is.
The invariant: everything hangs on one process, so that whatever kills the driver also removes the cluster.

`deploy.lab.cluster.Lab` is the API; `python -m deploy.lab up` is the command line.
"""
