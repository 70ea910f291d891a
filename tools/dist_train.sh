#!/usr/bin/env bash
# Train on several GPUs:  tools/dist_train.sh CONFIG GPUS [options of tools/train.py]
# Several machines: the same command on each, with NNODES, NODE_RANK, MASTER_ADDR and PORT set.
set -euo pipefail
. "$(dirname "$0")/launch.sh"

if [[ $# -lt 2 ]] || ! is_count "$2"; then
    die "usage: [NNODES=1 NODE_RANK=0 MASTER_ADDR=127.0.0.1 PORT=29500]" \
        "$0 CONFIG GPUS [options of tools/train.py]"
fi
with_torchrun "$2" train.py "$1" "${@:3}"
