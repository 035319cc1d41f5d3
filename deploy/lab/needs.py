"""What the machine must offer before a lab can come up, and what to do where it does not."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Final

from .sidecars import has_stream

TOOLS: Final = {
    "ip": "iproute2",
    "bridge": "iproute2",
    "nft": "nftables",
    "dnsmasq": "dnsmasq-base",
    "nginx": "nginx-light",
    "openssl": "openssl",
    "sysctl": "procps",
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "hostname": "hostname",
}
"""Programs that the lab starts, and the Debian package of each."""


BRIDGE_FILTER: Final = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
"""Without it, what two pods on one bridge say to each other passes no rule, as no Kubernetes node is set up."""


class NeedsError(RuntimeError):
    """The lab cannot run here; the message lists why, one line a reason."""


def missing() -> list[str]:
    """What is missing, one sentence each; empty where the lab can run."""
    if not sys.platform.startswith("linux"):
        return ["the lab needs Linux: it is made of network namespaces"]
    reasons = [
        f"{tool} is not installed (Debian package {p})" for tool, p in TOOLS.items() if shutil.which(tool) is None
    ]
    if shutil.which("nginx") and not has_stream():
        reasons.append("nginx has no stream proxy (Debian package libnginx-mod-stream)")
    if not Path("/proc/sys/net/ipv6").exists():
        reasons.append("the kernel has no IPv6, or it was turned off at boot")
    if not BRIDGE_FILTER.exists():
        reasons.append("the kernel module br_netfilter is not loaded; note that it also filters the host's own bridges")
    if os.geteuid() != 0:
        reasons.append("the lab needs root: it makes network namespaces, devices and nftables rules")
    return reasons


def require() -> None:
    """Raises NeedsError where something is missing."""
    if reasons := missing():
        raise NeedsError("\n".join(reasons))
