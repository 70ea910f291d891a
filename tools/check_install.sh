#!/usr/bin/env bash
# Builds wheel and sdist, installs them into a clean environment, and checks that the
# package works there without network, from a path with spaces and from a read-only
# environment, and that its removal leaves nothing. ISOLATION=1 does the same with a
# wheel built in isolation, for which pip needs an index. The torch of PYTHON is used,
# by reference.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

PYTHON=$(realpath -s "${PYTHON:-.venv/bin/python}")
ROOT=$PWD
unset PYTHONPATH  # nothing of the clone may serve in place of what is installed
unset PYTHONDONTWRITEBYTECODE  # what Python writes must go, too
WORK=$(mktemp -d)
trap 'chmod -R u+w "$WORK"; rm -rf "$WORK"' EXIT
STEP=0
say() { STEP=$((STEP + 1)); echo "$STEP. $*"; }
files() { (cd "$ENVIRONMENT" && find . | sort); }

# Builds happen in a copy: they must not find what lies about in the clone.
SOURCE="$WORK/a copy"
mkdir "$SOURCE"
git archive HEAD | tar -x -C "$SOURCE"
cd "$WORK"

say 'sdist, and a wheel of it, without build isolation'
(cd "$SOURCE" && "$PYTHON" setup.py -q sdist --dist-dir "$WORK/dist")
TINYVIM_EXTENSION=require "$PYTHON" -m pip -q wheel --no-build-isolation --no-deps \
    -w dist dist/tinyvim_mm-*.tar.gz
ls dist

if [[ ${ISOLATION:-0} == 1 ]]; then
    say 'a wheel with build isolation: no torch is seen, so no compiled operators, with a warning'
    "$PYTHON" -m pip -v wheel --no-deps -w isolated dist/tinyvim_mm-*.tar.gz >isolated.log 2>&1 ||
        { tail -30 isolated.log; exit 1; }
    grep -q 'installed WITHOUT its compiled operators' isolated.log
    ls isolated
fi

ENVIRONMENT="$WORK/an environment"
"$PYTHON" -m venv "$ENVIRONMENT"
SITE=$("$ENVIRONMENT/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
BASE=$("$PYTHON" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
# The packages of PYTHON, after those of the environment; its .pth files are not read,
# so that an editable installation there does not hide this one.
echo "$BASE" >"$SITE/zz_packages.pth"
files >before

cat >check.py <<'PYTHON'
import socket
import sys


def refuse(*arguments, **options):
    raise SystemExit('something asked for the network')


socket.socket.connect = socket.getaddrinfo = socket.create_connection = refuse

import torch

import tinyvim_mm
from tinyvim_mm.models import TinyViM
from tinyvim_mm.ops import available_backends

assert tinyvim_mm.__file__.startswith(sys.prefix), tinyvim_mm.__file__
compiled = available_backends('cpu')['cpu'] is None
assert compiled == (sys.argv[1] == 'compiled'), available_backends('cpu')['cpu']
arch = {'embed_dims': (8, 8, 8, 8), 'depths': (1, 1, 1, 1)}
TinyViM(arch)(torch.rand(2, 3, 64, 64))[-1].sum().backward()
names = tinyvim_mm.list_models()
assert names
tinyvim_mm.get_config(names[0])
print('   works:', tinyvim_mm.__file__)
PYTHON
mkdir elsewhere

# Modes do not stop root from writing; a read-only mount does.
SEAL='mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'
if unshare -rnm bash -c "$SEAL" "$ENVIRONMENT" bash -c '! touch "$0/file" 2>/dev/null' "$ENVIRONMENT"; then
    sealed() { (cd elsewhere && unshare -rnm bash -c "$SEAL" "$ENVIRONMENT" "$@"); }
    HOW='a read-only mount, no network interfaces'
else
    sealed() { (cd elsewhere && "$@"); }
    HOW='file modes (root may write all the same), sockets blocked'
fi

check() { # WHEEL compiled|plain
    say "installation of $1 into a clean environment whose path has spaces"
    "$ENVIRONMENT/bin/python" -m pip -q install --no-deps --no-index --ignore-installed "$1"
    say "read-only, no network, from another folder: $HOW"
    chmod -R a-w "$SITE/tinyvim_mm"
    files >installed
    sealed "$ENVIRONMENT/bin/python" ../check.py "$2"
    # Its faults are those of PYTHON's packages, and of operators that were not compiled.
    sealed "$ENVIRONMENT/bin/tinyvim-mm" doctor || [[ $2 == plain ]]
    files | diff installed -
    say 'removal leaves nothing'
    chmod -R u+w "$SITE/tinyvim_mm"
    "$ENVIRONMENT/bin/python" -m pip -q uninstall -y tinyvim_mm
    files | diff before -
    echo "   $(wc -l <installed) paths with the package, $(wc -l <before) without"
}

check dist/*.whl compiled
if [[ ${ISOLATION:-0} == 1 ]]; then check isolated/*.whl plain; fi
echo 'installation: all steps passed'
