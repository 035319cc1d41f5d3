#!/bin/sh
# Make .venv with everything in requirements.lock, by hash, and this checkout installed in it. Run from the project's root.
# Needs Python 3.11 to 3.14 and the Python package registry. PYTHON=... chooses the interpreter.
set -eu

fits() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' >/dev/null 2>&1; }

python=${PYTHON:-}
if [ -n "$python" ]; then
    fits "$python" || { echo "setup: PYTHON=$python is not Python 3.11 to 3.14" >&2; exit 1; }
else
    for candidate in python3 python3.14 python3.13 python3.12 python3.11; do
        if fits "$candidate"; then python=$candidate; break; fi
    done
fi
[ -n "$python" ] || { echo "setup: Python 3.11 to 3.14 is needed; none is on PATH. PYTHON=/path/to/python3 names one." >&2; exit 1; }

if ! [ -x .venv/bin/python ] || ! fits .venv/bin/python; then
    rm -rf .venv
    if ! "$python" -c 'import ensurepip' >/dev/null 2>&1; then
        if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
            echo "setup: installing Debian's python3-venv"
            apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3-venv >/dev/null
        else
            echo "setup: $python cannot make virtual environments: install python3-venv" >&2; exit 1
        fi
    fi
    "$python" -m venv .venv
fi

# uv, pinned by the same lock, installs the rest in seconds
if ! .venv/bin/python -c 'import uv' >/dev/null 2>&1; then
    awk '/^uv==/ {p = 1; print; next} p && /^    --hash/ {print; next} {p = 0}' requirements.lock >.venv/uv.lock
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r .venv/uv.lock
fi
VIRTUAL_ENV=$PWD/.venv; export VIRTUAL_ENV
.venv/bin/python -m uv pip sync --quiet --require-hashes requirements.lock
.venv/bin/python -m uv pip install --quiet --no-deps --no-build-isolation -e .
