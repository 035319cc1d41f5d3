#!/bin/sh
# As root on Debian: install the programs that the lab, the demo and the tests use and that are missing. Elsewhere: say what is missing.
# Services that these packages bring are not started: nothing may begin to listen because someone ran the tests.
set -eu

missing=""
want() { command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ] || missing="$missing $2"; }
want ip iproute2
want nft nftables
want conntrack conntrack
want dnsmasq dnsmasq-base
want nginx nginx-light
[ -e /usr/lib/nginx/modules/ngx_stream_module.so ] || missing="$missing libnginx-mod-stream"
want openssl openssl
want etcd etcd-server
want sysctl procps
want hostname hostname
want prometheus prometheus
want promtool prometheus
want tmux tmux
want zsh zsh
want fish fish
want strace strace
want java default-jre-headless
want mvn maven
command -v clang >/dev/null 2>&1 || want clang-14 clang-14
want llvm-strip-14 llvm-14
[ -n "$(find /usr/lib /lib -name 'libbpf.so.1' -print -quit 2>/dev/null)" ] || missing="$missing libbpf1"
missing=$(printf '%s\n' $missing | sort -u | tr '\n' ' ')
[ -n "${missing# }" ] || exit 0

if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "setup: not installed and left so (that needs root on Debian): $missing"
    exit 0
fi
echo "setup: installing Debian packages: $missing"
if ! [ -e /usr/sbin/policy-rc.d ]; then
    printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
    chmod +x /usr/sbin/policy-rc.d
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
fi
apt-get update -qq || echo "setup: apt-get update failed; trying with the lists that are here"
# shellcheck disable=SC2086
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null ||
    echo "setup: some packages could not be installed; what needs them will be skipped and say so"
