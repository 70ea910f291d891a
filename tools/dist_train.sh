#!/usr/bin/env bash
# Train on several GPUs:  tools/dist_train.sh CONFIG GPUS [options of tools/train.py]
# Several machines: the same command on each, with NNODES, NODE_RANK, MASTER_ADDR and PORT set.
set -euo pipefail

if [[ $# -lt 2 || ! $2 =~ ^[1-9][0-9]*$ ]]; then
    echo "usage: [NNODES=1 NODE_RANK=0 MASTER_ADDR=127.0.0.1 PORT=29500]" \
        "$0 CONFIG GPUS [options of tools/train.py]" >&2
    exit 2
fi

if ! command -v torchrun > /dev/null; then
    echo "torchrun is not on the PATH: activate the environment first (. .venv/bin/activate)" >&2
    exit 2
fi

exec torchrun \
    --nnodes="${NNODES:-1}" \
    --node_rank="${NODE_RANK:-0}" \
    --master_addr="${MASTER_ADDR:-127.0.0.1}" \
    --master_port="${PORT:-29500}" \
    --nproc_per_node="$2" \
    "$(dirname "$0")/train.py" "$1" --launcher pytorch "${@:3}"
