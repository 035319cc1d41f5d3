#!/bin/sh
# Install a component (collector or pipeline) of this checkout into TARGET, a folder that is made: what the images do, and
# what tests and `make sbom` do without an engine. Every package is the one of requirements.lock, by hash.
#   deploy/images/install.sh collector /opt/flowatlas
set -eu

component=$1
target=$2
python=${PYTHON:-python3}
root=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# uv, pinned by the same lock, installs the rest
"$python" -m venv "$work/tools"
awk '/^uv==/ {p = 1; print; next} p && /^    --hash/ {print; next} {p = 0}' "$root/requirements.lock" >"$work/uv.lock"
"$work/tools/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r "$work/uv.lock"
uv="$work/tools/bin/python -m uv"

$uv pip install --quiet --python "$work/tools/bin/python" --constraints "$root/requirements.lock" hatchling
(cd "$root" && "$work/tools/bin/python" -m hatchling build -t wheel -d "$work/wheel" >/dev/null)
wheel=$(echo "$work"/wheel/*.whl)

$uv venv --quiet --python "$python" "$target"
install="$uv pip install --quiet --compile-bytecode --link-mode copy --python $target/bin/python --constraints $root/requirements.lock"
case $component in
collector)
    $install -r "$root/deploy/images/collector.txt"
    ;;
pipeline)
    extras=$(sed -n 's/^flowatlas\(\[.*\]\)$/\1/p' "$root/deploy/images/pipeline.txt")
    $install "$wheel$extras"
    ;;
*)
    echo "install: $component is neither collector nor pipeline" >&2
    exit 2
    ;;
esac
$install --no-deps --reinstall-package flowatlas "$wheel"
"$target/bin/flowatlas" --version
