#!/usr/bin/env bash
# Make the environment in .venv: called by `make setup`. Does nothing if it is there and the locks have not changed.
#
# PYTHON=python3.11  interpreter to use (default: the first of python3, python3.11, python3.12, python3.13 that fits)
# TORCH=keep         use the PyTorch of the active environment in place of the locked one
# VENV=.venv         where the environment goes
set -euo pipefail
cd "$(dirname "$0")/.."
VENV=${VENV:-.venv}
TORCH=${TORCH:-lock}
LOCKS=(requirements/lock.txt)
[ "$TORCH" = keep ] || LOCKS=(requirements/lock-torch.txt "${LOCKS[@]}")

stamp="$VENV/.installed"
state="$TORCH $(cat "${LOCKS[@]}" setup.py | cksum)"
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$state" ]; then
    exit 0
fi

fits() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1; }
if [ -z "${PYTHON:-}" ]; then
    for PYTHON in python3 python3.11 python3.12 python3.13 none; do
        if [ "$PYTHON" = none ]; then
            echo "setup: no Python 3.11 to 3.13 found (python3 is $(python3 --version 2>&1)); name one with PYTHON=..." >&2
            exit 1
        fi
        fits "$PYTHON" && break
    done
elif ! fits "$PYTHON"; then
    echo "setup: PYTHON=$PYTHON is not a Python 3.11 to 3.13 ($("$PYTHON" --version 2>&1))" >&2
    exit 1
fi
if [ "$TORCH" = keep ] && ! "$PYTHON" -c 'import torch, torchvision' 2>/dev/null; then
    echo "setup: TORCH=keep, but $PYTHON ($(command -v "$PYTHON")) cannot import torch and torchvision" >&2
    exit 1
fi

echo "setup: environment in $VENV with $("$PYTHON" --version)"
"$PYTHON" -m venv "$VENV"

quiet=()
[ -t 2 ] || quiet=(--quiet)
install() {  # uv is several times faster; pip does the same
    if [ -x "$VENV/bin/uv" ] && "$VENV/bin/uv" pip install --python "$VENV/bin/python" "${quiet[@]}" "$@"; then
        return
    fi
    "$VENV/bin/python" -m pip install --disable-pip-version-check "${quiet[@]}" "$@"
}
"$VENV/bin/python" -m pip install --disable-pip-version-check --quiet uv || echo 'setup: without uv, pip is used'
for lock in "${LOCKS[@]}"; do
    echo "setup: installing $lock ($(grep -c == "$lock") packages)"
    install --no-deps -r "$lock"
done
if [ "$TORCH" = keep ]; then
    # Behind the environment's own packages, so that only what the lock leaves out is taken from there.
    "$PYTHON" -c 'import site; print("\n".join(site.getsitepackages()))' \
        > "$("$VENV/bin/python" -c 'import site; print(site.getsitepackages()[0])')/active_environment.pth"
fi
install --no-deps --no-build-isolation --editable .
# Written also where the user wants no bytecode elsewhere: each start would compile all of it again, for 20 seconds.
env -u PYTHONDONTWRITEBYTECODE "$VENV/bin/python" -c 'import mmfss, torch; print(f"setup: mmfss {mmfss.__version__}, PyTorch {torch.__version__}")'
echo "$state" > "$stamp"
