"""Sidecars: what istio-init and Istio's proxy do in a pod, with nftables and nginx's stream proxy.

Outgoing TCP to the ranges that the pod's annotation names is redirected to 15001, all incoming TCP but that to Istio's
own ports to 15006; what the proxy itself says is told by its user and left alone. Outgoing connections are shared out
over the subsets of the Service by weight, and go to a pod; incoming ones go to the program in the pod. There is no TLS,
which changes nothing for who talks to whom. The invariant: nginx cannot ask the kernel what was dialled, so a sidecar
takes one Service alone.
"""

from __future__ import annotations

import grp
import pwd
import subprocess
from pathlib import Path
from typing import Final

from .files import Files
from .objects import Cluster, Pod

OUTBOUND_PORT: Final = 15001
INBOUND_PORT: Final = 15006
OWN_PORTS: Final = (15008, 15020, 15021, 15090)
"""Istio's ports that its redirect leaves alone."""
USER: Final = "nobody"
"""Who the proxy runs as; Istio's own is 1337."""
LOOPBACK: Final = "127.0.0.6"
"""From where Istio's proxy talks to the program in the pod."""

MODULES: Final = tuple(
    Path(folder, "ngx_stream_module.so") for folder in ("/usr/lib/nginx/modules", "/usr/lib64/nginx/modules")
)

RULES: Final = """\
table ip istio {{
    chain prerouting {{
        type nat hook prerouting priority dstnat
        tcp dport != {{ {own} }} redirect to :{inbound}
    }}
    chain output {{
        type nat hook output priority -100
        meta skuid {user} return
        ip daddr 127.0.0.0/8 return
{captured}    }}
}}
"""
LEG_FORMAT: Final = (
    '{"peer":["$remote_addr",$remote_port],"received_bytes":$bytes_received,"sent_bytes":$bytes_sent,'
    '"closed_s":$msec,"lasted_s":$session_time}'
)
"""What the inbound side writes of every connection: the one between the two pods, as this end saw it."""


def has_stream() -> bool:
    """Whether nginx here has the stream proxy, as a module or built in."""
    return any(path.exists() for path in MODULES) or _is_built_in()


def rules(pod: Pod) -> str:
    """What istio-init sets up in the pod's network namespace, for `nft -f`."""
    captured = "".join(
        f"        ip daddr {cidr} meta l4proto tcp redirect to :{OUTBOUND_PORT}\n" for cidr in pod.captured
    )
    return RULES.format(own=", ".join(map(str, OWN_PORTS)), inbound=INBOUND_PORT, user=USER, captured=captured)


def nginx(cluster: Cluster, pod: Pod, files: Files) -> str:
    """The proxy's configuration."""
    name = f"{pod.namespace}/{pod.name}"
    group = grp.getgrgid(pwd.getpwnam(USER).pw_gid).gr_name
    loaded = "".join(f"load_module {path};\n" for path in MODULES if path.exists())
    return f"""\
{loaded}daemon off;
user {USER} {group};
worker_processes 1;
pid {files.sidecar_config(name).with_suffix(".pid")};
error_log {files.log(f"sidecar-{name}")};
events {{ worker_connections 512; }}
stream {{
    log_format leg escape=none '{LEG_FORMAT}';
    proxy_half_close on;
{_outbound(cluster, pod)}{_inbound(pod, files.sidecar(name))}}}
"""


def ports(pod: Pod) -> list[tuple[int, int]]:
    """Protocol and port that the proxy listens on."""
    listening = [OUTBOUND_PORT] if pod.captured else []
    return [(6, port) for port in (*listening, *([INBOUND_PORT] if pod.ports else []))]


def _outbound(cluster: Cluster, pod: Pod) -> str:
    if not pod.captured:
        return ""
    (route,) = (
        route for route in cluster.mesh_routes if f"{cluster.services[route.service].cluster_ip}/32" in pod.captured
    )
    groups = "".join(
        f"    upstream {share.subset} {{ {' '.join(f'server {ip}:{port};' for ip, port in share.endpoints)} }}\n"
        for share in route.shares
    )
    *first, last = route.shares
    parts = "".join(f" {share.weight}% {share.subset};" for share in first)
    return (
        f'{groups}    split_clients "$remote_addr $remote_port $msec" $subset {{{parts} * {last.subset}; }}\n'
        f"    server {{ listen {OUTBOUND_PORT}; proxy_pass $subset; }}\n"
    )


def _inbound(pod: Pod, log: Path) -> str:
    return "".join(
        f"    server {{ listen {INBOUND_PORT}; proxy_pass {pod.address}:{port}; proxy_bind {LOOPBACK}; "
        f"access_log {log} leg; }}\n"
        for _, port in pod.ports
    )


def _is_built_in() -> bool:
    said = subprocess.run(["nginx", "-V"], capture_output=True, text=True, check=False).stderr.split()
    return "--with-stream" in said
