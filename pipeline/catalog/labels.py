"""Labels that go together, and what each label means."""

from __future__ import annotations

from typing import Final

PAIR: Final = (
    "source_namespace",
    "source_workload",
    "source_workload_kind",
    "destination_namespace",
    "destination_workload",
    "destination_workload_kind",
)
NAMESPACES: Final = ("source_namespace", "destination_namespace")
SERVICE: Final = ("service_namespace", "service", "service_port")
SUBSET: Final = ("service_namespace", "service", "subset")
ROUTE: Final = ("route_kind", "route_namespace", "route", "route_host", "route_path", "tls")
POLICY: Final = ("policy", "policy_namespace", "policy_kind", "rule", "verdict", "direction")
COVERED: Final = ("namespace", "workload", "workload_kind", "direction", "coverage")
INTERFACE: Final = ("namespace", "pod", "interface", "node")
NODE_INTERFACE: Final = ("node", "interface", "scope")

LABEL_HELP: Final = {
    "source_namespace": "Namespace of the workload that opened the connection; empty where it has none.",
    "source_workload": "Top owner of the pod that opened the connection, the node's name, or `outside`.",
    "source_workload_kind": "Deployment, StatefulSet, DaemonSet, Job, Pod, ...; Node; Unknown; External, or what the "
    "file of named ranges says, as Cloud.",
    "destination_namespace": "Namespace of the workload that answered; empty where it has none.",
    "destination_workload": "Top owner of the pod that answered, the node's name, or `outside`.",
    "destination_workload_kind": "As source_workload_kind.",
    "service_namespace": "Namespace of the Service that was dialled; empty where none was.",
    "service": "Name of the Service that was dialled; empty where none was.",
    "service_port": "Name of the Service's port, or its number where it has no name.",
    "service_type": "ClusterIP, NodePort, LoadBalancer or ExternalName, as the Service declares.",
    "via": "The kind of address dialled: cluster_ip, node_port, load_balancer_ip, external_ip; `alias`: a DNS name's; "
    "`headless`: an endpoint's, of a Service that has no other; `backend`: not known.",
    "protocol": "TCP, UDP, SCTP, ICMP, ICMPv6, or the IANA number.",
    "flow_direction": "`request` from the side that opened the connection, `reply` to it.",
    "reason": "Why; the values are listed with the metric.",
    "affinity": "kept: to the same endpoint; broken: to another although the first was ready; moved: it was not.",
    "source_zone": "Zone of the node that opened the connection; empty where it has none, as beyond the cluster.",
    "destination_zone": "Zone of the node that answered.",
    "locality": "same_node, same_zone, cross_zone, same_region, cross_region, internet or unknown.",
    "direction": "egress or ingress, from the point of view of what the other labels name.",
    "country": "ISO 3166 code of the country that the address beyond the cluster is in; empty where it is not known.",
    "asn": "Number of the autonomous system that has the address; empty where it is not known.",
    "organisation": "Who runs the autonomous system.",
    "currency": "The price table's currency, as ISO 4217 writes it.",
    "route_kind": "Ingress, Route, HTTPRoute, GRPCRoute, TLSRoute, TCPRoute or VirtualService.",
    "route_namespace": "Namespace of the route.",
    "route": "Name of the Ingress or route.",
    "route_host": "Host that the rule names; empty where it takes every host.",
    "route_path": "Path that the rule names; empty where it takes every path.",
    "tls": "true where the host is offered over TLS, else false.",
    "policy": "Name of the policy.",
    "policy_namespace": "Namespace of the policy; empty where it is cluster-wide.",
    "policy_kind": "NetworkPolicy, AdminNetworkPolicy, BaselineAdminNetworkPolicy or ClusterNetworkPolicy; others are "
    "not judged.",
    "name_class": "What the name means: service; headless (a Service without an address of its own); pod; search (made "
    "by a search list, as `www.example.com.shop.svc.cluster.local`); cluster_unknown (another of the cluster's domain "
    "that means no object known); reverse (an address); single_label (one word); outside.",
    "type": "Type of the question: A, AAAA, SRV, PTR, ...; `other` for rare ones.",
    "rcode": "NOERROR, NXDOMAIN, SERVFAIL, REFUSED, FORMERR, NOTIMP, another code's number, or `no_answer`.",
    "rule": "Name of the rule, or its place among the rules counted from 1; empty where no rule decided: the policy "
    "isolates the pod.",
    "verdict": "What the direction came to: allowed, denied or not judged.",
    "coverage": "How policies cover it; the values are listed with the metric.",
    "mismatch": "established_denied or dropped_allowed.",
    "workload": "Top owner of the pod.",
    "workload_kind": "As source_workload_kind.",
    "subset": "Name of the subset in the DestinationRule.",
    "bound": "lower, estimate or upper.",
    "endpoint": "Name of the pod that the connection was sent to; empty where it was none.",
    "namespace": "Namespace of the pod.",
    "pod": "Name of the pod.",
    "hook": "tcp_health, drops, dns or heads: what the collector has the kernel tell beside flows.",
    "interface": "Name of the interface inside its network namespace.",
    "node": "Name of the node.",
    "table": "flows, counters, dns, drops or state.",
    "scope": "node: an uplink; overlay: a tunnel device, whose packets pass an uplink too.",
    "tcp_state": "established, synsent, synrecv, finwait1, finwait2, timewait, close, closewait, lastack, listen or "
    "closing.",
    "result": "What became of it; the values are listed with the metric.",
    "source": "Where the collector has its flows from: ebpf, conntrack, packets; none where no source can be used.",
    "stage": "decode, state, attribute, policies, aggregate or output.",
    "kind": "Kind of the Kubernetes object.",
    "version": "Version of Flowatlas.",
    "python": "Version of Python.",
    "worker": "Number of the process among those of `pipeline.workers`, from 0. Where there are several, all that each "
    "counts by itself has it too.",
    "share": "Number of the fixed share of the bus's partitions, from 0.",
    "topic": "Topic of the bus.",
    "family": "Metrics that have their label sets together.",
    "part": "What of the pipeline it is about: a family of metrics, names, heads, rows that wait.",
}
