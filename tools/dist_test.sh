#!/usr/bin/env bash
# Evaluate on several GPUs:  tools/dist_test.sh CONFIG CHECKPOINT GPUS [options of tools/test.py]
# Several machines: the same command on each, with NNODES, NODE_RANK, MASTER_ADDR and PORT set.
set -euo pipefail
. "$(dirname "$0")/launch.sh"

if [[ $# -lt 3 ]] || ! is_count "$3"; then
    die "usage: [NNODES=1 NODE_RANK=0 MASTER_ADDR=127.0.0.1 PORT=29500]" \
        "$0 CONFIG CHECKPOINT GPUS [options of tools/test.py]"
fi
with_torchrun "$3" test.py "$1" "$2" "${@:4}"
