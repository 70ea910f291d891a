#!/usr/bin/env bash
# Train on a Slurm cluster:
#   GPUS=16 tools/slurm_train.sh PARTITION JOB_NAME CONFIG WORK_DIR [options of tools/train.py]
# GPUS is the number on all nodes together.
set -euo pipefail
. "$(dirname "$0")/launch.sh"

if [[ $# -lt 4 ]]; then
    die "usage: [GPUS=8 GPUS_PER_NODE=8 CPUS_PER_TASK=5 SRUN_ARGS='--time=24:00:00' PORT=29500]" \
        "$0 PARTITION JOB_NAME CONFIG WORK_DIR [options of tools/train.py]"
fi
with_srun "$1" "$2" train.py "$3" --work-dir "$4" "${@:5}"
