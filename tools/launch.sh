# shellcheck shell=bash
# What tools/dist_*.sh and tools/slurm_*.sh have in common; they source it.

TOOLS=$(dirname "${BASH_SOURCE[0]}")

# die MESSAGE...: end with the code of a wrong call.
die() {
    echo "$@" >&2
    exit 2
}

# is_count WORD: whether it is a number of devices, machines or processors.
is_count() {
    [[ $1 =~ ^[1-9][0-9]*$ ]]
}

# need_command NAME CURE
need_command() {
    command -v "$1" > /dev/null || die "$1 is not on the PATH: $2"
}

# with_torchrun GPUS TOOL ARGUMENTS...: start TOOL once on each of the GPUs of this machine.
with_torchrun() {
    need_command python 'activate the environment first (. .venv/bin/activate)'
    exec python -m tinyvim_mm.training.launching \
        --nnodes="${NNODES:-1}" \
        --node_rank="${NODE_RANK:-0}" \
        --master_addr="${MASTER_ADDR:-127.0.0.1}" \
        --master_port="${PORT:-29500}" \
        --nproc_per_node="$1" \
        "$TOOLS/$2" "${@:3}" --launcher pytorch
}

# with_srun PARTITION JOB_NAME TOOL ARGUMENTS...: start TOOL once on each of GPUS GPUs.
with_srun() {
    local gpus=${GPUS:-8} cpus=${CPUS_PER_TASK:-5} extra=()
    is_count "$gpus" || die "GPUS is the number of GPUs on all nodes together, not '$gpus'"
    is_count "$cpus" || die "CPUS_PER_TASK is a number from 1 up, not '$cpus'"
    local per_node=${GPUS_PER_NODE:-$((gpus < 8 ? gpus : 8))}
    is_count "$per_node" || die "GPUS_PER_NODE is a number from 1 up, not '$per_node'"
    ((gpus % per_node == 0)) ||
        die "GPUS=$gpus is no multiple of GPUS_PER_NODE=$per_node: the nodes would differ"
    need_command srun 'this is no machine of a Slurm cluster; see tools/dist_train.sh'
    need_command python 'activate the environment first (. .venv/bin/activate)'
    # Several options in one variable, as OpenMMLab's scripts take them.
    read -ra extra <<< "${SRUN_ARGS:-}"
    export MASTER_PORT=${PORT:-${MASTER_PORT:-29500}}
    exec srun \
        --partition="$1" \
        --job-name="$2" \
        --gres="gpu:$per_node" \
        --ntasks="$gpus" \
        --ntasks-per-node="$per_node" \
        --cpus-per-task="$cpus" \
        --kill-on-bad-exit=1 \
        ${extra[@]+"${extra[@]}"} \
        python -u "$TOOLS/$3" "${@:4}" --launcher slurm
}
