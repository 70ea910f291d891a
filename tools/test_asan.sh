#!/usr/bin/env bash
# Runs the operator's tests and its fuzz tests on a build with AddressSanitizer and
# UndefinedBehaviorSanitizer, beside the installed one, in work_dirs/asan, and calls the
# operators under LeakSanitizer.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

ROOT=$PWD
PYTHON=$(realpath -s "${PYTHON:-.venv/bin/python}")
BUILD=$ROOT/work_dirs/asan
TINYVIM_EXTENSION=require TINYVIM_SANITIZE=address,undefined "$PYTHON" setup.py -q build \
    --build-lib "$BUILD" --build-temp "$BUILD/objects"

# Python itself is not instrumented, so the runtime is loaded first; Python's own
# leaks at exit are not ours. From the folder of the build, its package is found.
cd "$BUILD"
for library in libasan.so libubsan.so; do
    PRELOAD=${PRELOAD:+$PRELOAD:}$(g++ -print-file-name=$library)
done
export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
LD_PRELOAD=$PRELOAD ASAN_OPTIONS=detect_leaks=0 \
    "$PYTHON" -m pytest -c "$ROOT/pyproject.toml" --rootdir "$ROOT" -p no:cacheprovider \
    "$ROOT/tests/test_ops/test_conformance.py" \
    "$ROOT/tests/test_reliability/test_fuzz_operators.py" \
    -k 'cpu and not memory' "$@"  # the sanitizer keeps freed memory back
LD_PRELOAD=$PRELOAD ASAN_OPTIONS=detect_leaks=1 PYTHONMALLOC=malloc PYTHONPATH=$BUILD \
    "$PYTHON" "$ROOT/tests/leaks.py"
echo "sanitizers: $(cd "$BUILD" && "$PYTHON" -c 'import tinyvim_mm; print(tinyvim_mm.__file__)') is clean"
