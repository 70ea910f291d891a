#!/usr/bin/env bash
# Builds the operators for the GPU of this machine, tests and times them. Needs
# torch (a CUDA build), nvcc, a C++ compiler and pytest; no network and no
# OpenMMLab package. Results go to OUT.
#
#   PYTHON=python3 OUT=work_dirs/gpu bash tools/test_gpu.sh
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

PYTHON=${PYTHON:-python3}
OUT=${OUT:-work_dirs/gpu}
mkdir -p "$OUT"
failed=0

step() {
    local name=$1
    shift
    echo "== $name: $*"
    "$@" 2>&1 | tee "$OUT/$name.log"
    local code=${PIPESTATUS[0]}
    echo "== $name: exit $code"
    if [[ $code -ne 0 ]]; then failed=1; fi
    return "$code"
}

step machine "$PYTHON" -c 'import torch; assert torch.cuda.is_available(), "torch sees no CUDA device"
p = torch.cuda.get_device_properties(0)
print(p.name, "torch", torch.__version__, "CUDA", torch.version.cuda, "SMs", p.multi_processor_count)' || exit 1

# In place: no package index is asked for anything.
step build env TINYVIM_EXTENSION=require FORCE_CUDA=1 "$PYTHON" setup.py build_ext --inplace || exit 1
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
step backends "$PYTHON" -m tinyvim_mm.ops
suites=(tests/test_ops)
if "$PYTHON" -c 'import mmengine' 2> /dev/null; then
    suites+=(tests/test_models tests/test_optim)
else
    echo '== mmengine is not installed: the GPU tests of models and optimizers were not run'
fi
step tests "$PYTHON" -m pytest "${suites[@]}" -m gpu -p no:cacheprovider

# It comes with the CUDA toolkit, not always on the PATH.
SANITIZER=$(command -v compute-sanitizer || echo "${CUDA_HOME:-/usr/local/cuda}/bin/compute-sanitizer")
for tool in memcheck racecheck initcheck synccheck; do
    # Without it the step fails: an unchecked kernel does not count as a tested one. torch
    # keeps freed memory for itself, which would hide accesses to it.
    step "$tool" env PYTORCH_NO_CUDA_MEMORY_CACHING=1 "$SANITIZER" --tool "$tool" \
        --error-exitcode 1 "$PYTHON" -m pytest tests/test_ops/test_conformance.py -m gpu \
        -k "cuda and (golden_operator and wide or length-33)" -p no:cacheprovider
done

for batch in 1 64 256; do
    step "benchmark_$batch" "$PYTHON" tools/benchmark_scan.py --device cuda --batch "$batch" \
        --filter TinyViM --no-backbone --out "$OUT/batch_$batch"
done
step benchmark_others "$PYTHON" tools/benchmark_scan.py --device cuda --batch 16 --no-backbone \
    --out "$OUT/all_batch_16"
if "$PYTHON" -c 'import mmengine' 2> /dev/null; then
    for arguments in '--batch 256 --precision bf16' '--batch 1' \
        '--batch 128 --precision bf16 --train --archs s'; do
        # shellcheck disable=SC2086
        step "backbones${arguments// /}" "$PYTHON" tools/benchmark_backends.py --device cuda \
            $arguments --out "$OUT/backbones${arguments// /}"
    done
    # Networks of timm join if it is there; detectors and segmentors need the toolboxes.
    step reproduce "$PYTHON" tools/reproduce.py all --device cuda --out "$OUT/reproduce"
fi
exit "$failed"
