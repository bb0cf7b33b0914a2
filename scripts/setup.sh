#!/bin/sh
# Finds a Python that runs and hands over to setup.py, which makes .venv. Costs a moment when .venv is there.
cd "$(dirname "$0")/.." || exit 1

fits() {  # a pyenv shim exists for versions that are not there: it has to run
    "$1" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null
}

for python in .venv/bin/python python3.11 python3.12 python3.13 python3 python; do
    if command -v "$python" >/dev/null 2>&1 && fits "$python"; then
        exec "$python" scripts/setup.py
    fi
done
echo "set-up: found no Python that runs; expected 3.11, 3.12 or 3.13 with venv; install one (Debian: apt install python3.11 python3.11-venv; macOS: brew install python@3.12)" >&2
exit 2
