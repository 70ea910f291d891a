#!/usr/bin/env bash
# Evaluate on several GPUs:  tools/dist_test.sh CONFIG CHECKPOINT GPUS [options of tools/test.py]
# Several machines: the same command on each, with NNODES, NODE_RANK, MASTER_ADDR and PORT set.
set -euo pipefail

if [[ $# -lt 3 || ! $3 =~ ^[1-9][0-9]*$ ]]; then
    echo "usage: [NNODES=1 NODE_RANK=0 MASTER_ADDR=127.0.0.1 PORT=29500]" \
        "$0 CONFIG CHECKPOINT GPUS [options of tools/test.py]" >&2
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
    --nproc_per_node="$3" \
    "$(dirname "$0")/test.py" "$1" "$2" --launcher pytorch "${@:4}"
