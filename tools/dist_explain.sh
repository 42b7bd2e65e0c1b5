#!/usr/bin/env bash
# Explain with several processes: bash tools/dist_explain.sh CONFIG CHECKPOINT GPUS [options of explain.py]
# Several machines: set NNODES, NODE_RANK, MASTER_ADDR and PORT on each. Without a GPU the processes run on the CPU.
set -euo pipefail
if [ $# -lt 3 ]; then
    echo "usage: bash tools/dist_explain.sh CONFIG CHECKPOINT GPUS [options of explain.py]" >&2
    exit 2
fi
CONFIG=$1
CHECKPOINT=$2
GPUS=$3

export PYTHONPATH="$(dirname "$0")/..:${PYTHONPATH:-}"
python -m torch.distributed.run \
    --nnodes="${NNODES:-1}" \
    --node_rank="${NODE_RANK:-0}" \
    --master_addr="${MASTER_ADDR:-127.0.0.1}" \
    --master_port="${PORT:-29500}" \
    --nproc_per_node="$GPUS" \
    "$(dirname "$0")/explain.py" "$CONFIG" "$CHECKPOINT" --launcher pytorch "${@:4}"
