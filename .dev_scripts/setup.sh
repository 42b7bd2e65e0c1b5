#!/usr/bin/env bash
# Make the environment in .venv: called by `make setup`. Does nothing if it is there and the locks have not changed.
#
# PYTHON=python3.11  interpreter to use (default: the first of python3, python3.11, python3.12, python3.13 that fits)
# TORCH=cpu          PyTorch without CUDA, from its index for CPUs
# TORCH=lock         the locked PyTorch, with CUDA on Linux
# TORCH=keep         use the PyTorch of the active environment in place of the locked one
#                    default: cpu on Linux without an NVIDIA driver, if that index answers within 5 seconds; else lock
# VENV=.venv         where the environment goes
# DRY_RUN=1          say what would be installed, and stop
set -euo pipefail
cd "$(dirname "$0")/.."
VENV=${VENV:-.venv}
TORCH=${TORCH:-auto}
TORCH_INDEX=${TORCH_INDEX:-https://download.pytorch.org/whl/cpu}
stamp="$VENV/.installed"

index_answers() { timeout 5 curl --silent --fail --location --output /dev/null "$TORCH_INDEX/torch/"; }
reason=
if [ "$TORCH" = auto ] && [ -f "$stamp" ]; then
    TORCH=$(cut -d ' ' -f 1 "$stamp")  # as the environment was made
elif [ "$TORCH" = auto ]; then
    TORCH=lock
    if [ "$(uname -s)" != Linux ]; then
        reason='this is not Linux'
    elif nvidia-smi > /dev/null 2>&1; then
        reason='there is an NVIDIA driver'
    elif index_answers; then
        TORCH=cpu reason='there is no NVIDIA driver'
    else
        reason="there is no NVIDIA driver, but $TORCH_INDEX did not answer within 5 seconds"
    fi
fi
plain=requirements/lock-torch-plain.txt
case "$TORCH" in
    cpu) LOCKS=("$plain" requirements/lock.txt) ;;
    lock) LOCKS=(requirements/lock-torch.txt requirements/lock.txt)
          [ "$(uname -s)" = Linux ] || LOCKS=("$plain" requirements/lock.txt) ;;
    keep) LOCKS=(requirements/lock.txt) ;;
    *) echo "setup: TORCH=$TORCH is none of cpu, lock and keep" >&2; exit 1 ;;
esac

state="$TORCH $(cat "${LOCKS[@]}" setup.py | cksum)"
if [ -z "${DRY_RUN:-}" ] && [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$state" ]; then
    exit 0
fi
[ -z "$reason" ] || echo "setup: TORCH=$TORCH, because $reason"
case "$(uname -s) ${LOCKS[0]}" in
    'Linux requirements/lock-torch.txt') size='about 7 GB on the disk, most of it CUDA; 5 to 20 minutes' ;;
    'Linux requirements/lock.txt') size='about 1.5 GB on the disk; 2 to 5 minutes' ;;
    *) size='about 2.5 GB on the disk; 3 to 10 minutes' ;;
esac
echo "setup: installing ${LOCKS[*]}: $size, by the speed of the network"
[ -z "${DRY_RUN:-}" ] || exit 0
if [ "$TORCH" = cpu ] && [ -z "$reason" ] && ! index_answers; then
    echo "setup: TORCH=cpu, but $TORCH_INDEX does not answer; TORCH=lock takes the locked PyTorch, with CUDA" >&2
    exit 1
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
    if [ "$TORCH" = cpu ] && [ "$lock" = "$plain" ]; then
        install --no-deps -r "$lock" --index-url "$TORCH_INDEX"
    else
        install --no-deps -r "$lock"
    fi
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
