#!/usr/bin/env bash
# Evaluate on a Slurm cluster:
#   GPUS=8 tools/slurm_test.sh PARTITION JOB_NAME CONFIG CHECKPOINT [options of tools/test.py]
# GPUS is the number on all nodes together.
set -euo pipefail
. "$(dirname "$0")/launch.sh"

if [[ $# -lt 4 ]]; then
    die "usage: [GPUS=8 GPUS_PER_NODE=8 CPUS_PER_TASK=5 SRUN_ARGS='--time=1:00:00' PORT=29500]" \
        "$0 PARTITION JOB_NAME CONFIG CHECKPOINT [options of tools/test.py]"
fi
with_srun "$1" "$2" test.py "$3" "$4" "${@:5}"
