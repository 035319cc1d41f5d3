"""What runs in a pod: from its container's image to a command line, and the configurations of dnsmasq and nginx.

The images are names of the lab's own: `flowatlas-lab/server`, `client`, `dns` (dnsmasq) and `ingress-nginx` (nginx).
All configuration comes from the manifests.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from .files import Files
from .objects import Cluster, Pod
from .topology import OUTSIDE_API

ROOT: Final = Path(__file__).resolve().parents[2]
API_HOST: Final = "api.partner.example"
"""The name of the API outside the cluster."""


def environment() -> dict[str, str]:
    """The environment of the lab's programs: this checkout's modules, nothing of the caller's Python settings."""
    return {"PATH": os.environ.get("PATH", os.defpath), "PYTHONPATH": str(ROOT), "LANG": "C.UTF-8"}


def python(module: str, *arguments: str) -> list[str]:
    """A command line for one of `workloads/`: no site packages, which halves its start."""
    return [sys.executable, "-S", "-P", "-m", f"deploy.lab.workloads.{module}", *arguments]


def command(pod: Pod, files: Files) -> list[str] | None:
    """The command line of a pod's long-running program; None where there is none."""
    name = f"{pod.namespace}/{pod.name}"
    match pod.image.removeprefix("flowatlas-lab/"):
        case "server":
            only = pod.address if pod.host_network else ""
            return server(name, pod.args, files, only, address_v6=pod.address_v6 or "")
        case "dns":
            return dnsmasq(files, name)
        case "ingress-nginx":
            return ["nginx", "-e", str(files.log(name)), "-c", str(files.nginx)]
        case "client":
            return None
    raise ValueError(f"{name}: no such image: {pod.image}")


def server(name: str, ports: tuple[str, ...], files: Files, address: str, address_v6: str = "") -> list[str]:
    """The command line of the lab's server; `address` "" means every IPv4 address."""
    options = ["--name", name, "--journal", str(files.journal(name)), "--certificate", str(files.certificate)]
    here = [f"--address={address}"] if address else []
    also = [f"--address-v6={address_v6}"] if address_v6 else []
    return python("server", *options, *here, *also, *ports)


def dnsmasq(files: Files, name: str) -> list[str]:
    """dnsmasq that knows the cluster's names, answers NXDOMAIN to all others, and logs who asked from which port."""
    return [
        "dnsmasq",
        "--keep-in-foreground",
        f"--conf-file={files.aliases}",
        "--user=root",
        "--pid-file=",
        "--no-hosts",
        "--no-resolv",
        f"--addn-hosts={files.names}",
        "--address=/#/",
        "--log-queries=extra",
        f"--log-facility={files.log(name)}",
    ]


def names(cluster: Cluster) -> str:
    """The hosts file: Services, headless ones by their endpoints, pods, and the names outside."""
    return "".join(f"{address} {name}\n" for address, name in _names(cluster))


def _names(cluster: Cluster) -> Iterator[tuple[str, str]]:
    by_address = {pod.address: pod for pod in cluster.pods.values() if not pod.host_network}
    for service in cluster.services.values():
        name = f"{service.name}.{service.namespace}.svc.cluster.local"
        if service.cluster_ip_v6:
            yield service.cluster_ip_v6, name
        if service.cluster_ip:
            yield service.cluster_ip, name
        elif not service.external_name:
            for address, _ in dict.fromkeys(e for port in service.ports for e in port.endpoints):
                yield address, name
                yield address, f"{by_address[address].name}.{name}"
    for pod in by_address.values():
        yield pod.address, f"{pod.address.replace('.', '-')}.{pod.namespace}.pod.cluster.local"
    entrances = [ip for service in cluster.services.values() for ip in service.load_balancer_ips]
    for host in dict.fromkeys(route.host for route in cluster.routes):
        yield entrances[0], host
    yield OUTSIDE_API, API_HOST


def resolv_conf(cluster: Cluster, namespace: str) -> str:
    """What a pod of this namespace has as /etc/resolv.conf, as the kubelet writes it."""
    resolver = cluster.services["kube-system", "kube-dns"].cluster_ip
    search = f"{namespace}.svc.cluster.local svc.cluster.local cluster.local"
    return f"nameserver {resolver}\nsearch {search}\noptions ndots:5\n"


def aliases(cluster: Cluster) -> str:
    """dnsmasq's configuration of ExternalName Services."""
    return "".join(
        f"cname={service.name}.{service.namespace}.svc.cluster.local,{service.external_name}\n"
        for service in cluster.services.values()
        if service.external_name
    )


def nginx(cluster: Cluster, pod: Pod, files: Files) -> str:
    """nginx's configuration: the Ingress's paths, each to the ClusterIP of its Service (`service-upstream: "true"`).

    It says its own name in the answers and hides its upstreams': whoever dials the ingress is answered by the ingress.
    """
    hosts: dict[str, list[str]] = {}
    for route in cluster.routes:
        upstream = f"http://{cluster.services[route.service].cluster_ip}:{route.port}"
        hosts.setdefault(route.host, []).append(f"location {route.path} {{ proxy_pass {upstream}; }}")
    servers = "".join(
        f"server {{ listen 443 ssl; listen 80; server_name {host}; {' '.join(paths)} }}\n"
        for host, paths in hosts.items()
    )
    word = f"{pod.namespace}/{pod.name} $server_addr $server_port"
    return f"""\
daemon off;
user root;
worker_processes 1;
pid {files.folder}/nginx.pid;
error_log {files.log(f"{pod.namespace}/{pod.name}")};
events {{ worker_connections 1024; }}
http {{
    access_log off;
    ssl_certificate {files.certificate};
    ssl_certificate_key {files.certificate};
    client_max_body_size 16m;
    client_body_temp_path {files.folder}/nginx-body;
    proxy_temp_path {files.folder}/nginx-proxy;
    fastcgi_temp_path {files.folder}/nginx-fastcgi;
    uwsgi_temp_path {files.folder}/nginx-uwsgi;
    scgi_temp_path {files.folder}/nginx-scgi;
    proxy_set_header Host $host;
    proxy_hide_header X-Served-By;
    add_header X-Served-By "{word}" always;
    {servers}
}}
"""
