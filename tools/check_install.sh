#!/usr/bin/env bash
# Builds wheel and sdist, installs them into clean environments, and checks that the
# package works there without network, from a path with spaces and from read-only
# folders, and that its removal leaves nothing. ISOLATION=1 also builds in isolation,
# for which pip needs an index. The torch of PYTHON is used, by reference.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

PYTHON=$(realpath -s "${PYTHON:-.venv/bin/python}")
ROOT=$PWD
unset PYTHONPATH  # nothing of the clone may serve in place of what is installed
WORK=$(mktemp -d)
trap 'chmod -R u+w "$WORK"; rm -rf "$WORK"' EXIT
STEP=0
say() { STEP=$((STEP + 1)); echo "$STEP. $*"; }
files() { (cd "$1" && find . -not -name '*.pyc' -not -name __pycache__ | sort); }

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
    "$PYTHON" -m pip -v wheel --no-deps -w isolated dist/tinyvim_mm-*.tar.gz >isolated.log 2>&1
    grep -q 'installed WITHOUT its compiled operators' isolated.log
    ls isolated
fi

say 'installation into a clean environment whose path has spaces'
ENVIRONMENT="$WORK/an environment"
"$PYTHON" -m venv "$ENVIRONMENT"
SITE=$("$ENVIRONMENT/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
BASE=$("$PYTHON" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
# The packages of PYTHON, after those of the environment; its .pth files are not read,
# so that an editable installation there does not hide this one.
echo "$BASE" >"$SITE/zz_packages.pth"
files "$ENVIRONMENT" >before
"$ENVIRONMENT/bin/python" -m pip -q install --no-deps --no-index --ignore-installed dist/*.whl

say 'read-only site-packages, no network, from another folder'
chmod -R a-w "$SITE/tinyvim_mm"
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
assert available_backends('cpu')['cpu'] is None, available_backends('cpu')['cpu']
arch = {'embed_dims': (8, 8, 8, 8), 'depths': (1, 1, 1, 1)}
TinyViM(arch)(torch.rand(2, 3, 64, 64))[-1].sum().backward()
names = tinyvim_mm.list_models()
assert names
tinyvim_mm.get_config(names[0])
print('works:', tinyvim_mm.__file__)
PYTHON
mkdir elsewhere
OFFLINE=()
unshare -rn true 2>/dev/null && OFFLINE=(unshare -rn)
echo "   network: ${OFFLINE[*]:-sockets are blocked}"
(cd elsewhere && "${OFFLINE[@]}" "$ENVIRONMENT/bin/python" ../check.py)
(cd elsewhere && "${OFFLINE[@]}" "$ENVIRONMENT/bin/tinyvim-mm" doctor)

say 'removal leaves nothing'
chmod -R u+w "$SITE/tinyvim_mm"
"$ENVIRONMENT/bin/python" -m pip -q uninstall -y tinyvim_mm
files "$ENVIRONMENT" >after
diff before after
echo 'installation: all steps passed'
